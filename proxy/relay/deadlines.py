"""The timer wheel, driven by the loop: one timer for all deadlines of a kind, running only while there are any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from proxy.relay.wheel import Timed, Wheel

T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """Calls `expired(item)` once the deadline of `item` has come, up to two ticks late. To be made in the loop."""

    def __init__(self, tick_seconds: float, expired: Callable[[T], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wheel: Wheel[T] = Wheel(tick_seconds)
        self._expired = expired
        self._timer: asyncio.TimerHandle | None = None
        self.clear = self._wheel.clear

    def set(self, item: T, due: float) -> None:
        """Let `item` expire at `due` (monotonic seconds); replaces the deadline it had."""
        self._wheel.set(item, due)
        if self._timer is None:
            self._timer = self._loop.call_later(self._wheel.tick_seconds, self._tick)

    def close(self) -> None:
        """Stop the timer: nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        for item in self._wheel.expire(monotonic()):
            self._expired(item)
        if self._wheel and self._timer is None:
            self._timer = self._loop.call_later(self._wheel.tick_seconds, self._tick)
