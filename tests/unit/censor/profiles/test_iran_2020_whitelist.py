"""censor/profiles/iran-2020-whitelist.toml, number by number."""

from __future__ import annotations

import functools
import ipaddress

import dns.message
import pytest

from censor.core import Core
from censor.packets import ACK, SYN
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.profiles.connection import CLIENT, Connection, core_of, offloaded, passed, udp_packet, vanished

PROFILE = "iran-2020-whitelist"
GARBAGE = b"\x87" * 50
HELLO = real_hello("www.messenger.example")
INNOCENT_HELLO = real_hello("innocent.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n"
INNOCENT_REQUEST = b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n"
QUERY = dns.message.make_query("innocent.example", "A").to_wire()
INNOCENT_QUERY = len(QUERY).to_bytes(2, "big") + QUERY
SHARE = 0.18


def filtered(server: str) -> bool:
    """Whether the protocol filter minds what is sent to that server."""
    connection = Connection(core_of(PROFILE), server=server).open()
    connection.send(GARBAGE)
    return vanished(connection.send(GARBAGE))


@functools.cache
def filtered_server() -> str:
    return next(server for host in range(1, 200) if filtered(server := f"203.0.113.{host}"))


def opened(core: Core | None = None, *, server_port: int = 443, client: str = CLIENT, port: int = 40000) -> Connection:
    core = core or core_of(PROFILE)
    return Connection(core, port, client=client, server=filtered_server(), server_port=server_port).open()


def outcomes(*payloads: bytes, server_port: int = 443) -> list[bool]:
    """Which of a connection's segments pass."""
    connection = opened(server_port=server_port)
    return [passed(connection.send(payload)) for payload in payloads]


class TestWhitelist:
    def test_all_packets_after_the_first_vanish(self) -> None:
        connection = opened()
        assert passed(connection.send(GARBAGE))
        assert vanished(connection.send(GARBAGE))
        assert vanished(connection.send(INNOCENT_REQUEST))
        assert vanished(connection.send(flags=ACK))

    def test_the_servers_packets_pass(self) -> None:
        connection = opened()
        connection.send(GARBAGE)
        connection.send(GARBAGE)
        assert passed(connection.receive(b"answer"))

    @pytest.mark.parametrize(("t", "hit"), [(59.9, True), (60.1, False)])
    def test_for_60_seconds(self, t: float, *, hit: bool) -> None:
        connection = opened()
        connection.send(GARBAGE)
        connection.send(GARBAGE)
        connection.t = t
        assert vanished(connection.send(GARBAGE)) == hit

    def test_each_further_packet_starts_the_60_seconds_anew(self) -> None:
        connection = opened()
        connection.send(GARBAGE)
        for step in range(5):
            connection.t = step * 50.0
            assert vanished(connection.send(GARBAGE))
        connection.t = 259.9
        assert vanished(connection.send(GARBAGE))
        connection.t = 320.0
        assert passed(connection.send(GARBAGE))

    @pytest.mark.parametrize("server_port", [53, 80, 443])
    @pytest.mark.parametrize("payload", [INNOCENT_HELLO, INNOCENT_REQUEST, INNOCENT_QUERY])
    def test_any_of_the_three_protocols_on_any_of_the_three_ports(self, payload: bytes, server_port: int) -> None:
        assert outcomes(payload, GARBAGE, GARBAGE, server_port=server_port) == [True] * 3
        assert outcomes(GARBAGE, GARBAGE, server_port=server_port) == [True, False]

    @pytest.mark.parametrize("server_port", [22, 8443])
    def test_other_ports_are_offloaded_with_the_second_packet(self, server_port: int) -> None:
        connection = opened(server_port=server_port)
        assert passed(connection.send(GARBAGE))
        assert offloaded(connection.core, connection.client_packet(GARBAGE))
        assert outcomes(GARBAGE, GARBAGE, GARBAGE, server_port=server_port) == [True] * 3

    @pytest.mark.parametrize("server_port", [53, 80, 443])
    def test_udp_passes(self, server_port: int) -> None:
        core = core_of(PROFILE)
        packet = udp_packet(GARBAGE, server=filtered_server(), server_port=server_port)
        assert [core.decide(packet).accept for _ in range(3)] == [True] * 3

    @pytest.mark.parametrize(("first", "second", "hit"), [(b"GET ", b"/ H", True), (b"GET ", b"/ HT", False)])
    def test_http_needs_8_bytes_in_the_first_two_packets_together(
        self, first: bytes, second: bytes, *, hit: bool
    ) -> None:
        assert outcomes(first, second, GARBAGE) == [True, not hit, not hit]

    @pytest.mark.parametrize(
        ("first", "second", "hit"),
        [(INNOCENT_HELLO[:2], INNOCENT_HELLO[2:4], True), (INNOCENT_HELLO[:2], INNOCENT_HELLO[2:5], False)],
    )
    def test_tls_needs_5_bytes_in_the_first_two_packets_together(
        self, first: bytes, second: bytes, *, hit: bool
    ) -> None:
        assert outcomes(first, second, GARBAGE) == [True, not hit, not hit]

    def test_what_the_third_packet_would_add_is_too_late(self) -> None:
        assert outcomes(b"G", b"E", b"T / HTTP/1.1\r\n\r\n") == [True, False, False]

    def test_segments_are_joined_as_they_come_whatever_their_numbers(self) -> None:
        connection = opened()
        connection.client_sequence += 1000
        assert passed(connection.send(b"GET /"))
        connection.client_sequence -= 1005
        assert passed(connection.send(b" HTTP/1.1\r\n"))
        assert passed(connection.send(GARBAGE))

    def test_checksums_are_not_looked_at(self) -> None:
        connection = opened()
        packet = bytearray(connection.client_packet(INNOCENT_REQUEST))
        packet[36] ^= 0xFF  # of the TCP checksum
        assert connection.core.decide(bytes(packet)).accept
        assert passed(connection.send(GARBAGE))
        assert passed(connection.send(GARBAGE))

    def test_18_percent_of_the_destinations(self) -> None:
        count = 8000
        core = core_of(PROFILE)
        hit = 0
        for number in range(count):
            connection = Connection(core, server=str(ipaddress.ip_address("198.18.0.0") + number))
            connection.send(GARBAGE)
            hit += vanished(connection.send(GARBAGE))
        assert abs(hit - count * SHARE) < 4 * (count * SHARE * (1 - SHARE)) ** 0.5

    def test_a_destination_is_filtered_for_everybody_or_nobody(self) -> None:
        core = core_of(PROFILE)
        for port in range(40000, 40050):
            connection = opened(core, client=f"192.0.2.{port - 39999}", port=port)
            connection.send(GARBAGE)
            assert vanished(connection.send(GARBAGE))

    def test_flows_from_outside_are_not_filtered(self) -> None:
        for inside, hit in (("192.0.2.0/24", True), ("198.51.100.0/24", False)):
            connection = opened(core_of(PROFILE, f'censor.inside = ["{inside}"]'))
            connection.send(GARBAGE)
            assert vanished(connection.send(GARBAGE)) == hit

    def test_a_fingerprint_before_ones_own_protocol_evades(self) -> None:
        connection = opened()
        assert offloaded(connection.core, connection.client_packet(b"GET / HTTP/1.1\r\n\r\n"))
        assert passed(connection.send(GARBAGE))


class TestNames:
    @pytest.mark.parametrize("payload", [HELLO, REQUEST])
    def test_the_request_and_all_packets_of_both_ends_vanish(self, payload: bytes) -> None:
        connection = opened()
        assert vanished(connection.send(payload))
        assert vanished(connection.send(payload))
        assert vanished(connection.receive(b"answer"))

    @pytest.mark.parametrize(("t", "hit"), [(179.9, True), (180.1, False)])
    def test_for_180_seconds(self, t: float, *, hit: bool) -> None:
        connection = opened()
        connection.send(HELLO)
        connection.t = 100.0
        assert vanished(connection.send(HELLO))
        assert vanished(connection.again(t=t).send(flags=SYN)) == hit

    def test_it_is_a_4_tuple(self) -> None:
        connection = opened()
        connection.send(HELLO)
        assert passed(Connection(connection.core, 40001, server=filtered_server()).send(flags=SYN))
        assert vanished(connection.again(t=1.0).send(flags=SYN))

    def test_on_any_port(self) -> None:
        connection = opened(server_port=8443)
        assert vanished(connection.send(HELLO))

    @pytest.mark.parametrize("payload", [HELLO, REQUEST])
    def test_two_segments_evade(self, payload: bytes) -> None:
        middle = len(payload) // 2
        assert outcomes(payload[:middle], payload[middle:], b"more") == [True] * 3

    @pytest.mark.parametrize("payload", [INNOCENT_HELLO, INNOCENT_REQUEST])
    def test_innocents_are_offloaded_at_once(self, payload: bytes) -> None:
        connection = opened()
        assert offloaded(connection.core, connection.client_packet(payload))
