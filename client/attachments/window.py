"""How many pieces of an attachment may be under way, so that it takes what nobody else needs. Sans-IO.

As LEDBAT (RFC 6817): the window grows while the pieces' acks come hardly later than the earliest did, and shrinks when
they queue somewhere. Messages share the connection with the pieces and must not wait behind them for long; and a path
whose answers came ever later, as behind a queue of our own, would be taken for a throttled one.
"""

from __future__ import annotations

from dataclasses import dataclass

TARGET_SECONDS = 0.1
"""The queueing delay that is aimed at: RFC 6817 section 2.5 allows at most this."""
SLOW_START_SHARE = 0.75
"""Of the target: where doubling ends (RFC 9840, LEDBAT++, section 4.2)."""


@dataclass(slots=True)
class PieceWindow:
    """`most`: pieces, at least 1. It begins with one piece and doubles each round trip until the first delay."""

    most: int
    size: float = 1.0
    _base_seconds: float | None = None
    _slow_start: bool = True

    def fits(self, under_way: int) -> bool:
        """Whether another piece may go out beside so many."""
        return under_way < int(self.size)

    def acked(self, seconds: float) -> None:
        """The ack of a piece came `seconds` after it went out for the first and only time."""
        self._base_seconds = seconds if self._base_seconds is None else min(seconds, self._base_seconds)
        queueing = seconds - self._base_seconds
        if self._slow_start and queueing < SLOW_START_SHARE * TARGET_SECONDS:
            grown = self.size + 1
        else:
            # The factor is within -1 and 1: one round trip's acks change the window by one piece at most upwards, and
            # halve it at most downwards.
            grown = self.size + max(-0.5, (TARGET_SECONDS - queueing) / TARGET_SECONDS / self.size)
            self._slow_start = False
        self.size = min(max(grown, 1.0), float(self.most))

    def path_changed(self) -> None:
        """Another connection: nothing is known of it."""
        self.size, self._base_seconds, self._slow_start = 1.0, None, True
