"""The round-trip time of a path and when an answer is overdue. Sans-IO.

RFC 6298 as it stands, but for its lower bound of 1 s, which exists to spare TCP needless retransmissions, and for the
clock granularity, which is far below the lower bound here.
"""

from __future__ import annotations

from dataclasses import dataclass

ALPHA = 1 / 8
"""Weight of a new sample in the smoothed RTT (RFC 6298 section 2.3)."""
BETA = 1 / 4
"""Weight of a new sample in the RTT's variation (the same section)."""
VARIATIONS = 4
"""K of RFC 6298: how many variations above the smoothed RTT an answer is overdue."""


@dataclass(slots=True)
class RttEstimate:
    """Smoothed RTT and variation, in seconds; None before the first sample."""

    smoothed: float | None = None
    variation: float = 0.0

    def sample(self, rtt: float) -> None:
        """Take one measured round trip. The caller keeps ambiguous ones out (Karn, RFC 6298 section 3)."""
        if self.smoothed is None:
            self.smoothed, self.variation = rtt, rtt / 2
            return
        self.variation += BETA * (abs(self.smoothed - rtt) - self.variation)
        self.smoothed += ALPHA * (rtt - self.smoothed)

    def timeout(self, *, initial: float, least: float, most: float) -> float:
        """Seconds after which an answer is overdue: `initial` without a sample, else within [least, most]."""
        if self.smoothed is None:
            return initial
        return min(max(self.smoothed + VARIATIONS * self.variation, least), most)
