"""Happy Eyeballs (RFC 8305): in which order the addresses of a name are tried, and when. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ATTEMPT_DELAY_SECONDS = 0.25
"""How long an attempt is alone before the next one joins it (Connection Attempt Delay, section 5)."""

Family = TypeVar("Family")
Address = TypeVar("Address")


def interleave(addresses: Sequence[tuple[Family, Address]]) -> list[tuple[Family, Address]]:
    """`addresses` with their families in turn, beginning with the first one's; within a family in the given order
    (section 4, with a First Address Family Count of 1)."""
    families: dict[Family, list[tuple[Family, Address]]] = {}
    for one in addresses:
        families.setdefault(one[0], []).append(one)
    queues = list(families.values())
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


class Schedule:
    """When to begin which of `attempts` attempts. Times are monotonic seconds.

    The first one is due at once, each further one ATTEMPT_DELAY_SECONDS after the last, or as soon as one has failed.
    """

    __slots__ = ("_attempts", "_begun", "_due")

    def __init__(self, attempts: int, now: float) -> None:
        self._attempts = attempts
        self._begun = 0
        self._due = now

    @property
    def due(self) -> float | None:
        """When the next attempt is to begin; None: all have begun."""
        return self._due if self._begun < self._attempts else None

    def begin(self, now: float) -> int:
        """The number of the attempt that begins now, from 0."""
        self._begun += 1
        self._due = now + ATTEMPT_DELAY_SECONDS
        return self._begun - 1

    def failed(self, now: float) -> None:
        """One of the attempts is over: the next one need not wait."""
        self._due = now
