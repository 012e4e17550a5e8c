"""Capture files in and out: pcap and pcapng to IP packets, IP packets to pcap. In pure `struct`.

Reading is with a censor's eyes: whatever is not IP is passed over. pcap is draft-ietf-opsawg-pcap; pcapng has a module
of its own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from censor.packet_io import link_types, pcapng
from censor.packet_io.capture_file import PACKET_BYTES_MAX, CaptureFile, Frame
from sidedoor.settings import UsageError

# Magic number: (byte order, parts of a second).
_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 10**6),
    b"\xa1\xb2\xc3\xd4": (">", 10**6),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9),
    b"\xa1\xb2\x3c\x4d": (">", 10**9),
}
_GZIP = b"\x1f\x8b"
_VERSION = (2, 4)
_FILE_HEADER = "IHHiIII"
_NANOSECONDS_MAGIC = 0xA1B23C4D
_record = struct.Struct("<IIII")


class CapturedPacket(NamedTuple):
    """One IP packet of a capture file. An Ethernet frame's padding is still behind it."""

    t: float
    """Seconds since 1970."""
    data: bytes
    """From the IP header on, as far as it was captured."""
    length: int
    """Bytes from the IP header on that it had."""


class PcapReader:
    """The IP packets of a pcap or pcapng file, once, in the order of the file.

    truncated: the file ends within a packet, of which nothing was read (its writer was killed).
    skipped: frames that carry something else than IP.
    Raises UsageError, here and while it is read: not a capture file, damaged, or a link type that is not known.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.skipped = 0
        self._file = CaptureFile(file, name)
        magic = self._file.peek(4)
        if magic == pcapng.SECTION_HEADER:
            self._frames = pcapng.frames(self._file)
        elif magic in _MAGICS:
            self._frames = _frames(self._file, *_MAGICS[magic])
        else:
            hint = "; decompress it first (gzip)" if magic[:2] == _GZIP else ""
            raise self._file.error(0, f"expected a pcap or pcapng file, found {magic.hex() or 'nothing'}{hint}")

    @property
    def truncated(self) -> bool:
        return self._file.truncated

    def __iter__(self) -> Iterator[CapturedPacket]:
        for t, link_type, data, length in self._frames:
            if link_type not in link_types.KNOWN:
                known = ", ".join(map(str, sorted(link_types.KNOWN)))
                raise self._file.error(self._file.offset, f"a packet of link type {link_type}, expected one of {known}")
            start = link_types.ip_start(link_type, data)
            if start is None:
                self.skipped += 1
            else:
                yield CapturedPacket(t, data[start:] if start else data, length - start)


def _frames(file: CaptureFile, order: str, parts: int) -> Iterator[Frame]:
    """The packets of a classic pcap file."""
    layout = struct.Struct(order + _FILE_HEADER)
    header = file.start(layout.size)
    if header is None:
        return
    _, *version, _, _, _, network = layout.unpack(header)
    if tuple(version) != _VERSION:
        raise file.error(4, f"expected pcap version 2.4, found {version[0]}.{version[1]}")
    link_type = network & 0xFFFF  # above it stands the length of frame check sequences
    record = struct.Struct(order + "IIII")
    while (head := file.start(record.size)) is not None:
        seconds, fraction, kept, length = record.unpack(head)
        if kept > PACKET_BYTES_MAX:
            raise file.error(file.offset - 8, f"expected the length of a packet, found {kept}")
        data = file.more(kept)
        if data is None:
            return
        yield Frame(seconds + fraction / parts, link_type, data, length)


@contextmanager
def open_pcap(path: str | Path) -> Iterator[PcapReader]:
    """The reader of the file at `path`. Raises UsageError: it cannot be read, or see PcapReader."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        yield PcapReader(file, str(path))


class PcapWriter:
    """Writes IP packets to `file` as pcap: little-endian, nanoseconds, link type "raw IP"."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        header = (_NANOSECONDS_MAGIC, *_VERSION, 0, 0, PACKET_BYTES_MAX, link_types.RAW)
        file.write(struct.pack("<" + _FILE_HEADER, *header))

    def write(self, t: float, data: bytes, length: int | None = None) -> None:
        """One packet, captured at `t` (seconds since 1970); `length`: what it had if `data` is only a part of it."""
        # Seconds first: a nanosecond does not fit into a float beside the seconds since 1970.
        seconds = math.floor(t)
        more, fraction = divmod(round((t - seconds) * 1e9), 10**9)
        seconds += more
        self._file.write(_record.pack(seconds, fraction, len(data), len(data) if length is None else length) + data)
