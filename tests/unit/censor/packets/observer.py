"""scapy as the independent observer of packets."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from censor.packets import Packet, parse

V4 = {"src": "192.0.2.10", "dst": "203.0.113.10"}
V6 = {"src": "2001:db8:1::10", "dst": "2001:db8:2::10"}
FAMILIES = [(IP(**V4), IP), (IPv6(**V6), IPv6)]
SEGMENT = (
    TCP(sport=40000, dport=443, seq=0xFFFFFFFE, ack=77, flags="PA", window=321, options=[("NOP", None)] * 4) / b"hello"
)


def parsed(packet: Any) -> Packet:
    found = parse(bytes(packet))
    assert found is not None
    return found


def rebuilt(data: bytes, family: Any) -> Any:
    """What scapy reads in it, and that it computes the same lengths and checksums."""
    read = family(data)
    again = read.copy()
    layer = again
    while layer:
        for field in ("chksum", "cksum", "len", "plen"):
            if field in layer.fields and layer.name not in ("IP in ICMP", "IPv6 in ICMPv6", "TCP in ICMP"):
                delattr(layer, field)
        layer = layer.payload
    assert bytes(again) == data
    return read
