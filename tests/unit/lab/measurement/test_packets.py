"""pcap bytes to packets, on frames that scapy built."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether

from lab.measurement.packets import ACK, PSH, Packet, parse, read
from lab.measurement.packets import TCP as TCP_NUMBER
from lab.measurement.packets import UDP as UDP_NUMBER
from tests.unit.lab.measurement.traffic import REALTIME, pcap, tcp, udp

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4, V6 = IP(src="192.0.2.10", dst="203.0.113.10"), IPv6(src="2001:db8:1::10", dst="2001:db8:2::10")


def parsed(*frames: object) -> list[Packet]:
    return list(parse(pcap((float(i), bytes(frame)) for i, frame in enumerate(frames))))  # type: ignore[call-overload]  # scapy layers


def test_tcp_over_ipv4() -> None:
    data = tcp(("192.0.2.10", 40000), ("203.0.113.10", 443), "PA", 7, 9, b"hello")
    (packet,) = parse(pcap([(1.5, data)]), start=REALTIME)
    assert packet.t == pytest.approx(1.5, abs=1e-9)
    assert (packet.source, packet.destination) == (("192.0.2.10", 40000), ("203.0.113.10", 443))
    assert (packet.protocol, packet.flags, packet.sequence, packet.acknowledgment) == (TCP_NUMBER, PSH | ACK, 7, 9)
    assert (packet.payload, packet.wire_bytes) == (b"hello", 45)


def test_udp_over_ipv6() -> None:
    (packet,) = parse(pcap([(0.0, udp(("2001:db8:1::10", 5), ("2001:db8:4::53", 53), b"question"))]))
    assert (packet.source, packet.destination) == (("2001:db8:1::10", 5), ("2001:db8:4::53", 53))
    assert (packet.protocol, packet.payload, packet.wire_bytes) == (UDP_NUMBER, b"question", 56)


def test_the_padding_of_a_short_frame_is_no_payload() -> None:
    assert parsed(bytes(LINK / V4 / TCP()) + bytes(6))[0].payload == b""


def test_the_header_is_the_same_whatever_the_checksum() -> None:
    one, other = parsed(LINK / V4 / TCP(chksum=1), LINK / V4 / TCP(chksum=2))
    assert one.header == other.header


def test_options_a_vlan_tag_and_extension_headers_are_stepped_over() -> None:
    found = parsed(
        LINK / V4 / TCP(options=[("MSS", 1460)]) / b"a",
        LINK / Dot1Q(vlan=5) / V4 / UDP() / b"b",
        LINK / V6 / IPv6ExtHdrDestOpt() / UDP() / b"c",
        LINK / V6 / IPv6ExtHdrFragment(offset=0, m=1) / UDP() / b"d",
    )
    assert [packet.payload for packet in found] == [b"a", b"b", b"c", b"d"]


def test_a_super_packet_whose_length_field_is_zero_is_whole() -> None:
    v4 = bytearray(bytes(LINK / V4 / TCP() / bytes(100)))
    v4[16:18] = b"\0\0"
    v6 = bytearray(bytes(LINK / V6 / TCP() / bytes(100)))
    v6[18:20] = b"\0\0"
    assert [len(packet.payload) for packet in parsed(bytes(v4), bytes(v6))] == [100, 100]


def test_what_is_neither_tcp_nor_udp_is_passed_over() -> None:
    assert not parsed(
        LINK / ARP(),
        LINK / V4 / ICMP(),
        LINK / IP(src="192.0.2.1", dst="192.0.2.2", frag=10, proto=17) / b"the rest of a datagram",
        LINK / V6 / IPv6ExtHdrFragment(offset=9) / b"the rest",
        bytes(LINK / V4 / TCP())[:40],
        bytes(LINK / V4)[:20],
        bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x0800)) + b"\x70" + bytes(40),
        b"runt",
    )


@pytest.mark.parametrize(("magic", "order", "units"), [(0xA1B2C3D4, "<", 10**6), (0xA1B23C4D, ">", 10**9)])
def test_both_orders_and_resolutions_and_raw_ip(magic: int, order: str, units: int) -> None:
    data = bytes(V4 / UDP() / b"x")
    header = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 101)
    record = struct.pack(order + "IIII", 100, units // 4, len(data), len(data))
    (packet,) = parse(header + record + data, start=99.0)
    assert packet.t == pytest.approx(1.25)


def test_a_record_that_was_cut_off_ends_the_file(tmp_path: Path) -> None:
    data = pcap([(0.0, udp(("192.0.2.10", 5), ("198.18.0.53", 53), b"x"))] * 2)
    (tmp_path / "cut.pcap").write_bytes(data[:-3])
    assert len(list(read(tmp_path / "cut.pcap"))) == 1
    assert len(list(parse(data + b"tail"))) == 2


@pytest.mark.parametrize("data", [b"", b"\x0a\x0d\x0d\x0a" + bytes(40), pcap([])[:20] + struct.pack("<I", 113)])
def test_what_is_not_such_a_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="pcap"):
        parse(data)
