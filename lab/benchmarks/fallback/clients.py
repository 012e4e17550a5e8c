"""The clients of one round: started, heard, drained and stopped side by side in one lab."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.benchmarks.fallback import account
from lab.benchmarks.fallback.watch import ArmWatch
from lab.control import CommandFailed
from lab.supervisor import RoleFailed, RoleSpec, Supervisor

WELL_SECONDS = 1.5
WELL_WITHIN_SECONDS = 15.0
JITTER_SECONDS = 0.5
APART_SECONDS = (0.3, 0.6)
"""Between two starts into a block: a start takes a third of a second of CPU, and what is measured follows at once."""
DRAIN_SECONDS = 60.0
POLL_SECONDS = 0.02
_RESTART_SECONDS = 10.0


@dataclass(eq=False, slots=True)
class Client:
    """One arm's client in this round. Its host's name is its role's, its own, and the source of its events."""

    policy: str
    role: RoleSpec
    addresses: tuple[str, ...]
    watch: ArmWatch
    events: list[dict[str, Any]] = field(default_factory=list)
    hits: list[dict[str, Any]] = field(default_factory=list)  # of which it is not known yet whether they are its own
    wire_bytes: int | None = None
    running: bool = False
    ended: float | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.role.role


class Clients:
    """`number`: the round's, for names of logs; `seed`: for jitter."""

    def __init__(self, clients: Sequence[Client], supervisor: Supervisor, *, number: int, seed: int) -> None:
        self.all = clients
        self._supervisor = supervisor
        self._number = number
        self.random = random.Random(seed)
        self._by_name = {client.name: client for client in clients}
        self._killed: set[str] = set()

    def take(self, event: dict[str, Any]) -> bool:
        """Note an event (t: CLOCK_MONOTONIC) if it is one client's: its own, or of its messages elsewhere."""
        if (client := self._by_name.get(event["source"])) is not None:
            client.events.append(event)
            client.watch.take(event)
            return True
        if (receiving := self._by_name.get(event.get("sender", ""))) is not None:
            receiving.events.append(event)
            return True
        return False

    def died(self, role: str, status: int) -> bool:
        """A role ended unasked; whether it was one of these, and so no end of the lab."""
        client = self._by_name.get(role)
        if client is None:
            return False
        if role not in self._killed:
            client.problem = f"the client ended by itself with status {status}"
        client.running = False
        return True

    async def each(self, course: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        """Run it for all of them, side by side."""
        async with asyncio.TaskGroup() as group:
            for client in self.all:
                group.create_task(course(client), name=f"{course.__name__} {client.name}")

    async def start_apart(self) -> None:
        """One after the other in any order, each when the one before is up and has had a moment for itself."""
        for client in self.random.sample(self.all, len(self.all)):
            await self._start(client)
            await asyncio.sleep(self.random.uniform(*APART_SECONDS))

    async def start(self) -> None:
        """At about the same time, by chance: timers of theirs are not to be in step."""
        delays = {client.name: self.random.uniform(0.0, JITTER_SECONDS) for client in self.all}

        async def start(client: Client) -> None:
            await asyncio.sleep(delays[client.name])
            await self._start(client)

        await self.each(start)

    async def _start(self, client: Client) -> None:
        await self._supervisor.start(client.role, log_prefix=f"{self._number}-")
        client.running = True

    async def wait_until_well(self, seconds: float, *, proxied: bool) -> list[Client]:
        """Messages have been confirmed for a while, `proxied`: through a proxy. Returns those that never got there."""
        late: list[Client] = []

        async def wait(client: Client) -> None:
            if not await until(lambda: client.watch.well(time.monotonic(), WELL_SECONDS, proxied=proxied), seconds):
                late.append(client)

        await self.each(wait)
        return late

    async def kill(self, client: Client) -> None:
        """SIGKILL, and a new life with the same queue."""
        self._killed.add(client.name)
        self._supervisor.kill(client.name)
        if not await until(lambda: not client.running, _RESTART_SECONDS):
            raise RoleFailed(f"{client.name} did not end by SIGKILL within {_RESTART_SECONDS:g} s")
        self._killed.discard(client.name)
        await self._start(client)

    async def end(self, client: Client) -> None:
        """End its traffic, drain its queue, stop it."""
        if not client.running:
            return
        try:
            line = self._supervisor.role(client.name)
            said = await line.call("finish", timeout=DRAIN_SECONDS + 5, within_seconds=DRAIN_SECONDS)
        except (CommandFailed, RoleFailed) as failure:
            client.problem = client.problem or str(failure)
            return
        client.wire_bytes = said["wire_bytes"]
        if said["pending"]:
            left = {"t": time.monotonic(), "source": client.name, "event": account.QUEUE_LEFT, "count": said["pending"]}
            client.events.append(left)
        client.running = False
        await self._supervisor.stop(client.name)


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for `condition`; False when it did not hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def rebased(events: Sequence[dict[str, Any]], start: float) -> list[dict[str, Any]]:
    """The events with `t` in seconds since `start`."""
    return [event | {"t": round(event["t"] - start, 6)} for event in events]
