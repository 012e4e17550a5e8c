"""Whose turn it is: a queue that is fair among places. Sans-IO.

Places take turns, and of each one job at a time is under way: whoever queues a thousand waits a thousand times as long,
and nobody else waits for more than what is under way.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Jobs by place, at most `each` waiting per place and `most` in all."""

    __slots__ = ("_each", "_most", "_ready", "_underway", "_waiting", "_waiting_number")

    def __init__(self, *, each: int, most: int) -> None:
        self._each = each
        self._most = most
        self._waiting: dict[str, deque[T]] = {}
        self._waiting_number = 0
        self._ready: deque[str] = deque()  # places that wait and have nothing under way, the next first
        self._underway: set[str] = set()

    def __len__(self) -> int:
        return self._waiting_number

    def add(self, place: str, job: T) -> bool:
        """Queue `job`; False where there is no room for it."""
        jobs = self._waiting.get(place)
        if self._waiting_number >= self._most or (jobs is not None and len(jobs) >= self._each):
            return False
        if jobs is None:
            jobs = self._waiting[place] = deque()
            if place not in self._underway:
                self._ready.append(place)
        jobs.append(job)
        self._waiting_number += 1
        return True

    def next(self) -> T | None:
        """The job whose turn it is, under way from now on; None: there is none."""
        if not self._ready:
            return None
        place = self._ready.popleft()
        jobs = self._waiting[place]
        job = jobs.popleft()
        self._waiting_number -= 1
        if not jobs:
            del self._waiting[place]
        self._underway.add(place)
        return job

    def finished(self, place: str) -> None:
        """The job of `place` that was under way is done."""
        self._underway.remove(place)
        if place in self._waiting:
            self._ready.append(place)

    def clear(self) -> list[T]:
        """Take out all that waits."""
        waiting = [job for jobs in self._waiting.values() for job in jobs]
        self._waiting.clear()
        self._ready.clear()
        self._waiting_number = 0
        return waiting
