"""The round-trip time of a path and when an answer is overdue. Sans-IO.

The estimate is that of RFC 6298. "Overdue" allows for two round trips instead of one, since what is watched here runs
over TCP: a segment lost once is sent again after a round trip, and the answer takes another.
"""

from __future__ import annotations

from dataclasses import dataclass

ALPHA = 1 / 8
"""Weight of a new sample in the smoothed RTT (RFC 6298 section 2.3)."""
BETA = 1 / 4
"""Weight of a new sample in the RTT's variation (the same section)."""
VARIATIONS = 4
"""K of RFC 6298: how many variations above the round trips an answer is overdue."""
ROUND_TRIPS = 2
"""As many smoothed RTTs as the probe timeout of TCP's tail loss probe (RFC 8985 section 7.2)."""


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
        return min(max(ROUND_TRIPS * self.smoothed + VARIATIONS * self.variation, least), most)
