"""One connection's life without a network: what it tells its owner, and in which order records go out."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import pytest

from client.lanes import Due
from client.line import Line
from client.messages import Hello, Message, Ping, Pong, Record
from client.routes import Attempt, DialError, Route
from client.routes.connection import Connection


def due(number: int) -> Due:
    return Due(number, 1, Message("alice", "bob", 1, number, 1, 0.0, b"hello"))


@dataclass
class FakeConnection:
    """`incoming`: what it receives, None its end; `broken`: it sends no more."""

    incoming: asyncio.Queue[Record | None] = field(default_factory=asyncio.Queue)
    sent: list[Record] = field(default_factory=list)
    broken: bool = False
    closed: bool = False
    aborted: bool = False
    failure: str = "eof_error"
    wrote: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, record: Record) -> None:
        if self.broken:
            raise ConnectionResetError
        self.sent.append(record)
        self.wrote.set()

    async def receive(self) -> Record | None:
        return await self.incoming.get()

    def abort(self) -> None:
        self.aborted = True

    async def close(self) -> None:
        self.closed = True
        self.incoming.put_nowait(None)


@dataclass
class FakeRoute:
    """Dials to `connection`, or fails; waits for `gate` where there is one."""

    connection: FakeConnection = field(default_factory=FakeConnection)
    failure: DialError | None = None
    gate: asyncio.Event | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def dial(self, attempt: Attempt) -> Connection:
        self.began.set()
        attempt.entered("tcp")
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return cast(Connection, self.connection)


@dataclass
class FakeOwner:
    """`ready`: what goes out by the line, copies as True."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    ready: deque[tuple[Due, bool]] = field(default_factory=deque)

    def entered(self, line: Line, stage: str) -> None:
        self.told.append(("entered", stage))

    def not_dialed(self, line: Line, error: DialError) -> None:
        self.told.append(("not dialed", error.stage, error.failure))

    def dialed(self, line: Line, connection: Connection, seconds: float, now: float) -> None:
        assert line.connection is connection
        assert seconds >= 0
        self.told.append(("dialed",))

    def received(self, line: Line, record: Record) -> None:
        self.told.append(("received", record))

    def ended(self, line: Line, failure: str) -> None:
        self.told.append(("ended", failure))

    def next(self, line: Line, now: float) -> tuple[Due | None, bool]:
        return self.ready.popleft() if self.ready else (None, False)

    def sent(self, line: Line, due: Due, *, copy: bool, now: float) -> None:
        self.told.append(("sent", due.number, copy))


@pytest.fixture
def owner() -> FakeOwner:
    return FakeOwner()


@pytest.fixture
def line(owner: FakeOwner) -> Line:
    return Line(7, "proxy1", owner)


def start(line: Line, route: FakeRoute, group: asyncio.TaskGroup) -> None:
    line.start(cast(Route, route), group)


async def test_a_dial_that_fails_is_all_that_comes_of_it(line: Line, owner: FakeOwner) -> None:
    async with asyncio.TaskGroup() as group:
        start(line, FakeRoute(failure=DialError("tcp", "connection_refused")), group)
    assert owner.told == [("entered", "tcp"), ("not dialed", "tcp", "connection_refused")]


async def test_from_its_dial_to_its_end(line: Line, owner: FakeOwner) -> None:
    route = FakeRoute()
    for record in (Pong(1), None):
        route.connection.incoming.put_nowait(record)
    async with asyncio.TaskGroup() as group:
        start(line, route, group)
    assert owner.told == [("entered", "tcp"), ("dialed",), ("received", Pong(1)), ("ended", "eof_error")]
    assert route.connection.closed


async def test_what_is_to_be_said_goes_before_any_message(line: Line, owner: FakeOwner) -> None:
    route = FakeRoute()
    owner.ready += [(due(1), False), (due(2), True)]
    line.say(Hello("alice"))
    line.say(Ping(3))
    async with asyncio.TaskGroup() as group:
        start(line, route, group)
        while len(route.connection.sent) < 4:
            route.connection.wrote.clear()
            await route.connection.wrote.wait()
        route.connection.incoming.put_nowait(None)
    assert route.connection.sent == [Hello("alice"), Ping(3), due(1).message, due(2).message]
    assert [told for told in owner.told if told[0] == "sent"] == [("sent", 1, False), ("sent", 2, True)]


async def test_a_line_that_is_closed_says_what_it_has_to_say_first(line: Line, owner: FakeOwner) -> None:
    route = FakeRoute()
    line.say(Pong(1))
    line.close()
    async with asyncio.TaskGroup() as group:
        start(line, route, group)
    assert route.connection.sent == [Pong(1)]
    assert route.connection.closed


async def test_a_writer_that_finds_the_connection_broken_leaves_its_end_to_the_reader(
    line: Line, owner: FakeOwner
) -> None:
    route = FakeRoute(FakeConnection(broken=True, failure="connection_reset"))
    line.say(Ping(1))
    async with asyncio.TaskGroup() as group:
        start(line, route, group)
        route.connection.incoming.put_nowait(None)
    assert owner.told[-1] == ("ended", "connection_reset")


@pytest.mark.parametrize("stands", [False, True], ids=["in its dial", "standing"])
async def test_a_line_that_is_aborted_tells_nothing_more(line: Line, owner: FakeOwner, stands: bool) -> None:
    route = FakeRoute(gate=None if stands else asyncio.Event())
    line.say(Ping(1))
    async with asyncio.TaskGroup() as group:
        start(line, route, group)
        await (route.connection.wrote if stands else route.began).wait()
        before = list(owner.told)
        line.abort()
    assert owner.told == before
    assert route.connection.aborted == route.connection.closed == stands
