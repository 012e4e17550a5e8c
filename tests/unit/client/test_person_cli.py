from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from client.messenger import Missing
from client.person_cli import PATIENCE_SECONDS, _made_up, _send


class Unanswered:
    """A sender of which nothing is acknowledged before `answer_seconds` of waiting; it does not really wait."""

    def __init__(self, answer_seconds: float) -> None:
        self.unacknowledged = 0
        self.unsent_attachments = 0
        self._left_seconds = answer_seconds
        self.waits: list[float] = []

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def room(self) -> None:
        return None

    def submit(self, body: bytes) -> int:
        self.unacknowledged += 1
        return self.unacknowledged

    async def drain(self, timeout: float) -> bool:
        self.waits.append(timeout)
        self._left_seconds -= timeout
        if self._left_seconds > 0:
            return False
        self.unacknowledged = 0
        return True


@pytest.mark.parametrize(
    ("answer_seconds", "timeout", "told", "missing"),
    [
        (1.0, 30.0, [], 0),
        (20.0, 30.0, [25.0], 0),
        (60.0, 30.0, [25.0], 1),
        (60.0, 2.0, [], 1),
    ],
    ids=["answered at once", "answered late", "not answered", "no time to tell"],
)
async def test_a_sender_that_waits_for_long_says_so_once(
    answer_seconds: float, timeout: float, told: list[float], missing: int
) -> None:
    sender = Unanswered(answer_seconds)
    waited: list[float] = []
    assert await _send(cast(Any, sender), (), _made_up(1, 0.0), timeout, waited.append) == Missing(missing, 0)
    assert waited == told
    assert sum(sender.waits) == (PATIENCE_SECONDS if answer_seconds < PATIENCE_SECONDS else timeout)
