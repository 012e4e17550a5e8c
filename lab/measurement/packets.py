"""pcap bytes to TCP and UDP packets, fast: `struct` only, some 300,000 packets a second.

Reads classic pcap of either byte order with micro- or nanoseconds and the link types Ethernet and raw IP. What is
neither TCP nor UDP over IPv4 or IPv6, a fragment that is not the first, or cut off in its headers, is passed over.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_FILE_HEADER_BYTES = 24
_LINKTYPE_ETHERNET, _LINKTYPE_RAW = 1, 101
_IPV6_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options (RFC 8200)
_IPV6_FRAGMENT = 44

Endpoint = tuple[str, int]


class Packet(NamedTuple):
    """One packet. `t`: seconds, CLOCK_REALTIME less the offset; `source`, `destination`: (address, port).

    For TCP, `flags`, `sequence` and `acknowledgment` are the header's, for UDP they are 0. `header` is the transport
    header with its checksum zeroed: with `payload` it is the same on both sides of a router. `wire_bytes` counts the
    IP packet.
    """

    t: float
    source: Endpoint
    destination: Endpoint
    protocol: int
    flags: int
    sequence: int
    acknowledgment: int
    header: bytes
    payload: bytes
    wire_bytes: int


def read(path: str | Path, *, start: float = 0.0) -> Iterator[Packet]:
    """The packets of the pcap file at `path`. Raises OSError, and ValueError for what is not pcap."""
    return parse(Path(path).read_bytes(), start=start)


def parse(data: bytes, *, start: float = 0.0) -> Iterator[Packet]:
    """The packets of a pcap file's bytes, `t` counted from `start` (CLOCK_REALTIME seconds).

    A record cut off at the end, as a killed capture leaves it, ends the file. Raises ValueError for what is not pcap.
    """
    if len(data) < _FILE_HEADER_BYTES or data[:4] not in _MAGICS:
        raise ValueError(f"not a pcap file: starts with {data[:4].hex() or 'nothing'}")
    order, unit = _MAGICS[data[:4]]
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    if linktype not in (_LINKTYPE_ETHERNET, _LINKTYPE_RAW):
        raise ValueError(f"pcap link type {linktype} is neither Ethernet (1) nor raw IP (101)")
    return _records(data, struct.Struct(order + "IIII"), unit, linktype == _LINKTYPE_ETHERNET, start)


def _records(data: bytes, record: struct.Struct, unit: float, ethernet: bool, start: float) -> Iterator[Packet]:
    at, end = _FILE_HEADER_BYTES, len(data)
    whole_start, start_fraction = int(start), start - int(start)
    while at + 16 <= end:
        seconds, fraction, kept, _ = record.unpack_from(data, at)
        at += 16
        if at + kept > end:
            return
        # Seconds first: a nanosecond does not fit into a float beside the seconds since 1970.
        t = (seconds - whole_start) + (fraction * unit - start_fraction)
        packet = _frame(t, data[at : at + kept], ethernet)
        at += kept
        if packet is not None:
            yield packet


def _frame(t: float, frame: bytes, ethernet: bool) -> Packet | None:
    at = 0
    if ethernet:
        at = 18 if frame[12:14] == b"\x81\x00" else 14
        if frame[at - 2 : at] not in (b"\x08\x00", b"\x86\xdd"):
            return None
    try:
        version = frame[at] >> 4
        if version == 4:
            return _ipv4(t, frame[at:])
        return _ipv6(t, frame[at:]) if version == 6 else None
    except (struct.error, IndexError):
        return None


def _ipv4(t: float, packet: bytes) -> Packet | None:
    header_bytes = (packet[0] & 0x0F) * 4
    if struct.unpack_from(">H", packet, 6)[0] & 0x1FFF:
        return None
    # Under segmentation offload past 64 KB the length field is 0: then the capture's own length is right.
    total = struct.unpack_from(">H", packet, 2)[0] or len(packet)
    source, destination = _address(packet[12:16]), _address(packet[16:20])
    return _transport(t, source, destination, packet[9], packet[header_bytes:total], total)


def _ipv6(t: float, packet: bytes) -> Packet | None:
    total = (struct.unpack_from(">H", packet, 4)[0] + 40) if packet[4:6] != b"\0\0" else len(packet)
    following, at = packet[6], 40
    while following in _IPV6_EXTENSIONS or following == _IPV6_FRAGMENT:
        if following == _IPV6_FRAGMENT:
            if struct.unpack_from(">H", packet, at + 2)[0] & 0xFFF8:
                return None
            following, at = packet[at], at + 8
        else:
            following, at = packet[at], at + 8 + packet[at + 1] * 8
    source, destination = _address(packet[8:24]), _address(packet[24:40])
    return _transport(t, source, destination, following, packet[at:total], total)


def _transport(t: float, source: str, destination: str, protocol: int, segment: bytes, total: int) -> Packet | None:
    if protocol == TCP:
        sport, dport, sequence, acknowledgment, offset, flags = struct.unpack_from(">HHIIBB", segment)
        length = (offset >> 4) * 4
        header = segment[:16] + b"\0\0" + segment[18:length]
    elif protocol == UDP:
        sport, dport = struct.unpack_from(">HH", segment)
        sequence = acknowledgment = flags = 0
        length = 8
        header = segment[:6]
    else:
        return None
    return Packet(
        t,
        (source, sport),
        (destination, dport),
        protocol,
        flags,
        sequence,
        acknowledgment,
        header,
        segment[length:],
        total,
    )


@lru_cache(maxsize=4096)
def _address(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
