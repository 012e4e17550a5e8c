"""censor/packet_io/link_types.py: scapy builds the frames."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback

from censor.packet_io import link_types
from censor.packet_io.link_types import ip_start

FOUR = IP(src="192.0.2.1", dst="203.0.113.1") / UDP()
SIX = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP()
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}


@pytest.mark.parametrize("packet", [FOUR, SIX])
@pytest.mark.parametrize(
    ("link_type", "link", "length"),
    [
        (link_types.ETHERNET, Ether(**MACS), 14),
        (link_types.ETHERNET, Ether(**MACS) / Dot1Q(vlan=5), 18),
        (link_types.ETHERNET, Ether(**MACS) / Dot1AD(vlan=6) / Dot1Q(vlan=5), 22),
        (link_types.LINUX_SLL, CookedLinux(), 16),
        (link_types.LINUX_SLL2, CookedLinuxV2(), 20),
    ],
)
def test_ethertypes(packet: Any, link_type: int, link: Any, length: int) -> None:
    frame = bytes(link / packet)
    assert ip_start(link_type, frame) == length
    assert frame[length:] == bytes(packet)


@pytest.mark.parametrize("link_type", [link_types.RAW, link_types.IPV4, link_types.IPV6])
def test_raw(link_type: int) -> None:
    assert ip_start(link_type, bytes(SIX)) == 0


@pytest.mark.parametrize(("family", "packet"), [(2, FOUR), (10, SIX), (24, SIX), (28, SIX), (30, SIX)])
def test_loopback(family: int, packet: Any) -> None:
    assert ip_start(link_types.NULL, bytes(Loopback(type=family) / packet)) == 4
    assert ip_start(link_types.NULL, family.to_bytes(4, "little") + bytes(packet)) == 4
    assert ip_start(link_types.LOOP, family.to_bytes(4, "big") + bytes(packet)) == 4


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (link_types.ETHERNET, bytes(Ether(**MACS) / ARP())),
        (link_types.ETHERNET, bytes(Ether(**MACS) / FOUR)[:13]),
        (link_types.ETHERNET, bytes(Ether(**MACS) / FOUR)[:14]),
        (link_types.ETHERNET, bytes(Ether(**MACS, type=0x0800)) + b"\x00\x01"),
        (link_types.ETHERNET, bytes(Ether(**MACS) / Dot1Q(vlan=5) / ARP())),
        (link_types.ETHERNET, bytes(Ether(**MACS) / Dot1Q(vlan=5) / FOUR)[:16]),
        (link_types.LINUX_SLL, bytes(CookedLinux(proto=0x0806) / ARP())),
        (link_types.LINUX_SLL2, b""),
        (link_types.RAW, b""),
        (link_types.RAW, b"\x00" * 20),
        (link_types.NULL, bytes((7, 0, 0, 0)) + bytes(FOUR)),
        (link_types.NULL, b"\x02"),
    ],
)
def test_what_is_not_ip(link_type: int, frame: bytes) -> None:
    assert ip_start(link_type, frame) is None
