"""A capture file while it is read from front to end: how far that is, whether it was cut off, what is wrong with it.

Other programs write these files, and often are killed while they do. So a file that ends within a packet is read up to
there; one that contradicts itself is an error that names the byte.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from sidedoor.settings import UsageError

PACKET_BYTES_MAX = 1 << 18
"""No capture program keeps more of a packet (libpcap's own limit); a larger number is damage."""


class Frame(NamedTuple):
    """One packet as it was captured. t: seconds since 1970. length: bytes it had, of which `data` are the first."""

    t: float
    link_type: int
    data: bytes
    length: int


class CaptureFile:
    """`file`, open for reading; `name` stands in front of messages. It need not be seekable."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.offset = 0
        self.truncated = False
        self._file = file
        self._name = name
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, which are read again."""
        self._ahead += self._file.read(size - len(self._ahead))
        return self._ahead

    def start(self, size: int) -> bytes | None:
        """The first bytes of a record. None: the file ends here, properly or within these bytes."""
        data = self._ahead + self._file.read(size - len(self._ahead))
        self._ahead = b""
        if len(data) < size:
            self.truncated = data != b""
            return None
        self.offset += size
        return data

    def more(self, size: int) -> bytes | None:
        """Further bytes of the same record. None: the file ends before it does."""
        data = self._file.read(size)
        if len(data) < size:
            self.truncated = True
            return None
        self.offset += size
        return data

    def error(self, offset: int, what: str) -> UsageError:
        """To be raised: what was expected and found at byte `offset`."""
        return UsageError(f"{self._name}: at byte {offset}: {what}")
