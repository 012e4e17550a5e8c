"""censor/packets/forged.py: against scapy as the independent observer."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt

from censor.packets import ACK, PSH, RST, forged
from tests.unit.censor.packets.observer import FAMILIES, SEGMENT, V4, V6, parsed, rebuilt


@pytest.mark.parametrize(("ip", "family"), FAMILIES)
def test_resets(ip: Any, family: Any) -> None:
    packet = parsed(ip / SEGMENT)
    back = rebuilt(forged.reset_back(packet), family)
    assert (back.src, back.dst, back[TCP].sport, back[TCP].dport) == (ip.dst, ip.src, 443, 40000)
    assert (back[TCP].flags, back[TCP].seq, back[TCP].ack) == ("RA", 77, 3)
    forward = rebuilt(forged.reset_forward(packet), family)
    assert (forward.src, forward.dst, forward[TCP].sport, forward[TCP].dport) == (ip.src, ip.dst, 40000, 443)
    assert (forward[TCP].flags, forward[TCP].seq, forward[TCP].ack) == ("R", 0xFFFFFFFE, 0)


def test_syn_and_fin_take_a_sequence_number() -> None:
    back = IP(forged.reset_back(parsed(IP(**V4) / TCP(seq=10, flags="S"))))
    assert back[TCP].ack == 11
    assert IP(forged.reset_back(parsed(IP(**V4) / TCP(seq=10, flags="FA") / b"xy")))[TCP].ack == 13


@pytest.mark.parametrize(("ip", "family"), FAMILIES)
def test_reset_of_any_make(ip: Any, family: Any) -> None:
    packet = parsed(ip / SEGMENT)
    reset = rebuilt(forged.reset(packet, back=True, flags=RST, sequence_offset=4380, ttl=41, window=98), family)
    assert (reset[TCP].flags, reset[TCP].seq, reset[TCP].ack, reset[TCP].window) == ("R", 77 + 4380, 0, 98)
    assert reset.fields.get("ttl", reset.fields.get("hlim")) == 41
    reset = rebuilt(forged.reset(packet, back=True, payload_acknowledged=False), family)
    assert (reset[TCP].seq, reset[TCP].ack) == (77, 0xFFFFFFFE)


def test_reset_behind_a_packet_that_has_passed() -> None:
    packet = parsed(IP(**V4) / SEGMENT)
    reset = rebuilt(forged.reset(packet, back=False, flags=RST | ACK, passed=True, sequence_offset=1460), IP)
    assert (reset[TCP].flags, reset[TCP].seq, reset[TCP].ack) == ("RA", 3 + 1460, 77)


@pytest.mark.parametrize(
    ("ip", "family"),
    [
        (IP(**V4, ttl=51, id=4242, tos=8, flags="DF", options=b"\x01" * 4), IP),
        (IPv6(**V6, hlim=51, fl=7) / IPv6ExtHdrDestOpt(), IPv6),
    ],
)
def test_rewritten_reset_keeps_everything_but_flags_and_payload(ip: Any, family: Any) -> None:
    packet = ip / SEGMENT
    found = rebuilt(forged.rewritten_reset(parsed(packet)), family)
    assert (found[TCP].flags, bytes(found[TCP].payload)) == ("RA", b"")
    expected = ip / SEGMENT.copy()
    expected[TCP].flags = "RA"
    expected[TCP].remove_payload()
    assert bytes(found) == bytes(expected)


def test_rewritten_reset_of_a_packet_copied_in_part() -> None:
    whole = bytes(IP(**V4) / TCP(sport=443, dport=40000, seq=9, ack=8, flags="PA") / (b"x" * 1000))
    assert forged.rewritten_reset(parsed(whole[:100])) == forged.rewritten_reset(parsed(whole))


@pytest.mark.parametrize(("ip", "family"), FAMILIES)
def test_segments_back(ip: Any, family: Any) -> None:
    body = bytes(range(250)) * 12
    segments = [rebuilt(data, family) for data in forged.segments_back(parsed(ip / SEGMENT), body)]
    assert [len(segment[TCP].payload) for segment in segments] == [1400, 1400, 200]
    assert [segment[TCP].seq for segment in segments] == [77, 1477, 2877]
    assert [str(segment[TCP].flags) for segment in segments] == ["A", "A", "FPA"]
    assert {(segment.src, segment.dst, segment[TCP].ack) for segment in segments} == {(ip.dst, ip.src, 3)}
    assert b"".join(bytes(segment[TCP].payload) for segment in segments) == body


@pytest.mark.parametrize(("size", "lengths"), [(0, [0]), (10, [10]), (20, [10, 10]), (21, [10, 10, 1])])
def test_segment_sizes(size: int, lengths: list[int]) -> None:
    made = forged.segments_back(parsed(IP(**V4) / SEGMENT), b"x" * size, segment_bytes=10, flags=PSH | ACK, ttl=7)
    assert [len(IP(data)[TCP].payload) for data in made] == lengths
    assert [str(IP(data)[TCP].flags) for data in made] == ["A"] * (len(lengths) - 1) + ["PA"]
    assert {IP(data).ttl for data in made} == {7}


@pytest.mark.parametrize(("ip", "family"), FAMILIES)
def test_udp_reply(ip: Any, family: Any) -> None:
    packet = parsed(ip / UDP(sport=5000, dport=53) / b"query")
    reply = rebuilt(forged.udp_reply(packet, b"odd", ttl=12), family)
    assert (reply.src, reply.dst, reply[UDP].sport, reply[UDP].dport) == (ip.dst, ip.src, 53, 5000)
    assert bytes(reply[UDP].payload) == b"odd"
    assert reply.fields.get("ttl", reply.fields.get("hlim")) == 12


def test_udp_checksum_is_never_zero() -> None:
    packet = parsed(IP(**V4) / UDP(sport=5000, dport=53) / b"query")
    plain = IP(forged.udp_reply(packet, b"\0\0"))[UDP].chksum
    assert IP(forged.udp_reply(packet, plain.to_bytes(2, "big")))[UDP].chksum == 0xFFFF
