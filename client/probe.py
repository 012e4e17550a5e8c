"""Trying every route once: a dial and a ping each, some at a time, watched by the diagnosis. Nothing is said to anybody
but the origin, which needs to know no more than the upgrade and the ping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from client.diagnosis.engine import Diagnosis
from client.messages import Ping, Pong
from client.policies import Close, Dial, DialFailed, Ended, Established, Observation, Ponged, StageReached
from client.policies import Ping as PingCommand
from client.route_table import RouteTable
from client.routes import Attempt, DialError
from client.routes.connection import Connection
from client.verdicts import PING, RouteVerdict


async def probe_routes(
    routes: RouteTable,
    *,
    at_once: int,
    ping_seconds: float,
    done: Callable[[RouteVerdict], None] = lambda verdict: None,
) -> list[RouteVerdict]:
    """A verdict on each route, in the order of preference; `done` gets each as it is found, without a diagnosis: that
    takes what all of them show. At most `at_once` are under way; a ping may take `ping_seconds`."""
    probe = _Probe(routes, asyncio.Semaphore(at_once), ping_seconds)

    async def one(number: int, name: str) -> RouteVerdict:
        verdict = await probe.route(number, name)
        done(verdict)
        return verdict

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(number, facts.name), name=f"probe {facts.name}")
            for number, facts in enumerate(routes.facts, 1)
        ]
    probe.conclude()
    return [probe.diagnosed(task.result()) for task in tasks]


class _Probe:
    def __init__(self, routes: RouteTable, slots: asyncio.Semaphore, ping_seconds: float) -> None:
        self._routes = routes
        self._slots = slots
        self._ping_seconds = ping_seconds
        self._diagnosis = Diagnosis(routes.facts)
        self._began = time.monotonic()

    async def route(self, number: int, name: str) -> RouteVerdict:
        """One dial and ping; `number` is the connection's."""
        async with self._slots:
            attempt = Attempt()
            attempt.entered = lambda stage: self._entered(number, stage, attempt)
            began = time.monotonic()
            self._diagnosis.ordered(Dial(number, name), began)
            try:
                connection = await self._routes[name].dial(attempt)
            except DialError as error:
                self._observe(DialFailed(number, error.stage, error.failure))
                detail = str(error).partition(": ")[2]
                return RouteVerdict(name, attempt.stages, error.failure, detail)
            self._observe(Established(number, time.monotonic() - began))
            try:
                began = time.monotonic()
                failure = await self._ping(connection, number)
                return RouteVerdict(name, attempt.stages | {PING: time.monotonic() - began}, failure)
            finally:
                await connection.close()

    async def _ping(self, connection: Connection, number: int) -> str | None:
        """How it failed, in OONI's words; None: the origin answered."""
        self._diagnosis.ordered(PingCommand(number, number), time.monotonic())
        try:
            async with asyncio.timeout(self._ping_seconds):
                await connection.send(Ping(number))
                while (record := await connection.receive()) is not None:
                    if record == Pong(number):
                        self._observe(Ponged(number, number))
                        self._diagnosis.ordered(Close(number), time.monotonic())
                        return None
            failure = connection.failure
        except TimeoutError:
            failure = "generic_timeout_error"
        except ConnectionError:
            failure = connection.failure
        self._observe(Ended(number, failure))
        return failure

    def conclude(self) -> None:
        """All attempts have ended."""
        self._diagnosis.conclude(self._began, time.monotonic())

    def diagnosed(self, verdict: RouteVerdict) -> RouteVerdict:
        """The verdict with what all attempts together say about its route."""
        opinion = self._diagnosis.opinion(verdict.route)
        return RouteVerdict(verdict.route, verdict.stages, verdict.failure, verdict.detail, opinion)

    def _entered(self, number: int, stage: str, attempt: Attempt) -> None:
        self._observe(StageReached(number, stage, attempt.addresses if stage == "tcp" else ()))

    def _observe(self, observation: Observation) -> None:
        self._diagnosis.observe(observation, time.monotonic())
