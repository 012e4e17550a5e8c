"""Waiting for a condition: as long as it takes, no longer than allowed, and not from poll to poll only."""

from __future__ import annotations

import asyncio
import time

from lab import watch as module
from lab.watch import Watch

ACK = {"event": "message_acked", "id": 1, "route": "direct", "t": 1.0}


async def test_an_event_ends_the_wait_at_once() -> None:
    watch = Watch(frozenset())
    waiting = asyncio.create_task(watch.until(watch.healthy, 30.0), name="until")
    await asyncio.sleep(2 * module._POLL_SECONDS)
    assert not waiting.done()
    before = time.monotonic()
    watch.take(dict(ACK))
    assert await waiting
    assert time.monotonic() - before < 10.0, "the event wakes it, not the end of the time"


async def test_a_condition_of_time_alone_is_looked_at_without_events() -> None:
    watch = Watch(frozenset())
    due = time.monotonic() + 0.1
    assert await watch.until(lambda: time.monotonic() >= due, 30.0)


async def test_it_gives_up_when_the_time_is_over() -> None:
    watch = Watch(frozenset())
    before = time.monotonic()
    assert not await watch.until(watch.healthy, 0.2)
    assert time.monotonic() - before >= 0.2
