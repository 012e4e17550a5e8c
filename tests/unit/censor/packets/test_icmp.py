"""censor/packets/icmp.py: against scapy as the independent observer."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6

from censor.packets.icmp import Unreachable, icmp_unreachable
from tests.unit.censor.packets.observer import SEGMENT, V4, V6, rebuilt

ROUTER = bytes((192, 0, 2, 1))


@pytest.mark.parametrize(("code", "number"), list(zip(Unreachable, (0, 1, 3, 13), strict=True)))
def test_ipv4(code: Unreachable, number: int) -> None:
    trigger = bytes(IP(**V4) / SEGMENT)
    sent = icmp_unreachable(trigger + b"padding", code, source=ROUTER, ttl=63)
    assert sent is not None
    found = rebuilt(sent, IP)
    assert (found.src, found.dst, found.ttl) == ("192.0.2.1", V4["src"], 63)
    assert (found[ICMP].type, found[ICMP].code) == (3, number)
    assert bytes(found[ICMP].payload) == trigger


@pytest.mark.parametrize(("code", "number"), list(zip(Unreachable, (0, 3, 4, 1), strict=True)))
def test_ipv6(code: Unreachable, number: int) -> None:
    trigger = bytes(IPv6(**V6) / SEGMENT)
    sent = icmp_unreachable(trigger, code)
    assert sent is not None
    found = rebuilt(sent, IPv6)
    assert (found.src, found.dst) == (V6["dst"], V6["src"])
    assert (found[ICMPv6DestUnreach].type, found[ICMPv6DestUnreach].code) == (1, number)
    assert bytes(found[ICMPv6DestUnreach].payload) == trigger


@pytest.mark.parametrize(("ip", "length"), [(IP(**V4), 576), (IPv6(**V6), 1280)])
def test_a_long_packet_is_quoted_in_part(ip: Any, length: int) -> None:
    sent = icmp_unreachable(bytes(ip / UDP() / bytes(1400)), Unreachable.PORT)
    assert sent is not None
    assert len(sent) == length


@pytest.mark.parametrize("packet", [IP(**V4) / ICMP(type=8), IPv6(**V6) / ICMPv6EchoRequest()])
def test_about_a_ping(packet: Any) -> None:
    assert icmp_unreachable(bytes(packet), Unreachable.HOST) is not None


@pytest.mark.parametrize(
    "packet",
    [
        IP(**V4) / ICMP(type=3) / bytes(IP(**V4) / TCP()),
        IP(**V4, proto=1),
        IPv6(**V6) / ICMPv6PacketTooBig(),
        IPv6(**V6, nh=58),
        IP(**V4, frag=9, proto=17) / b"later fragment",
        IP(src=V4["src"], dst="224.0.0.251") / UDP(),
        IP(src=V4["src"], dst="255.255.255.255") / UDP(),
        IP(src="0.0.0.0", dst=V4["dst"]) / UDP(),
        IPv6(src=V6["src"], dst="ff02::1") / UDP(),
        IPv6(src="::", dst=V6["dst"]) / UDP(),
        b"not IP",
    ],
)
def test_no_error_about(packet: Any) -> None:
    assert icmp_unreachable(bytes(packet), Unreachable.HOST) is None
