"""A timer wheel: many deadlines that are hardly ever met, each set and cleared in constant time. Sans-IO.

Deadlines are rounded up to the next tick. An item is in one wheel at most and has an attribute `tick`, which belongs to
the wheel: no table is needed to find it again, and an item that is cleared is not referred to any more.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

UNSET = -1
"""The `tick` of an item without a deadline."""


class Timed(Protocol):
    """What can have a deadline."""

    tick: int


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """The deadlines of hashable items, in seconds of a clock that the caller reads."""

    __slots__ = ("_buckets", "tick_seconds")

    def __init__(self, tick_seconds: float) -> None:
        self.tick_seconds = tick_seconds
        self._buckets: dict[int, dict[T, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def set(self, item: T, due: float) -> None:
        """Let `item` expire at `due`, or up to a tick later; replaces the deadline it had."""
        tick = int(due / self.tick_seconds) + 1
        if item.tick != UNSET:
            if item.tick == tick:
                return
            self.clear(item)
        item.tick = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
        bucket[item] = None

    def clear(self, item: T) -> None:
        """Forget the deadline of `item`, if it has one."""
        if item.tick == UNSET:
            return
        bucket = self._buckets[item.tick]
        del bucket[item]
        if not bucket:
            del self._buckets[item.tick]
        item.tick = UNSET

    def expire(self, now: float) -> list[T]:
        """The items whose deadline has come, in the order of their ticks; they have none any more."""
        reached = int(now / self.tick_seconds)
        expired: list[T] = []
        for tick in sorted(tick for tick in self._buckets if tick <= reached):
            expired += self._buckets.pop(tick)
        for item in expired:
            item.tick = UNSET
        return expired
