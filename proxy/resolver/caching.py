"""A resolver that remembers, and asks once for all who want the same name at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.resolver.answers import Answer, Status
from proxy.resolver.cache import Cache
from proxy.resolver.lookup import SocketAddress, Source, resolve_by


@dataclass(slots=True)
class _Flight:
    """A look-up under way, and for how many."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class CachingResolver:
    """`Resolver` on top of `inner`; `names`, `ttl_least`, `ttl_most` and `clock` are those of `Cache`.

    Who no longer waits for a look-up leaves it to the others; with the last one it is given up, so that no look-up
    outlives its clients. The tasks are this object's own: `close` ends them, and who waits is told EAI_AGAIN.
    """

    def __init__(
        self, inner: Source, names: int, ttl_least: float, ttl_most: float, clock: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._cache = Cache(names, ttl_least, ttl_most, clock)
        self._flights: dict[str, _Flight] = {}

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """See `Resolver`."""
        return await resolve_by(self._look_up, host, port)

    def close(self) -> None:
        """See `Resolver`."""
        for flight in self._flights.values():
            flight.task.cancel()
        self._inner.close()

    async def _look_up(self, name: str) -> Answer:
        answer = self._cache.get(name)
        if answer is not None:
            return answer
        flight = self._flights.get(name)
        if flight is None:
            task = asyncio.get_running_loop().create_task(self._inner.look_up(name), name=f"look-up of {name}")
            flight = self._flights[name] = _Flight(task)
            task.add_done_callback(lambda task: self._landed(name, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            # Ours, or that of the look-up: who waits while the resolver is closed has not been cancelled.
            waiter = asyncio.current_task()
            if not flight.task.cancelled() or waiter is None or waiter.cancelling():
                raise
            return Answer(Status.FAILED, error="the resolver was closed")
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._flights.pop(name)  # whoever comes now shall not join what is being cancelled
                flight.task.cancel()

    def _landed(self, name: str, task: asyncio.Task[Answer]) -> None:
        flight = self._flights.get(name)
        if flight is not None and flight.task is task:
            del self._flights[name]
        if not task.cancelled() and task.exception() is None:
            self._cache.put(name, task.result())
