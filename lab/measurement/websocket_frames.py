"""Sans-IO: the WebSocket messages (RFC 6455) in one direction of a decrypted stream, behind its HTTP upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_CONTINUATION, _TEXT, _BINARY = 0, 1, 2


class Payload(NamedTuple):
    """One unmasked data message; `start`, `end`: from its first frame's header to its last frame's last byte."""

    start: int
    end: int
    data: bytes


class _Frame(NamedTuple):
    start: int
    end: int
    final: bool
    opcode: int
    data: bytes


def messages(stream: bytes) -> Iterator[Payload]:
    """The data messages; what is not whole at the end is left out. Nothing where there was no upgrade."""
    upgrade = stream.find(b"\r\n\r\n")
    if upgrade < 0:
        return
    start, parts = 0, list[bytes]()
    for frame in _frames(stream, upgrade + 4):
        if frame.opcode in (_TEXT, _BINARY):
            start, parts = frame.start, []
        elif frame.opcode != _CONTINUATION:
            continue  # control frames may stand between the frames of a message
        parts.append(frame.data)
        if frame.final:
            yield Payload(start, frame.end, b"".join(parts))


def _frames(stream: bytes, at: int) -> Iterator[_Frame]:
    while at + 2 <= len(stream):
        first, second = stream[at], stream[at + 1]
        extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
        mask_at = at + 2 + extended
        length = int.from_bytes(stream[at + 2 : mask_at]) if extended else second & 0x7F
        data_at = mask_at + (4 if second & 0x80 else 0)
        end = data_at + length
        if end > len(stream):
            return
        yield _Frame(at, end, bool(first & 0x80), first & 0x0F, _unmask(stream[mask_at:data_at], stream[data_at:end]))
        at = end


def _unmask(key: bytes, data: bytes) -> bytes:
    """RFC 6455 section 5.3, on one large integer instead of byte by byte."""
    if not key or not data:
        return bytes(data)
    pad = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(pad)).to_bytes(len(data))
