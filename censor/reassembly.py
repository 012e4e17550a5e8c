"""Sans-IO: the first bytes of one direction of a TCP connection, put in order, up to a limit."""

from __future__ import annotations

_HALF = 1 << 31
_MODULUS = 1 << 32


class Head:
    """Segments in, the contiguous bytes from `base` on out. Overlaps: the first copy of a byte counts.

    base: sequence number of the first byte. Never holds more than `limit_bytes` (out-of-order segments included): what
    lies beyond is ignored.
    """

    __slots__ = ("_base", "_data", "_limit", "_waiting")

    def __init__(self, base: int, limit_bytes: int) -> None:
        self._base = base
        self._limit = limit_bytes
        self._data = b""
        self._waiting: dict[int, bytes] = {}

    @property
    def data(self) -> bytes:
        return self._data

    @property
    def full(self) -> bool:
        return len(self._data) >= self._limit

    def near(self, sequence: int) -> bool:
        """Whether `sequence` may belong to the same connection: no further from the base than the limit."""
        return abs(self._offset(sequence)) <= self._limit

    def _offset(self, sequence: int) -> int:
        """Signed distance from the base, modulo 2^32 (RFC 1982)."""
        return (sequence - self._base + _HALF) % _MODULUS - _HALF

    def add(self, sequence: int, payload: bytes) -> bytes:
        """The contiguous bytes after taking in a segment."""
        offset = self._offset(sequence)
        if offset < 0:
            payload, offset = payload[-offset:], 0
        payload = payload[: max(self._limit - offset, 0)]
        if len(payload) > len(self._waiting.get(offset, b"")):
            self._waiting[offset] = payload
        self._join()
        return self._data

    def _join(self) -> None:
        for offset in sorted(self._waiting):
            if offset > len(self._data):
                break
            self._data += self._waiting.pop(offset)[len(self._data) - offset :]
        # Held pieces lie within the limit and start at distinct offsets; overlapping ones are bounded here.
        while sum(map(len, self._waiting.values())) > self._limit:
            self._waiting.pop(max(self._waiting))
