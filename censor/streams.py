"""Sans-IO: the first bytes of one direction of a TCP connection, put together as well as a given censor does it.

How well is what evasions live on: a censor that reads each packet by itself misses a split ClientHello, one that
ignores sequence numbers reads garbage after a retransmission.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from censor.overlaps import Overlap, Pieces, put

_HALF = 1 << 31
_MASK = 0xFFFFFFFF
# A sequence number further away than this from the next expected one belongs to another connection with the same ports.
_NEAR_BYTES = 1 << 20


class Reassembly(enum.Enum):
    """What a censor makes of a direction's segments."""

    NONE = "none"
    """Each payload by itself."""
    ARRIVAL = "arrival"
    """Payloads behind one another as they come, whatever their sequence numbers (Iran 2020)."""
    IN_ORDER = "in_order"
    """Bytes in order; a segment beyond the next expected byte is ignored, and read only when it is sent again."""
    FULL = "full"
    """Segments out of order are kept until the gap before them is filled."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """limit_bytes: of one direction, what waits out of order included. Raises ValueError for impossible numbers.

    limit_segments, overlap (of bytes that came twice before they were in order; what is in order is final): of FULL
        alone. Cutting a segment around others makes more of them.
    resync_segments: of IN_ORDER and FULL: with the so many'th segment behind the same gap the stream starts anew behind
        it; None: it waits for ever.
    """

    reassembly: Reassembly = Reassembly.FULL
    limit_bytes: int = 16384
    limit_segments: int = 64
    overlap: Overlap = Overlap.FIRST
    resync_segments: int | None = None

    def __post_init__(self) -> None:
        if self.limit_bytes < 1 or self.limit_segments < 0:
            raise ValueError(f"a stream of {self.limit_bytes} bytes and {self.limit_segments} segments")
        if self.resync_segments is not None and self.resync_segments < 1:
            raise ValueError(f"resync after {self.resync_segments} segments")


class Stream:
    """Segments in, the bytes of the message at its front out: `take` or `skip` what has been read.

    base: sequence number of the first byte of payload.
    lost: segments that were thrown away, in whole or in part, for want of room. Bytes that did not fit are a gap.
    """

    __slots__ = ("_data", "_kept", "_limit", "_next", "_reassembly", "_settings", "_skip", "_waited", "lost")

    def __init__(self, base: int, settings: StreamSettings) -> None:
        self._settings = settings
        self._reassembly = settings.reassembly
        self._limit = settings.limit_bytes
        self._data = b""
        # Sequence numbers are counted on beyond 2^32 here, so that they can be compared.
        self._next = base
        self._skip = 0  # bytes from _next on that nobody will read; then there is no _data
        self._kept: Pieces = []  # within the limit
        self._waited = 0  # segments since the gap is there
        self.lost = 0

    @property
    def data(self) -> bytes:
        """The front of the stream as far as it is there."""
        return self._data

    @property
    def full(self) -> bool:
        return len(self._data) >= self._limit

    @property
    def gap(self) -> int:
        """Bytes missing before those that wait out of order; 0: none wait."""
        return self._kept[0][0] - self._next - self._skip if self._kept else 0

    def near(self, sequence: int) -> bool:
        """Whether `sequence` may belong to the same connection: within 1 MiB of what is expected."""
        return -_NEAR_BYTES <= self._unwrapped(sequence) - self._next <= self._skip + _NEAR_BYTES

    def add(self, sequence: int, payload: bytes) -> bytes:
        """Take in a segment; the bytes at the front of the stream now."""
        if self._reassembly is Reassembly.NONE:
            self._data = b""
            self._next = sequence
        elif self._reassembly is Reassembly.ARRIVAL:
            self._next = sequence
        if (sequence - self._next) & _MASK or self._kept:
            self._place(sequence, payload)
        elif payload:
            self._append(payload)
            self._waited = 0
        return self._data

    def take(self, size: int) -> bytes:
        """Drop `size` bytes of `data` (a message that was read); what is left of it. Raises ValueError: not there."""
        if size > len(self._data):
            raise ValueError(f"taking {size} of {len(self._data)} bytes")
        self._data = self._data[size:]
        return self._data

    def skip(self, size: int) -> bytes:
        """Drop the next `size` bytes, those that have yet to come too (a body); what is left of `data`.

        Gaps in what is skipped do not matter. A censor without reassembly skips within the payload alone.
        """
        there = min(size, len(self._data))
        self._data = self._data[there:]
        if self._reassembly is not Reassembly.NONE:
            self._skip += size - there
            self._join()
        return self._data

    def _unwrapped(self, sequence: int) -> int:
        """The sequence number that is nearest to the next expected one (RFC 1982)."""
        return self._next + ((sequence - self._next + _HALF) & _MASK) - _HALF

    def _append(self, payload: bytes) -> None:
        """`payload` starts with the next expected byte."""
        self._next += len(payload)
        if self._skip:
            skipped = min(self._skip, len(payload))
            self._skip -= skipped
            payload = payload[skipped:]
        data = self._data + payload if self._data else payload
        excess = len(data) - self._limit
        if excess > 0:
            data = data[: self._limit]
            self._next -= excess
            self.lost += 1
        self._data = data

    def _place(self, sequence: int, payload: bytes) -> None:
        """Take in a segment that is not simply the next one; what is old of it is not looked at."""
        expected, start = self._next, self._unwrapped(sequence)
        if start < expected:
            start, payload = expected, payload[expected - start :]
        if not payload:
            return
        if self._reassembly is Reassembly.FULL:
            self._keep(start, payload)
            self._join()
            self._evict()
        elif start <= expected + self._skip:
            self._jump(start)
            self._append(payload)
        if self._next > expected:
            self._waited = 0
            return
        self._waited += 1
        if self._waited == self._settings.resync_segments:
            self._resync(start, payload)

    def _jump(self, start: int) -> None:
        """The next expected byte is now the one at `start`, no further than what is skipped."""
        self._skip -= start - self._next
        self._next = start

    def _keep(self, start: int, payload: bytes) -> None:
        room = self._next + self._skip + self._limit - len(self._data) - start
        if len(payload) > room:
            payload = payload[: max(room, 0)]
            self.lost += 1
        self._kept = put(self._kept, start, payload, self._settings.overlap)

    def _join(self) -> None:
        """Move what is no longer out of order to the front."""
        while self._kept and self._kept[0][0] <= self._next + self._skip:
            start, payload = self._kept.pop(0)
            self._jump(start)
            self._append(payload)

    def _evict(self) -> None:
        """The furthest go first: whoever floods a gap cannot push out what lies right behind it."""
        while len(self._kept) > self._settings.limit_segments:
            self._kept.pop()
            self.lost += 1

    def _resync(self, start: int, payload: bytes) -> None:
        """Give up on the gap: go on with the first that is kept, or with this segment."""
        self._data = b""
        self._skip = 0
        self._waited = 0
        if self._kept:
            self._next = self._kept[0][0]
            self._join()
        else:
            self._next = start
            self._append(payload)
