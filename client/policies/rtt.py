"""The round-trip time of a path: smoothed, its variation, and its floor. Sans-IO.

The smoothed estimate is that of RFC 6298. It follows a path that gets slower, so that a throttled path would never look
overdue against it: what bounds patience is the floor, the least round trip of the last minute (as BBR's min_rtt).
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
"""As many smoothed RTTs as the probe timeout of TCP's tail loss probe (RFC 8985 section 7.2): a segment that is lost
once is sent again after a round trip, and the answer takes another."""
FLOOR_SECONDS = 30.0
"""The floor is the least sample of this span and the one before it."""


@dataclass(slots=True)
class RttEstimate:
    """Smoothed RTT, variation and floor, in seconds; None before the first sample."""

    smoothed: float | None = None
    variation: float = 0.0
    floor: float | None = None
    _recent: float | None = None
    _span_began: float = 0.0

    def sample(self, rtt: float, now: float) -> None:
        """Take one measured round trip. The caller keeps ambiguous ones out (Karn, RFC 6298 section 3)."""
        if now - self._span_began >= FLOOR_SECONDS:
            self.floor, self._recent, self._span_began = self._recent, None, now
        self._recent = rtt if self._recent is None else min(rtt, self._recent)
        self.floor = self._recent if self.floor is None else min(self.floor, self._recent)
        if self.smoothed is None:
            self.smoothed, self.variation = rtt, rtt / 2
            return
        self.variation += BETA * (abs(self.smoothed - rtt) - self.variation)
        self.smoothed += ALPHA * (rtt - self.smoothed)

    def remember(self, rtt: float) -> None:
        """Begin with what was measured in an earlier life, or by the dial; samples replace it soon."""
        if self.smoothed is None:
            self.smoothed, self.variation = rtt, rtt / 2

    @property
    def least(self) -> float:
        """The floor; before the first sample what the estimate began with, or 0."""
        return (self.floor if self.floor is not None else self.smoothed) or 0.0

    def timeout(self, *, initial: float, least: float, most: float) -> float:
        """Seconds after which an answer is overdue: `initial` without a sample, else within [least, most]."""
        if self.smoothed is None:
            return initial
        return min(max(ROUND_TRIPS * self.smoothed + VARIATIONS * self.variation, least), most)

    def patience(self, *, floors: float, margin: float, initial: float) -> float:
        """The longest that an answer may take: so many floors and a margin, however slow the path has become."""
        return initial if self.floor is None else floors * self.floor + margin
