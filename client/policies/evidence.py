"""What one connection has shown of itself: sent, answered, silent since when. Sans-IO.

The evidence is the data itself: every message and ping that goes out is to be answered by the origin. Silence counts
from the oldest unanswered copy or the last sign of life, whichever is later, as TCP restarts its timer with each
ACK of new data (RFC 6298 section 5.3).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from client.policies.rtt import RttEstimate


@dataclass(slots=True)
class Evidence:
    """Unanswered copies of one connection, its last sign of life, and the RTT estimate of its route."""

    rtt: RttEstimate
    heard_at: float
    _messages: dict[int, float] = field(default_factory=dict)  # id -> when sent, oldest first
    _pings: dict[int, float] = field(default_factory=dict)

    def sent(self, id_: int, now: float) -> None:
        """Message `id_` went out."""
        self._messages.setdefault(id_, now)

    def pinged(self, number: int, now: float) -> None:
        """Ping `number` went out."""
        self._pings[number] = now

    def answered(self, id_: int, now: float) -> None:
        """The origin answered message `id_`; an RTT sample, since every copy has a connection of its own."""
        self._sample(self._messages.pop(id_, None), now)

    def ponged(self, number: int, now: float) -> None:
        """The origin answered ping `number`."""
        self._sample(self._pings.pop(number, None), now)

    def heard(self, now: float) -> None:
        """A sign of life that answers nothing in particular."""
        self.heard_at = now

    @property
    def unanswered(self) -> int:
        """Copies and pings without an answer."""
        return len(self._messages) + len(self._pings)

    @property
    def silent_since(self) -> float | None:
        """Since when an answer is awaited without a sign of life; None when none is awaited."""
        if not self.unanswered:
            return None
        return max(next(self._sent_times()), self.heard_at)

    @property
    def second_sent_at(self) -> float | None:
        """When the second oldest unanswered copy or ping went out: one alone is no evidence."""
        return next(islice(self._sent_times(), 1, None), None)

    def _sent_times(self) -> Iterator[float]:
        return iter(heapq.merge(self._messages.values(), self._pings.values()))

    def _sample(self, sent_at: float | None, now: float) -> None:
        self.heard_at = now
        if sent_at is not None:
            self.rtt.sample(now - sent_at)
