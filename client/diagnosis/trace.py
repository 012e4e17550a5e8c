"""One connection's life as a diagnosis sees it: the stages of its dial, what went out and came back. Sans-IO."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LATE_ROUND_TRIPS = 2.0
LATE_SECONDS = 0.15
"""An answer is late after so many of the route's least round trips and this: a segment lost once and sent again in time
is not; 20 ms of jitter each way and a delayed ack (RFC 9293: 40 ms on Linux) are allowed for."""
SPAN_SECONDS = 0.8
SPAN_ROUND_TRIPS = 4.0
"""A path is slow when answers were late for so long without one in time. A repaired loss does not look like that: the
answers that it held up come at once, the newest of them in time."""
CONDEMNED_SECONDS = 0.2
"""... or for this at least when the policy has found the path bad."""
SLOW_SHARE = 0.7
"""... and when less came back than this share of what could have been expected."""
PLAIN_BYTES_PER_SECOND = 64_000
"""What any path is expected to carry if it was asked to: throttles of the field are at 16 to 19 kB/s (Xue et al., IMC
2021), and a message queue behind a slower link of one's own looks the same."""


@dataclass(slots=True)
class Trace:
    """One connection. Times on the policy's clock, bytes of messages' bodies.

    `stage`, `stage_at`: where the dial is, since when; `passed`: the stages before. `failure`: how it ended by itself;
    None while it lives and when the policy gave it up. `progress_at`: the last answer or pong, at first the
    establishment. `transport_alive`: whether TCP's acknowledgements went on while answers were overdue; None: not
    known. `slow_seconds`: the longest span of late answers; `healthy_since`: since when answers have come in time.
    """

    number: int
    route: str
    dialed_at: float
    stage: str = "dial"
    stage_at: float = 0.0
    passed: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    established_at: float | None = None
    over_at: float | None = None
    failure: str | None = None
    progress_at: float = 0.0
    healthy_since: float | None = None
    answered: int = 0
    answered_bytes: int = 0
    ponged: int = 0
    slow_seconds: float = 0.0
    transport_alive: bool | None = None
    _sent_bytes: int = 0
    _first_sent_at: float | None = None
    _messages: dict[int, tuple[float, int]] = field(default_factory=dict)
    _pings: dict[int, float] = field(default_factory=dict)
    _late_since: float | None = None
    _late_bytes: int = 0

    # -- what happens

    def entered(self, stage: str, now: float) -> float | None:
        """The dial is in `stage` from now on; returns what the one before took, None before the first."""
        took = now - self.stage_at if self.stage != "dial" else None
        if took is not None:
            self.passed += (self.stage,)
        self.stage, self.stage_at = stage, now
        return took

    def established(self, now: float) -> None:
        """All stages are passed."""
        self.established_at = self.progress_at = self.healthy_since = now
        self.passed += (self.stage,)

    def sent(self, id_: int, size: int, now: float) -> None:
        """Message `id_` went out."""
        self._messages.setdefault(id_, (now, size))
        self._sent_bytes += size
        if self._first_sent_at is None:
            self._first_sent_at = now

    def pinged(self, number: int, now: float) -> None:
        """Ping `number` went out."""
        self._pings.setdefault(number, now)

    def answer(self, id_: int, now: float, *, base: float | None, best_rate: float) -> float | None:
        """Message `id_` was answered; returns its round trip, None if it is not known here.

        `base`: the route's least round trip; `best_rate`: the best that it carried, in bytes per second.
        """
        sent_at, size = self._messages.pop(id_, (None, 0))
        if sent_at is None:
            return None
        self.answered += 1
        self.answered_bytes += size
        self._progressed(now)
        late = base is not None and now - sent_at > LATE_ROUND_TRIPS * base + LATE_SECONDS
        if not late:
            self._late_since = None
            if self.healthy_since is None:
                self.healthy_since = now
        elif self._late_since is None:
            self._late_since, self._late_bytes, self.healthy_since = now, 0, None
        else:
            self._late_bytes += size
            self._measure(now, base or 0.0, best_rate)
        return now - sent_at

    def pong(self, number: int, now: float) -> float | None:
        """Ping `number` was answered; returns its round trip, None if it is not known here."""
        sent_at = self._pings.pop(number, None)
        if sent_at is None:
            return None
        self.ponged += 1
        self._progressed(now)
        if self.healthy_since is None and self._late_since is None:
            self.healthy_since = now
        return now - sent_at

    def over(self, now: float, failure: str | None = None) -> None:
        """It has ended by itself (`failure`), or the policy gave it up."""
        self.over_at, self.failure = now, failure

    def _progressed(self, now: float) -> None:
        self.progress_at = now
        self.transport_alive = None

    def condemned(self, *, base: float | None, best_rate: float) -> None:
        """The policy calls the path bad: a span of late answers need not be so long then, if it was more than a burst
        before a silence."""
        if self._late_bytes:
            self._measure(self.progress_at, base or 0.0, best_rate, least_seconds=CONDEMNED_SECONDS)

    def _measure(self, now: float, base: float, best_rate: float, *, least_seconds: float | None = None) -> None:
        """Whether the span of late answers makes the path a slow one."""
        if self._late_since is None or self._first_sent_at is None:
            return
        span = now - self._late_since
        offered = self._sent_bytes / max(now - self._first_sent_at, 1.0)
        expected = max(best_rate, min(offered, PLAIN_BYTES_PER_SECOND))
        least = max(SPAN_SECONDS, SPAN_ROUND_TRIPS * base) if least_seconds is None else least_seconds
        if span >= least and self._late_bytes < SLOW_SHARE * expected * span:
            self.slow_seconds = max(self.slow_seconds, span)

    # -- what it shows

    @property
    def dialing(self) -> bool:
        """Whether the dial goes on."""
        return self.established_at is None and self.over_at is None

    @property
    def given_up(self) -> bool:
        """Whether the policy has ended it, and not the path."""
        return self.over_at is not None and self.failure is None

    def pending_until(self, patience: float) -> float:
        """When the dial's stage has been pending for longer than `patience`."""
        return self.stage_at + patience

    def pending(self, patience: float, now: float) -> bool:
        """Whether the dial's stage took longer than `patience`, unfinished now or when the dial was given up."""
        end = now if self.over_at is None else self.over_at
        return self.established_at is None and self.failure is None and end >= self.pending_until(patience)

    @property
    def waiting_since(self) -> float | None:
        """Since when an established connection owes an answer and has given none at all; None: it owes none."""
        message, _ = next(iter(self._messages.values()), (math.inf, 0))
        oldest = min(message, next(iter(self._pings.values()), math.inf))
        return None if oldest == math.inf else max(oldest, self.progress_at)

    @property
    def well(self) -> bool:
        """Whether it ended, or lives, with nothing owed, nothing late and no failure."""
        return self.failure is None and self.healthy_since is not None and not self._messages

    def stalled(self, patience: float, now: float) -> bool:
        """Whether an established connection has been silent for longer than `patience`, now or when it ended."""
        since = self.waiting_since
        end = now if self.over_at is None else self.over_at
        return self.established_at is not None and since is not None and end >= since + patience
