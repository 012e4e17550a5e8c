"""censor/packets.py: against scapy as the independent observer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from censor import packets
from censor.packets import Packet, parse

V4 = {"src": "192.0.2.10", "dst": "203.0.113.10"}
V6 = {"src": "2001:db8:1::10", "dst": "2001:db8:2::10"}
SEGMENT = TCP(sport=40000, dport=443, seq=0xFFFFFFFE, ack=77, flags="PA", options=[("NOP", None)] * 4) / b"hello"


def parsed(packet: Any) -> Packet:
    found = parse(bytes(packet))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("packet", "header_bytes"),
    [
        (IP(**V4) / SEGMENT, 20),
        (IP(**V4, options=b"\x01" * 4) / SEGMENT, 24),
        (IPv6(**V6) / SEGMENT, 40),
        (IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / SEGMENT, 56),
    ],
)
def test_segment(packet: Any, header_bytes: int) -> None:
    found = parsed(packet)
    assert (found.source_port, found.destination_port, found.payload) == (40000, 443, b"hello")
    assert (found.sequence, found.acknowledgment, found.flags) == (0xFFFFFFFE, 77, packets.PSH | packets.ACK)
    assert (found.payload_length, found.length) == (5, header_bytes + 24 + 5)
    assert found.version == (4 if header_bytes < 40 else 6)


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


@given(st.binary(max_size=200), st.sampled_from([b"\x45", b"\x60", b"\x46", b""]))
def test_any_bytes_are_good_input(data: bytes, first: bytes) -> None:
    parse(first + data)


def rebuilt(data: bytes, family: Any) -> Any:
    """What scapy reads in it, and that it computes the same checksums."""
    read = family(data)
    again = read.copy()
    for layer in (again, again.payload):
        if "chksum" in layer.fields:
            del layer.chksum
    assert bytes(again) == data
    return read


@pytest.mark.parametrize(("ip", "family"), [(IP(**V4), IP), (IPv6(**V6), IPv6)])
def test_resets(ip: Any, family: Any) -> None:
    packet = parsed(ip / SEGMENT)
    back = rebuilt(packets.reset_back(packet), family)
    assert (back.src, back.dst, back[TCP].sport, back[TCP].dport) == (ip.dst, ip.src, 443, 40000)
    assert (back[TCP].flags, back[TCP].seq, back[TCP].ack) == ("RA", 77, 3)
    forward = rebuilt(packets.reset_forward(packet), family)
    assert (forward.src, forward.dst, forward[TCP].sport, forward[TCP].dport) == (ip.src, ip.dst, 40000, 443)
    assert (forward[TCP].flags, forward[TCP].seq) == ("R", 0xFFFFFFFE)


def test_syn_and_fin_take_a_sequence_number() -> None:
    back = IP(packets.reset_back(parsed(IP(**V4) / TCP(seq=10, flags="S"))))
    assert back[TCP].ack == 11
    assert IP(packets.reset_back(parsed(IP(**V4) / TCP(seq=10, flags="FA") / b"xy")))[TCP].ack == 13


@pytest.mark.parametrize(("ip", "family"), [(IP(**V4), IP), (IPv6(**V6), IPv6)])
def test_udp_reply(ip: Any, family: Any) -> None:
    packet = parsed(ip / UDP(sport=5000, dport=53) / b"query")
    reply = rebuilt(packets.udp_reply(packet, b"odd"), family)
    assert (reply.src, reply.dst, reply[UDP].sport, reply[UDP].dport) == (ip.dst, ip.src, 53, 5000)
    assert bytes(reply[UDP].payload) == b"odd"


def test_udp_checksum_is_never_zero() -> None:
    packet = parsed(IP(**V4) / UDP(sport=5000, dport=53) / b"query")
    plain = IP(packets.udp_reply(packet, b"\0\0"))[UDP].chksum
    assert IP(packets.udp_reply(packet, plain.to_bytes(2, "big")))[UDP].chksum == 0xFFFF


def test_flow_names() -> None:
    assert packets.flow_name(parsed(IP(**V4) / SEGMENT)) == "tcp 192.0.2.10:40000 > 203.0.113.10:443"
    assert packets.flow_name(parsed(IPv6(**V6) / SEGMENT), reverse=True) == (
        "tcp [2001:db8:2::10]:443 > [2001:db8:1::10]:40000"
    )
