"""Sans-IO: a packet as IP fragments, and a fragment as a piece of it (RFC 791, section 3.2; RFC 8200, section 4.5)."""

from __future__ import annotations

import struct

from censor.packets.checksums import with_ip_header
from censor.packets.headers import EXTENSIONS, FRAGMENT, FRAGMENT_HEADER, IPV6, Packet

_be16 = struct.Struct("!H")
_END_OF_OPTIONS, _NO_OPERATION, _COPIED = 0, 1, 0x80
_HOP_BY_HOP, _ROUTING = 0, 43


def fragments_of(data: bytes, mtu: int, *, identification: int = 0) -> tuple[bytes, ...]:
    """The packet `data` (a whole one, with full checksums) as fragments of at most `mtu` bytes; itself if it fits.

    "Don't fragment" is not obeyed. identification: where the packet has none: over IPv6, and over IPv4 if it is 0, for
    which raw sockets would put in another one in each fragment (raw(7)). Raises ValueError: `mtu` has no room for 8
    bytes of payload.
    """
    if len(data) <= mtu:
        return (data,)
    return (
        _fragments_ipv4(data, mtu, identification) if data[0] >> 4 == 4 else _fragments_ipv6(data, mtu, identification)
    )


def piece_of(packet: Packet) -> tuple[bytes, bytes]:
    """(the IP header without what makes it a fragment's, what the fragment carries) of a fragment.

    The first fragment's header is that of the whole packet (`with_ip_header`).
    """
    data, start = packet.data, packet.header_bytes
    if packet.version == 4:
        return data[:6] + b"\0\0" + data[8:start], data[start : packet.length]
    next_at, end = 6, IPV6.size
    while data[next_at] in EXTENSIONS:
        next_at, end = end, end + 8 + data[end + 1] * 8
    header = data[:next_at] + data[end : end + 1] + data[next_at + 1 : end]
    return header, data[end + FRAGMENT_HEADER.size : packet.length]


def _pieces(payload: bytes, room: int) -> list[tuple[int, bytes, bool]]:
    """(offset, bytes, whether more follow); all but the last are multiples of 8 bytes."""
    size = room & ~7
    if size < 8:
        raise ValueError(f"no room for 8 bytes of payload in a fragment: {room}")
    starts = range(0, len(payload), size)
    return [(start, payload[start : start + size], start + size < len(payload)) for start in starts]


def _fragments_ipv4(data: bytes, mtu: int, identification: int) -> tuple[bytes, ...]:
    size = (data[0] & 0x0F) * 4
    if data[4:6] == b"\0\0":
        data = data[:4] + _be16.pack(identification) + data[6:]
    first = data[:size]
    options = _copied_options(data[20:size])
    later = bytes((0x40 | (20 + len(options)) // 4,)) + data[1:20] + options
    fragments = []
    for start, piece, more in _pieces(data[size:], mtu - size):
        header = later if start else first
        header = header[:6] + _be16.pack(more << 13 | start >> 3) + header[8:]
        fragments.append(with_ip_header(header, piece))
    return tuple(fragments)


def _copied_options(options: bytes) -> bytes:
    """The options that later fragments carry too (RFC 791, section 3.1), padded."""
    copied, at = b"", 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        length = 1 if options[at] == _NO_OPERATION else max(int.from_bytes(options[at + 1 : at + 2], "big"), 2)
        if options[at] & _COPIED:
            copied += options[at : at + length]
        at += length
    return copied + bytes(-len(copied) % 4)


def _fragments_ipv6(data: bytes, mtu: int, identification: int) -> tuple[bytes, ...]:
    # What routers on the way read stands before the fragment header: hop-by-hop and routing headers.
    end, next_at = IPV6.size, 6
    while data[next_at] in (_HOP_BY_HOP, _ROUTING):
        next_at, end = end, end + 8 + data[end + 1] * 8
    protocol = data[next_at]
    header = data[:next_at] + bytes((FRAGMENT,)) + data[next_at + 1 : end]
    return tuple(
        with_ip_header(header, FRAGMENT_HEADER.pack(protocol, start | more, identification) + piece)
        for start, piece, more in _pieces(data[end:], mtu - end - FRAGMENT_HEADER.size)
    )
