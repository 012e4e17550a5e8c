"""One connection of the sender, from its dial to its end: a task that dials, then reads, and a writer beside it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from client.lanes import Due
from client.messages import Record
from client.routes import Attempt, DialError, Route
from client.routes.connection import Connection


class Owner(Protocol):
    """What a line tells, and whom it asks what goes out by it; `now` is on the monotonic clock, in seconds."""

    def entered(self, line: Line, stage: str) -> None:
        """The dial has come to this stage."""

    def not_dialed(self, line: Line, error: DialError) -> None:
        """The dial has failed; nothing more comes of the line."""

    def dialed(self, line: Line, connection: Connection, seconds: float, now: float) -> None:
        """The connection stands, after so many seconds."""

    def received(self, line: Line, record: Record) -> None:
        """A record has come in."""

    def ended(self, line: Line, failure: str) -> None:
        """The connection has ended, in OONI's words `failure`; nothing more comes of the line."""

    def next(self, line: Line, now: float) -> tuple[Due | None, bool]:
        """What goes out by this line now, and whether it is a copy that the policy wants here; None: nothing."""

    def sent(self, line: Line, due: Due, *, copy: bool, now: float) -> None:
        """It is on its way; `now`: when it was taken."""


class Line:
    """A connection, or what is to be one. `copies`: ids of messages that the policy wants by it, too; `greeted`: it has
    said hello. Whoever gives it something to do sets `wake`."""

    def __init__(self, number: int, route: str, owner: Owner) -> None:
        self.number = number
        self.route = route
        self.attempt = Attempt()
        self.copies: deque[int] = deque()
        self.greeted = False
        self.wake = asyncio.Event()
        self.connection: Connection | None = None
        self._owner = owner
        self._control: deque[Record] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def name(self) -> str:
        """For tasks."""
        return f"{self.route} #{self.number}"

    def start(self, route: Route, group: asyncio.TaskGroup) -> None:
        """Dial."""
        self._task = group.create_task(self._run(route), name=self.name)

    def say(self, record: Record) -> None:
        """Send this before any message."""
        self._control.append(record)
        self.wake.set()

    def close(self) -> None:
        """End it when what was to be said is said."""
        self._closing = True
        self.wake.set()

    def abort(self) -> None:
        """End it now."""
        if self.connection is not None:
            self.connection.abort()
        assert self._task is not None
        self._task.cancel()

    async def _run(self, route: Route) -> None:
        began = time.monotonic()
        self.attempt.entered = lambda stage: self._owner.entered(self, stage)
        try:
            connection = await route.dial(self.attempt)
        except DialError as error:
            self._owner.not_dialed(self, error)
            return
        self.connection = connection
        now = time.monotonic()
        self._owner.dialed(self, connection, now - began, now)
        try:
            await self._converse(connection)
        finally:
            await connection.close()

    async def _converse(self, connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(connection), name=f"{self.name} writer")
            while (record := await connection.receive()) is not None:
                self._owner.received(self, record)
            self._owner.ended(self, connection.failure)
            if not self._closing:
                writer.cancel()

    async def _write(self, connection: Connection) -> None:
        try:
            while not self._closing or self._control:
                await self.wake.wait()
                self.wake.clear()
                await self._write_ready(connection)
            await connection.close()
        except ConnectionError:
            pass  # The reader learns how it ended.

    async def _write_ready(self, connection: Connection) -> None:
        while True:
            if self._control:
                await connection.send(self._control.popleft())
                continue
            now = time.monotonic()
            due, copy = self._owner.next(self, now)
            if due is None:
                return
            await connection.send(due.message)
            self._owner.sent(self, due, copy=copy, now=now)
