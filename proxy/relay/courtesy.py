"""How much of the time bulk may take while others chat. Sans-IO.

A bulk flow takes all the time there is: its source has more by the time its sink has room. Whoever sends a small
message then waits for the turn under way, and where the CPUs are busy, for the scheduler, too: a process that sleeps
now and then is given a CPU as soon as it wants one, one that never does waits while others use up their time slices
(4 ms with HZ=250). So while small messages come through, bulk takes small turns with rests between them. What was
measured: docs/performance.md.
"""

from __future__ import annotations

CHAT_SECONDS = 0.1
"""For how long bulk holds back once a small message has come through."""
BULK_SECONDS, REST_SECONDS = 0.00005, 0.0002
"""Once it has had so much time, it rests for so long."""


class Courtesy:
    """When bulk may have its next turn. All times are monotonic seconds."""

    __slots__ = ("_rested", "_spent_seconds", "chatted", "chatter")

    def __init__(self) -> None:
        self.chatted = 0.0
        """When a small message last came through: set by whoever moves one."""
        self.chatter: object = None
        """Whose it was."""
        self._spent_seconds = 0.0  # on turns since the last rest
        self._rested = 0.0  # when the last rest is over

    def is_bulk(self, flow: object) -> None:
        """`flow` turns out to be bulk: what it said before, a request most likely, was no chat."""
        if self.chatter is flow:
            self.chatted = 0.0

    def asked(self, now: float) -> bool:
        """Whether bulk is to hold back."""
        return now - self.chatted < CHAT_SECONDS

    def rest_seconds(self, now: float) -> float:
        """How long until bulk may have its next turn."""
        return self._rested - now if now < self._rested and self.asked(now) else 0.0

    def took(self, began: float, ended: float) -> None:
        """Bulk had a turn."""
        self._spent_seconds += ended - began
        if self._spent_seconds >= BULK_SECONDS:
            self._spent_seconds, self._rested = 0.0, ended + REST_SECONDS
