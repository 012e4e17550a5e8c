"""The driver of the wheel, on a loop whose clock is real and whose ticks are short."""

from __future__ import annotations

import asyncio
from time import monotonic

from proxy.relay.deadlines import Deadlines
from proxy.relay.wheel import UNSET


class Item:
    def __init__(self) -> None:
        self.tick = UNSET
        self.expired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        self.expired.set_result(monotonic())


async def test_deadlines_come_once_and_not_early() -> None:
    deadlines: Deadlines[Item] = Deadlines(0.002, Item.expire)
    first, second, cleared = Item(), Item(), Item()
    began = monotonic()
    for item, seconds in ((second, 0.02), (first, 0.01), (cleared, 0.005)):
        deadlines.set(item, began + seconds)
    deadlines.clear(cleared)
    assert began + 0.01 <= await first.expired
    assert began + 0.02 <= await second.expired
    assert not cleared.expired.done()
    # The timer stopped with the last deadline, and starts again with the next one.
    again = Item()
    deadlines.set(again, monotonic())
    await again.expired
    deadlines.set(cleared, monotonic() + 3600)
    deadlines.close()
