"""censor/profiles/gfw-quic-2025.toml, number by number."""

from __future__ import annotations

import ipaddress

import pytest

from censor.core import Core
from censor.decision import Blocked
from tests.unit.censor.analyzers.initials import V1, V2, crypto_frame, hello, initial
from tests.unit.censor.profiles.connection import CLIENT, SERVER, core_of, offloaded, passed, udp_packet, vanished

PROFILE = "gfw-quic-2025"
HELLO = hello(b"www.blocked.example")


def first_flight(version: int = V1) -> bytes:
    return initial(crypto_frame(0, HELLO), version=version, pad_to=1150)


TRIGGER = first_flight()
INNOCENT = initial(crypto_frame(0, hello(b"innocent.example")), pad_to=1150)
COUNT = 1000


def client_of(number: int) -> str:
    """A client's address; each has a 3-tuple of its own."""
    return str(ipaddress.ip_address("198.18.0.0") + number)


def blocks(
    datagrams: tuple[bytes, ...] = (TRIGGER,), *, count: int = 50, port: int = 50000, server_port: int = 443
) -> list[Blocked]:
    """What of so many clients' flows came to be blocked."""
    core = core_of(PROFILE)
    found: list[Blocked] = []
    for number in range(count):
        for data in datagrams:
            packet = udp_packet(data, client=client_of(number), port=port, server_port=server_port)
            decision = core.decide(packet)
            assert passed(decision)
            found += decision.blocked
    return found


def blocked_client(core: Core, t: float = 0.0) -> tuple[str, Blocked]:
    """A client that was hit."""
    for number in range(COUNT):
        decision = core.decide(udp_packet(TRIGGER, client=client_of(number), port=50000), t=t)
        if decision.blocked:
            return client_of(number), decision.blocked[0]
    raise AssertionError("nobody was hit")


def test_half_of_the_flows_are_hit() -> None:
    count = 4 * COUNT
    assert abs(len(blocks(count=count)) - count / 2) < 4 * (count / 4) ** 0.5


def test_the_triggering_initial_gets_through_and_later_packets_of_the_client_do_not() -> None:
    core = core_of(PROFILE)
    client, block = blocked_client(core)
    packet = udp_packet(b"later", client=client, port=50000)
    assert passed(core.decide(packet, t=block.begins - 0.001))
    assert vanished(core.decide(packet, t=block.begins + 0.001))


def test_server_to_client_never() -> None:
    core = core_of(PROFILE)
    client, block = blocked_client(core)
    assert passed(core.decide(udp_packet(b"answer", client=client, port=50000, back=True), t=block.begins + 1))


def test_60_ms_to_7_5_s_and_more_than_90_percent_within_1_s() -> None:
    latencies = [block.begins for block in blocks(count=3 * COUNT)]
    assert 0.06 <= min(latencies) < 0.065
    assert 7 < max(latencies) <= 7.5
    assert sum(latency < 1 for latency in latencies) / len(latencies) > 0.9


def test_it_lasts_180_seconds_and_hit_packets_do_not_start_it_anew() -> None:
    core = core_of(PROFILE)
    client, block = blocked_client(core)
    for t, hit in ((1, True), (90, True), (179.9, True), (180.1, False)):
        packet = udp_packet(TRIGGER if hit else b"later", client=client, port=50000)
        assert vanished(core.decide(packet, t=block.begins + t)) == hit


def test_it_is_a_3_tuple() -> None:
    core = core_of(PROFILE)
    client, block = blocked_client(core)
    t = block.begins + 1
    assert vanished(core.decide(udp_packet(b"x", client=client, port=50001), t=t))
    assert passed(core.decide(udp_packet(b"x", client=client, port=50001, server_port=444), t=t))
    assert passed(core.decide(udp_packet(b"x", client=client, port=50001, server="203.0.113.11"), t=t))
    assert passed(core.decide(udp_packet(b"x", client=CLIENT, port=50001), t=t))


@pytest.mark.parametrize(
    ("port", "server_port", "hit"), [(444, 443, True), (443, 443, False), (443, 8443, False), (8444, 8443, True)]
)
def test_source_port_greater_than_destination_port(port: int, server_port: int, *, hit: bool) -> None:
    assert bool(blocks(port=port, server_port=server_port)) == hit


def test_version_1_only() -> None:
    assert not blocks((first_flight(V2),))


class TestFirstDatagram:
    def test_a_hello_over_two_datagrams_evades(self) -> None:
        half = len(HELLO) // 2
        first = initial(crypto_frame(0, HELLO[:half]), pad_to=1150)
        second = initial(crypto_frame(half, HELLO[half:]), number=1, pad_to=1150)
        assert not blocks((first, second))

    def test_a_hello_in_pieces_within_one_datagram_does_not(self) -> None:
        half = len(HELLO) // 2
        assert blocks((initial(crypto_frame(half, HELLO[half:]) + crypto_frame(0, HELLO[:half]), pad_to=1150),))

    def test_two_packets_within_one_datagram_do_not(self) -> None:
        half = len(HELLO) // 2
        first = initial(crypto_frame(0, HELLO[:half]))
        assert blocks((first + initial(crypto_frame(half, HELLO[half:]), number=1, pad_to=900),))

    def test_garbage_before_it_evades(self) -> None:
        assert not blocks((b"\0" * 100, TRIGGER))

    @pytest.mark.parametrize(("seconds", "hit"), [(60.0, False), (60.1, True)])
    def test_a_flow_is_remembered_for_60_seconds(self, seconds: float, *, hit: bool) -> None:
        core = core_of(PROFILE)
        found: list[Blocked] = []
        for number in range(50):
            core.decide(udp_packet(b"\0", client=client_of(number), port=50000), t=0)
            decision = core.decide(udp_packet(TRIGGER, client=client_of(number), port=50000), t=seconds)
            found += decision.blocked
        assert bool(found) == hit


def test_innocents_are_offloaded_at_once() -> None:
    core = core_of(PROFILE)
    assert offloaded(core, udp_packet(INNOCENT))
    assert offloaded(core, udp_packet(b"\0" * 100, port=40001))
    assert offloaded(core, udp_packet(TRIGGER, port=400, server=SERVER))
