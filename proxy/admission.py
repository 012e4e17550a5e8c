"""Which handshakes are open, and which one makes room where there are too many. Sans-IO.

That is the oldest of the source that has the most: whoever floods drops himself, and somebody else's client, slow as
its link may be, is not the one that goes. What counts as a source: see `proxy.backoff`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from proxy.backoff import place_of

T = TypeVar("T", bound=Hashable)


class OpenHandshakes(Generic[T]):
    """Those that wait for what their client wants, by the source that each came from."""

    __slots__ = ("_at", "_places")

    def __init__(self) -> None:
        self._at: dict[T, str] = {}
        self._places: dict[str, dict[T, None]] = {}  # the oldest of each first

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._at))

    def add(self, one: T, source: str) -> None:
        """`one` is open, and came from the address `source`."""
        place = self._at[one] = place_of(source)
        self._places.setdefault(place, {})[one] = None

    def discard(self, one: T) -> None:
        """`one` is open no more, if it was."""
        place = self._at.pop(one, None)
        if place is None:
            return
        there = self._places[place]
        del there[one]
        if not there:
            del self._places[place]

    def first_to_go(self) -> T:
        """The oldest of the source with the most; of several such sources, of the one that has been there the longest.
        There has to be one."""
        most: dict[T, None] = max(self._places.values(), key=len)
        return next(iter(most))
