"""censor/packets/headers.py: against scapy as the independent observer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop

from censor import packets
from censor.packets import headers, parse
from tests.unit.censor.packets.observer import SEGMENT, V4, V6, parsed

PLAIN = TCP(sport=40000, dport=443, seq=5, ack=6, flags="PA") / b"hello"


@pytest.mark.parametrize(
    ("packet", "header_bytes"),
    [
        (IP(**V4, ttl=9, id=77) / SEGMENT, 20),
        (IP(**V4, ttl=9, id=77, options=b"\x01" * 4) / SEGMENT, 24),
        (IPv6(**V6, hlim=9) / SEGMENT, 40),
        (IPv6(**V6, hlim=9) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / SEGMENT, 56),
    ],
)
def test_segment(packet: Any, header_bytes: int) -> None:
    found = parsed(packet)
    assert (found.source_port, found.destination_port, found.payload) == (40000, 443, b"hello")
    assert (found.sequence, found.acknowledgment, found.flags) == (0xFFFFFFFE, 77, packets.PSH | packets.ACK)
    assert (found.payload_length, found.length) == (5, header_bytes + 24 + 5)
    assert found.version == (4 if header_bytes < 40 else 6)
    assert (found.ttl, found.window, found.ip_id) == (9, 321, 77 if header_bytes < 40 else 0)
    assert (found.header_bytes, found.data, found.fragmented) == (header_bytes, bytes(packet), False)


@pytest.mark.parametrize("ip", [IP(**V4), IPv6(**V6)])
def test_datagram(ip: Any) -> None:
    found = parsed(ip / UDP(sport=5000, dport=53) / b"query")
    assert (found.protocol, found.source_port, found.destination_port, found.payload) == (17, 5000, 53, b"query")


def test_copied_in_part() -> None:
    whole = bytes(IP(**V4) / TCP(sport=1, dport=2) / (b"x" * 1000))
    found = parsed(whole[:100])
    assert (len(found.payload), found.payload_length, found.length) == (60, 1000, 1040)


def test_padding_is_not_payload() -> None:
    assert parsed(bytes(IP(**V4) / UDP(sport=1, dport=2) / b"x") + bytes(10)).payload == b"x"


def test_super_packet_without_length() -> None:
    data = bytearray(bytes(IPv6(**V6) / TCP() / (b"x" * 9)))
    data[4:6] = b"\0\0"
    assert parsed(bytes(data)).payload_length == 9


def test_neither_tcp_nor_udp_has_no_ports() -> None:
    found = parsed(IP(**V4) / ICMP())
    assert (found.protocol, found.source_port, found.destination_port) == (1, 0, 0)
    assert packets.flow_name(found) == "protocol-1 192.0.2.10:0 > 203.0.113.10:0"
    assert parsed(IP(**V4, frag=10, proto=17) / (b"x" * 20)).destination_port == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x50" * 60,
        bytes(IP(**V4))[:19],
        bytes(IPv6(**V6))[:39],
        bytes(IP(**V4) / TCP())[:39],
        bytes(IP(**V4) / UDP())[:27],
        b"\x44" + bytes(IP(**V4) / TCP())[1:],
        bytes(IPv6(**V6) / IPv6ExtHdrHopByHop())[:44],
        bytes(IP(**V4) / TCP(dataofs=4)),
        bytes(IP(**V4) / TCP(dataofs=15)),
        bytes(IP(**V4, len=10) / TCP()),
    ],
)
def test_what_does_not_parse_is_none(data: bytes) -> None:
    assert parse(data) is None


def test_too_many_extension_headers_are_not_followed() -> None:
    packet: Any = IPv6(**V6)
    for _ in range(9):
        packet = packet / IPv6ExtHdrDestOpt()
    assert parsed(packet / SEGMENT).destination_port == 0


def test_the_short_way_finds_what_the_long_one_does() -> None:
    data = bytes(IP(**V4, ttl=9, id=77) / SEGMENT)
    assert headers._parse_plain(data) == headers._parse_ipv4(data)


@pytest.mark.parametrize("protocol", [6, 17])
def test_fragments(protocol: int) -> None:
    first = parsed(IP(**V4, id=9, flags="MF", proto=protocol) / bytes(PLAIN))
    assert (first.destination_port, first.ip_id, first.fragment_offset, first.more_fragments) == (443, 9, 0, True)
    later = parsed(IP(**V4, id=9, frag=3, proto=protocol) / bytes(PLAIN))
    assert (later.destination_port, later.fragment_offset, later.more_fragments, later.payload) == (
        *(0, 24, False),
        bytes(PLAIN),
    )
    first = parsed(IPv6(**V6) / IPv6ExtHdrFragment(id=9, m=1, nh=protocol) / bytes(PLAIN))
    assert (first.destination_port, first.ip_id, first.fragment_offset, first.more_fragments) == (443, 9, 0, True)
    later = parsed(IPv6(**V6) / IPv6ExtHdrFragment(id=9, offset=3, nh=protocol) / bytes(PLAIN))
    assert (later.destination_port, later.fragment_offset, later.more_fragments, later.payload) == (
        *(0, 24, False),
        bytes(PLAIN),
    )
    assert first.fragmented
    assert later.fragmented


def test_a_later_fragment_is_not_read_on() -> None:
    later = parsed(IPv6(**V6) / IPv6ExtHdrFragment(offset=3, nh=60) / bytes(IPv6ExtHdrDestOpt(nh=6) / PLAIN))
    assert (later.protocol, later.header_bytes, later.destination_port) == (60, 48, 0)


def test_a_fragment_of_a_fragment_is_not_read_on() -> None:
    inner = IPv6ExtHdrFragment(offset=7, nh=6) / PLAIN
    outer = parsed(IPv6(**V6) / IPv6ExtHdrFragment(m=1, nh=44) / bytes(inner))
    assert (outer.protocol, outer.fragment_offset, outer.more_fragments, outer.header_bytes) == (44, 0, True, 48)


@pytest.mark.parametrize("size", [8, 20])
def test_a_first_fragment_may_end_within_its_header(size: int) -> None:
    tiny = parsed(IP(**V4, flags="MF", proto=6) / bytes(SEGMENT)[:size])
    assert (tiny.destination_port, tiny.payload, tiny.payload_length) == (
        443 if size == 20 else 0,
        *((b"", 0) if size == 20 else (bytes(SEGMENT)[:8], 8)),
    )


@given(st.binary(max_size=200), st.sampled_from([b"\x45", b"\x60", b"\x46", b""]))
def test_any_bytes_are_good_input(data: bytes, first: bytes) -> None:
    parse(first + data)


def test_flow_names() -> None:
    assert packets.flow_name(parsed(IP(**V4) / SEGMENT)) == "tcp 192.0.2.10:40000 > 203.0.113.10:443"
    assert packets.flow_name(parsed(IPv6(**V6) / SEGMENT), reverse=True) == (
        "tcp [2001:db8:2::10]:443 > [2001:db8:1::10]:40000"
    )
