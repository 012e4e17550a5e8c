"""Frames out of a pcapng file (draft-ietf-opsawg-pcapng): section headers, interfaces, enhanced and simple packets.

All other blocks are skipped. Every section has its own byte order and interfaces.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from censor.packet_io.capture_file import PACKET_BYTES_MAX, CaptureFile, Frame

SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 3, 6
_BLOCK_BYTES_MIN, _BLOCK_BYTES_MAX = 12, 1 << 24
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_OPTION_END, _OPTION_RESOLUTION, _OPTION_OFFSET = 0, 9, 14


class _Interface(NamedTuple):
    link_type: int
    snaplen: int
    """Bytes kept of a packet; 0: all."""
    ticks: int
    """Of its timestamps, in a second."""
    offset_seconds: int


class _Structs(NamedTuple):
    """The fixed parts of blocks, in a section's byte order."""

    order: str
    head: struct.Struct
    interface: struct.Struct
    enhanced: struct.Struct
    number: struct.Struct


def _structs(order: str) -> _Structs:
    return _Structs(order, *(struct.Struct(order + fields) for fields in ("II", "HxxI", "IIIII", "I")))


def frames(file: CaptureFile) -> Iterator[Frame]:
    """The packets of a file that starts with a section header. A simple packet has the time of the one before it.

    Raises UsageError for a damaged file.
    """
    structs = _structs("<")
    interfaces: list[_Interface] = []
    t = 0.0
    while (head := file.start(8)) is not None:
        at = file.offset - 8
        start = b""
        if head[:4] == SECTION_HEADER:
            magic = file.more(4)
            if magic is None:
                return
            if magic not in _ORDERS:
                raise file.error(at + 8, f"expected a section's byte order, found {magic.hex()}")
            structs, interfaces, start = _structs(_ORDERS[magic]), [], magic
        kind, length = structs.head.unpack(head)
        body = _body(file, at, length, structs, start)
        if body is None:
            return
        if start:
            _check_version(file, at, body, structs)
        elif kind == _INTERFACE:
            interfaces.append(_interface(file, at, body, structs))
        elif kind in (_ENHANCED_PACKET, _SIMPLE_PACKET):
            packet = _enhanced if kind == _ENHANCED_PACKET else _simple
            frame = packet(file, at, body, structs, interfaces, t)
            t = frame.t
            yield frame


def _body(file: CaptureFile, at: int, length: int, structs: _Structs, start: bytes) -> bytes | None:
    """The block's bytes between its two lengths, of which `start` was read before; None: the file ends within it."""
    if length % 4 or not _BLOCK_BYTES_MIN + len(start) <= length <= _BLOCK_BYTES_MAX:
        raise file.error(at + 4, f"expected the length of a block, found {length}")
    rest = file.more(length - 8 - len(start))
    if rest is None:
        return None
    (again,) = structs.number.unpack(rest[-4:])
    if again != length:
        raise file.error(file.offset - 4, f"expected a block's length again, {length}, found {again}")
    return start + rest[:-4]


def _check_version(file: CaptureFile, at: int, body: bytes, structs: _Structs) -> None:
    found = body[4:8]
    if len(found) < 4 or struct.unpack(structs.order + "HH", found)[0] != 1:
        raise file.error(at + 12, f"expected pcapng version 1, found {found.hex()}")


def _interface(file: CaptureFile, at: int, body: bytes, structs: _Structs) -> _Interface:
    if len(body) < structs.interface.size:
        raise file.error(at + 8, "expected an interface's link type and snapshot length, the block ends")
    link_type, snaplen = structs.interface.unpack_from(body)
    ticks, offset_seconds = 10**6, 0
    for code, value in _options(body, structs):
        if code == _OPTION_RESOLUTION and len(value) == 1:
            exponent = value[0] & 0x7F
            ticks = 2**exponent if value[0] & 0x80 else 10**exponent
        elif code == _OPTION_OFFSET and len(value) == 8:
            (offset_seconds,) = struct.unpack(structs.order + "q", value)
    return _Interface(link_type, snaplen, ticks, offset_seconds)


def _options(body: bytes, structs: _Structs) -> Iterator[tuple[int, bytes]]:
    """(code, value) of each option behind an interface's fixed part; ends at the first malformed one."""
    at = structs.interface.size
    while at + 4 <= len(body):
        code, length = struct.unpack_from(structs.order + "HH", body, at)
        if code == _OPTION_END or at + 4 + length > len(body):
            return
        yield code, body[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def _enhanced(
    file: CaptureFile, at: int, body: bytes, structs: _Structs, interfaces: list[_Interface], _t: float
) -> Frame:
    if len(body) < structs.enhanced.size:
        raise file.error(at + 8, "expected a packet's interface, time and lengths, the block ends")
    number, high, low, kept, length = structs.enhanced.unpack_from(body)
    if number >= len(interfaces):
        raise file.error(at + 8, f"expected one of {len(interfaces)} interfaces, found number {number}")
    if kept > min(len(body) - structs.enhanced.size, PACKET_BYTES_MAX):
        raise file.error(at + 20, f"expected the length of a packet within its block, found {kept}")
    interface = interfaces[number]
    t = (high << 32 | low) / interface.ticks + interface.offset_seconds
    start = structs.enhanced.size
    return Frame(t, interface.link_type, body[start : start + kept], length)


def _simple(
    file: CaptureFile, at: int, body: bytes, structs: _Structs, interfaces: list[_Interface], t: float
) -> Frame:
    if not interfaces or len(body) < structs.number.size:
        raise file.error(at + 8, "expected a packet of the first interface, there is none or the block ends")
    (length,) = structs.number.unpack_from(body)
    interface = interfaces[0]
    kept = min(length, interface.snaplen or length, len(body) - 4)
    return Frame(t, interface.link_type, body[4 : 4 + kept], length)
