"""Hedging: what the carrier has not answered in time goes out by the spare, too, before anybody is judged. Sans-IO.

A doubt begins when the oldest unanswered message of the carrier is older than the hedge delay, and ends when nothing is
any more, or with a verdict. In it each message that is overdue is copied once; as soon as the spare has answered a copy
before the carrier did (the hedge has won), every new message is copied at once. So recovery takes a hedge delay and
one round trip of the spare, and the verdict can take its time: a segment lost three times in a row by a healthy path is
no reason to leave it. A path that trickles (throttled) is in doubt as long as it is behind.

Hedges that lose (the carrier answers first) make the next ones later: on a path that is merely slow, or whose
bottleneck both paths share, they would only add load.
"""

from __future__ import annotations

from dataclasses import dataclass

LOSSES_MOST = 3
"""The hedge delay is doubled at most so often."""
SLOWER_SECONDS = 5.0
"""A doubt that lasts for so long without a verdict is about a path that became slower: its round trips count again."""
FORGIVE_SECONDS = 10.0
"""After so long without a hedge one loss is forgotten."""


@dataclass(slots=True)
class Doubt:
    """One doubt about one carrier. `copies`: messages that went by a spare, too; `wins`: those that the spare answered
    while the carrier had not."""

    began_at: float
    copies: int = 0
    wins: int = 0


@dataclass(slots=True)
class HedgeRecord:
    """How hedges on one route fared lately."""

    losses: int = 0
    _last_at: float = 0.0

    def factor(self, now: float) -> int:
        """What to multiply the hedge delay by."""
        forgiven = int((now - self._last_at) / FORGIVE_SECONDS)
        return 1 << max(0, self.losses - forgiven)

    def ended(self, doubt: Doubt, now: float) -> None:
        """The carrier has caught up: the hedge was of use if it won."""
        if not doubt.copies:
            return
        forgiven = int((now - self._last_at) / FORGIVE_SECONDS)
        self.losses = 0 if doubt.wins else min(max(0, self.losses - forgiven) + 1, LOSSES_MOST)
        self._last_at = now
