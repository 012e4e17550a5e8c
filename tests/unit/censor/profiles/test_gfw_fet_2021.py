"""censor/profiles/gfw-fet-2021.toml, number by number."""

from __future__ import annotations

import pytest

from censor.core import Core
from censor.decision import Decision
from censor.packets import SYN, parse
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.profiles.connection import (
    SERVER,
    Connection,
    core_of,
    offloaded,
    passed,
    udp_packet,
    vanished,
)

PROFILE = "gfw-fet-2021"
# Four bits set in each: one that is printable (U), and one that is not.
PRINTABLE, OTHER = b"U", b"\x87"
SUSPICIOUS = OTHER * 200
PROBABILITY = 0.263


def mixed(three_bits: int = 0, five_bits: int = 0) -> bytes:
    """100 unprintable bytes, of which so many have three or five bits set, and the rest four."""
    return b"\x83" * three_bits + b"\x8f" * five_bits + OTHER * (100 - three_bits - five_bits)


def connections(core: Core, count: int, server: str = SERVER) -> list[Connection]:
    """Connections of which none has another's 3-tuple."""
    return [Connection(core, 40000, server=server, server_port=10000 + number) for number in range(count)]


def blocked(payload: bytes, count: int = 50, server: str = SERVER) -> list[Connection]:
    """Those of so many connections whose first payload blocked them."""
    opened = [one.open() for one in connections(core_of(PROFILE), count, server)]
    decisions = [one.send(payload) for one in opened]
    assert all(passed(decision) for decision in decisions)
    hit = [bool(decision.blocked) for decision in decisions]
    assert hit == [any(one.rule == "fully-encrypted" for one in decision.hits) for decision in decisions]
    return [one for one, was_hit in zip(opened, hit, strict=True) if was_hit]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(mixed(three_bits=59), id="3.41 bits a byte"),
        pytest.param(mixed(five_bits=59), id="4.59 bits a byte"),
        pytest.param(PRINTABLE * 5 + OTHER * 100, id="5 printable bytes first"),
        pytest.param((PRINTABLE + OTHER) * 50, id="half printable"),
        pytest.param(OTHER * 100 + PRINTABLE * 20 + OTHER * 100, id="20 printable in a row"),
        pytest.param(b"\x16\x03\x0a" + OTHER * 100, id="record version 03 0a"),
        pytest.param(b"\x16\x04\x00" + OTHER * 100, id="record version 04 00"),
        pytest.param(b"\x15\x03\x01" + OTHER * 100, id="alert"),
        pytest.param(b"OPT " + OTHER * 100, id="another verb"),
    ],
)
def test_one_step_short_of_an_exemption(payload: bytes) -> None:
    assert blocked(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(mixed(three_bits=60), id="3.4 bits a byte"),
        pytest.param(mixed(five_bits=60), id="4.6 bits a byte"),
        pytest.param(PRINTABLE * 6 + OTHER * 100, id="6 printable bytes first"),
        pytest.param((PRINTABLE + OTHER) * 50 + PRINTABLE, id="more than half printable"),
        pytest.param(OTHER * 100 + PRINTABLE * 21 + OTHER * 100, id="21 printable in a row"),
        *(
            pytest.param(bytes([kind, 3, version]) + OTHER * 100, id=f"record {kind:02x} 03 {version:02x}")
            for kind in (0x16, 0x17)
            for version in (0, 9)
        ),
        *(pytest.param(verb + OTHER * 100, id=verb.decode()) for verb in (b"GET ", b"PUT ", b"POST ", b"HEAD ")),
    ],
)
def test_exemptions(payload: bytes) -> None:
    assert not blocked(payload)


def test_26_3_percent_are_blocked() -> None:
    count = 4000
    deviation = (count * PROBABILITY * (1 - PROBABILITY)) ** 0.5
    assert abs(len(blocked(SUSPICIOUS, count)) - count * PROBABILITY) < 4 * deviation


@pytest.mark.parametrize("server", ["203.0.113.0", "203.0.113.255", "198.18.15.255", "2001:db8:2::10"])
def test_data_centres(server: str) -> None:
    client = "2001:db8:1::10" if ":" in server else "192.0.2.10"
    core = core_of(PROFILE)
    opened = [Connection(core, client=client, server=server, server_port=10000 + n).open() for n in range(50)]
    assert any(one.send(SUSPICIOUS).blocked for one in opened)


@pytest.mark.parametrize("server", ["203.0.112.255", "203.0.114.0", "198.18.16.0", "198.51.100.1"])
def test_elsewhere_nothing_is_blocked(server: str) -> None:
    assert not blocked(SUSPICIOUS, server=server)


class TestResidual:
    def test_it_lasts_120_or_180_seconds(self) -> None:
        hit = blocked(SUSPICIOUS, 1000)
        still = {t: sum(vanished(one.again(t=t).send(flags=SYN)) for one in hit) for t in (119.9, 120.1, 179.9, 180.1)}
        assert still[119.9] == len(hit)
        assert still[120.1] == still[179.9]
        assert abs(still[179.9] - len(hit) / 2) < 4 * (len(hit) / 4) ** 0.5
        assert still[180.1] == 0

    def test_packets_that_are_hit_do_not_start_it_anew(self) -> None:
        one = blocked(SUSPICIOUS)[0]
        for t in range(0, 180, 10):
            one.again(t=float(t)).send(flags=SYN)
        assert passed(one.again(t=180.1).send(flags=SYN))

    def test_client_to_server_only_and_from_the_second_packet_on(self) -> None:
        one = blocked(SUSPICIOUS)[0]
        assert passed(one.receive(b"answer"))
        assert vanished(one.send(b"more"))

    def test_it_is_a_3_tuple(self) -> None:
        one = blocked(SUSPICIOUS)[0]
        packet = parse(one.client_packet())
        assert packet is not None
        server_port = packet.destination_port
        assert vanished(Connection(one.core, 50000, server_port=server_port).send(flags=SYN))
        assert passed(Connection(one.core, 50000, server_port=9999).send(flags=SYN))
        assert passed(Connection(one.core, 50000, server_port=server_port, client="192.0.2.11").send(flags=SYN))


class TestProbes:
    def suspects(self, payload: bytes, server: str = SERVER) -> int:
        (one,) = connections(core_of(PROFILE), 1, server)
        return len(one.open().send(payload).suspects)

    @pytest.mark.parametrize("length", [160, 700])
    def test_a_first_packet_of_160_to_700_bytes_makes_a_suspect(self, length: int) -> None:
        (one,) = connections(core_of(PROFILE), 1)
        (suspect,) = one.open().send(OTHER * length).suspects
        assert (suspect.port, suspect.first_payload) == (10000, OTHER * length)

    @pytest.mark.parametrize("length", [159, 701])
    def test_shorter_and_longer_ones_do_not(self, length: int) -> None:
        assert not self.suspects(OTHER * length)

    def test_not_for_exempt_payloads(self) -> None:
        assert not self.suspects(b"GET " + OTHER * 200)

    def test_outside_data_centres_too(self) -> None:
        assert self.suspects(SUSPICIOUS, "198.51.100.1")


class TestEvasions:
    def test_only_the_first_payload_counts(self) -> None:
        core = core_of(PROFILE)
        for one in connections(core, 50):
            one.open()
            assert offloaded(core, one.client_packet(b"GET / HTTP/1.1\r\n\r\n"))
            assert not one.send(SUSPICIOUS).blocked

    def test_udp_is_not_looked_at(self) -> None:
        core = core_of(PROFILE)
        for port in range(50):
            packet = udp_packet(SUSPICIOUS, port=40000 + port)
            assert core.decide(packet, mark=0) == Decision(mark=core.generation)

    def test_tls_is_offloaded_at_once(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        assert offloaded(connection.core, connection.client_packet(real_hello("innocent.example")))
