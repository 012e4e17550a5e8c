"""censor/packets/checksums.py: against scapy as the independent observer."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.utils import checksum

from censor.packets import parse
from censor.packets.checksums import checksum_ok, full_checksum, internet_checksum
from tests.unit.censor.packets.observer import SEGMENT, V4, V6

SOUND = [
    IP(**V4) / SEGMENT,
    IP(**V4, options=b"\x01" * 4) / UDP() / b"odd",
    IP(**V4) / ICMP() / b"echo",
    IP(**V4, proto=47) / b"tunnel",
    IPv6(**V6) / SEGMENT,
    IPv6(**V6) / IPv6ExtHdrDestOpt() / UDP() / b"x",
    IPv6(**V6) / ICMPv6EchoRequest(data=b"echo"),
]
TRANSPORT = [packet for packet in SOUND if packet.fields.get("proto") != 47]


@given(st.binary(max_size=300))
def test_internet_checksum(data: bytes) -> None:
    assert internet_checksum(data) == checksum(data)


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff\xff", b"\xff\xff\0\0", b"\0\1\xff\xfe", b"\xff"])
def test_internet_checksum_at_its_ends(data: bytes) -> None:
    assert internet_checksum(data) == checksum(data)


def partial(packet: Any) -> bytes:
    """The packet as the kernel queues it before a network card has completed its checksum."""
    data = bytearray(bytes(packet))
    found = parse(bytes(data))
    assert found is not None
    transport = data[found.header_bytes :]
    pseudo = found.source + found.destination + struct.pack("!II", len(transport), found.protocol)
    at = found.header_bytes + (16 if found.protocol == 6 else 6)
    data[at : at + 2] = (~checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("packet", SOUND)
def test_sound(packet: Any) -> None:
    assert checksum_ok(bytes(packet))
    assert checksum_ok(bytes(packet) + b"padding")
    assert full_checksum(bytes(packet)) == bytes(packet)


@pytest.mark.parametrize("packet", TRANSPORT)
def test_a_broken_byte_is_seen_and_a_full_checksum_heals_it(packet: Any) -> None:
    data = bytes(packet)
    broken = data[:-1] + bytes((data[-1] ^ 4,))
    assert not checksum_ok(broken)
    assert checksum_ok(full_checksum(broken))


def test_a_broken_ip_header_is_seen() -> None:
    data = bytes(SOUND[0])
    assert not checksum_ok(data[:8] + b"\x07" + data[9:])
    assert checksum_ok(full_checksum(data[:8] + b"\x07" + data[9:]))


@pytest.mark.parametrize("packet", [IP(**V4) / SEGMENT, IPv6(**V6) / SEGMENT, IP(**V4) / UDP() / b"odd"])
def test_a_partial_checksum_is_sound_and_is_completed(packet: Any) -> None:
    queued = partial(packet)
    assert queued != bytes(packet)
    assert checksum_ok(queued)
    assert full_checksum(queued) == bytes(packet)


def test_udp_without_checksum() -> None:
    four, six = bytes(IP(**V4) / UDP(chksum=0) / b"x"), bytes(IPv6(**V6) / UDP(chksum=0) / b"x")
    assert checksum_ok(four)
    assert full_checksum(four) == four
    assert not checksum_ok(six)


def test_what_cannot_be_known() -> None:
    data = bytes(IP(**V4, flags="MF") / SEGMENT)
    broken = data[:-1] + b"!"
    assert checksum_ok(broken)
    assert full_checksum(broken) == broken
    whole = bytes(IP(**V4) / SEGMENT)
    assert checksum_ok(whole[:-1])
    assert full_checksum(whole[:-1]) == whole[:-1]
    assert not checksum_ok(b"\0" * 40)
    assert full_checksum(b"\0" * 40) == b"\0" * 40


def test_a_message_too_short_for_its_checksum() -> None:
    short = bytes(IP(**V4, proto=1) / b"\x08")
    assert full_checksum(short) == short


def test_super_packet_of_more_than_64_kib() -> None:
    data = bytearray(bytes(IPv6(**V6) / TCP(chksum=1) / (b"x" * 9)) + bytes(0x10000))
    data[4:6] = b"\0\0"
    full = full_checksum(bytes(data))
    assert (full[4:6], len(full), checksum_ok(full)) == (b"\0\0", len(data), True)
