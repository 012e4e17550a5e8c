"""A token bucket, and two meters as one. Sans-IO."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.relay.flow import Meter

BURST_SECONDS = 0.1
"""How much of the rate may go out at once after a pause."""
WAIT_SECONDS = 0.02
"""How much of the rate should have gathered before going on: waking up for less costs more than it moves."""


class Bucket:
    """A `Meter` that lets `rate_bytes_per_second` through, whatever is asked for when. It starts full."""

    __slots__ = ("_burst_bytes", "_filled", "_rate", "_tokens")

    def __init__(self, rate_bytes_per_second: float, now: float) -> None:
        self._rate = rate_bytes_per_second
        self._burst_bytes = max(1.0, rate_bytes_per_second * BURST_SECONDS)
        self._tokens = self._burst_bytes
        self._filled = now

    def available(self, now: float) -> int:
        """How many bytes may go now."""
        self._tokens = min(self._burst_bytes, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return int(self._tokens)

    def spend(self, size_bytes: int) -> None:
        """So many have gone, at most what was available."""
        self._tokens -= size_bytes

    def wait_seconds(self) -> float:
        """How long to wait before asking again."""
        return max((1 - self._tokens) / self._rate, WAIT_SECONDS)


class Narrowest:
    """Two meters as one: what both let through. (A flow's own rate and its user's.)"""

    __slots__ = ("_first", "_lent", "_second")

    def __init__(self, first: Meter, second: Meter) -> None:
        self._first = first
        self._second = second
        self._lent = False

    def available(self, now: float) -> int:
        """See `Meter`."""
        first = self._first.available(now)
        if first <= 0:
            self._lent = False
            return 0
        second = self._second.available(now)
        self._lent = True
        return min(first, second)

    def spend(self, size_bytes: int) -> None:
        """See `Meter`."""
        self._first.spend(size_bytes)
        if self._lent:
            self._second.spend(size_bytes)

    def wait_seconds(self) -> float | None:
        """See `Meter`."""
        if not self._lent:
            return self._first.wait_seconds()
        return self._second.wait_seconds()
