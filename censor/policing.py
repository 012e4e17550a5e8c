"""Sans-IO: a token bucket (RFC 2697's committed rate and burst): packets that find no tokens do not conform."""

from __future__ import annotations


class TokenBucket:
    """Full at first. Bytes and seconds."""

    __slots__ = ("_burst", "_rate", "_t", "_tokens")

    def __init__(self, rate_bytes_per_second: float, burst_bytes: float, t: float) -> None:
        self._rate = rate_bytes_per_second
        self._burst = burst_bytes
        self._tokens = burst_bytes
        self._t = t

    def conforms(self, size_bytes: int, t: float) -> bool:
        """Whether a packet of that size passes at `t`; it takes its tokens with it if so."""
        self._tokens = min(self._burst, self._tokens + max(0.0, t - self._t) * self._rate)
        self._t = max(self._t, t)
        if size_bytes > self._tokens:
            return False
        self._tokens -= size_bytes
        return True
