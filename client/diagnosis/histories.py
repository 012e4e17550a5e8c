"""What is known of one route: its round-trip time, the addresses that were right, its traces since the first symptom.

Sans-IO. An episode begins with a symptom and ends when a connection has carried well for a while; what happened before
it says nothing about a block, but for one figure: how fast the path was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from client.diagnosis.trace import Trace
from client.policies import RouteFacts

HEALED_SECONDS = 5.0
"""A route is well again when a connection has carried in time for so long: longer than a probe takes."""
CARRIED_BYTES = 24_000
"""... or two in a row, one after the other, carried so much each and were closed: more than the 15 to 20 KB after which
connections freeze in Russia since 2025 (net4people/bbs #490)."""
PATIENCE_SECONDS = 0.3
PATIENCE_ROUND_TRIPS = 3.0
"""How long a stage or an answer may take where something is known to be wrong: three round trips and Linux's least
retransmission timeout, 0.2 s, with half of it for a busy machine."""
FIRST_LOSS_SECONDS = 1.0
"""... and so much more where nothing is: a lost SYN is sent again after 1 s (RFC 6298 section 2.1), a segment lost
three times in a row is through by then."""
DNS_SECONDS = 2.3
"""A look-up may take so long: a lost query is sent again after 2 s (`ResolverSettings.try_seconds`)."""
UNKNOWN_ROUND_TRIP_SECONDS = 0.2
TRACES = 12
"""So many connections of an episode are remembered."""
RATE_SECONDS = 1.0
"""The best rate of a route is measured over spans of at least this."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is wrong with a route; `kind`: of `client.diagnosis.KINDS`, `confidence` in 0 to 1; `evidence`: the nature
    of what showed it, "" where that has not been said. Two that differ in that alone are the same opinion."""

    kind: str
    confidence: float
    evidence: str = field(default="", compare=False)


@dataclass(slots=True)
class History:
    """One route. `base`: its least round trip, `hop`: that of its first hop's TCP handshake, in seconds; `good`: the
    addresses by which the origin was reached, of those that a resolver gave; `reached`: whether it ever was; `since`:
    the first symptom; `alive_since`: when another route first led to the origin after that; `opinion`: the last one
    told, None: never any, or it was withdrawn.
    """

    facts: RouteFacts
    base: float | None = None
    hop: float | None = None
    best_rate: float = 0.0
    good: set[str] = field(default_factory=set)
    reached: bool = False
    since: float | None = None
    alive_since: float | None = None
    reason: str = ""
    traces: deque[Trace] = field(default_factory=lambda: deque(maxlen=TRACES))
    opinion: Opinion | None = None
    _rate_since: float = 0.0
    _rate_bytes: int = 0

    def symptom(self, reason: str, now: float) -> None:
        """Something is wrong: `reason` as of PathBad, or "dial_slow", which anything else replaces."""
        if self.since is None:
            self.since, self.reason = now, reason
        elif self.reason == "dial_slow":
            self.reason = reason

    def concern(self, trace: Trace) -> None:
        """The trace belongs to the episode."""
        if all(known is not trace for known in self.traces):
            self.traces.append(trace)

    def measured(self, round_trip: float, size: int, now: float) -> None:
        """An answer of `size` bytes took this long."""
        self.base = round_trip if self.base is None else min(self.base, round_trip)
        self._rate_bytes += size
        span = now - self._rate_since
        if span >= RATE_SECONDS:
            # A span that began long ago was idle in part, and shows less than the path carries: no harm.
            self.best_rate = max(self.best_rate, self._rate_bytes / span)
            self._rate_since, self._rate_bytes = now, 0

    def stage_took(self, stage: str, seconds: float) -> None:
        """A dial passed `stage`; a TCP handshake is a round trip: the direct path's, or that to the proxy."""
        if stage != "tcp":
            return
        self.hop = seconds if self.hop is None else min(self.hop, seconds)
        if not self.facts.proxied:
            self.base = seconds if self.base is None else min(self.base, seconds)

    def healed(self, now: float, *, by_data: bool) -> bool:
        """Whether a living connection has answered in time for long enough since the last trouble (`by_data`: messages,
        and not pings alone), or the last two that ended have carried enough."""
        ended = [trace for trace in self.traces if trace.over_at is not None][-2:]
        if len(ended) == 2 and all(trace.well and trace.answered_bytes >= CARRIED_BYTES for trace in ended):
            return min(trace.dialed_at for trace in ended) >= (self.since or 0.0)
        return any(
            trace.healthy_since is not None
            and trace.over_at is None
            and (trace.answered > 0 or not by_data)
            and min(trace.progress_at, now) - max(trace.healthy_since, self.since or 0.0) >= HEALED_SECONDS
            for trace in self.traces
        )

    def forget(self) -> None:
        """The episode is over, or its network is another one."""
        self.since, self.alive_since, self.reason, self.opinion = None, None, "", None
        self.traces.clear()

    @property
    def certain(self) -> bool:
        """Whether more than one slow dial, which may be an accident, speaks for something being wrong."""
        return self.since is not None and self.reason != "dial_slow"


def patience(stage: str, round_trip: float, *, certain: bool) -> float:
    """Seconds that a stage of a dial, or an answer (stage ""), may take before its delay says something.

    `certain`: something is known to be wrong already.
    """
    if stage == "dns":
        return DNS_SECONDS
    return (0.0 if certain else FIRST_LOSS_SECONDS) + PATIENCE_SECONDS + PATIENCE_ROUND_TRIPS * round_trip
