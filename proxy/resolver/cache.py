"""Answers that are remembered for their time. Sans-IO."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxy.resolver.answers import Answer, Status


class Cache:
    """At most `names` answers; for one more, the one that was not asked for the longest makes room.

    An answer is kept for its TTL, but not shorter than `ttl_least` nor longer than `ttl_most` (seconds; the latter
    wins). Also a "no" is (RFC 2308), and a partial answer for `ttl_least`: the rest may be there soon. A failure is
    not. `clock` gives monotonic seconds.
    """

    def __init__(self, names: int, ttl_least: float, ttl_most: float, clock: Callable[[], float]) -> None:
        self._names = names
        self._ttl_least = min(ttl_least, ttl_most)
        self._ttl_most = ttl_most
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> Answer | None:
        """The answer for `name`, unless its time is over."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        until, answer = kept
        if until <= self._clock():
            del self._kept[name]
            return None
        self._kept.move_to_end(name)
        return answer

    def put(self, name: str, answer: Answer) -> None:
        """Remember `answer`, if it is one to remember."""
        seconds = 0.0 if answer.partial else answer.ttl_seconds
        seconds = min(max(seconds, self._ttl_least), self._ttl_most)
        if answer.status is Status.FAILED or not seconds or not self._names:
            return
        self._kept[name] = (self._clock() + seconds, answer)
        self._kept.move_to_end(name)
        if len(self._kept) > self._names:
            self._kept.popitem(last=False)
