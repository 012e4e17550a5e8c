"""The supervisor: keeps the roles of one lab, and tells their deaths from their ends.

It spawns roles on a runtime's hosts, hands out their settings over the control socket, collects their events in order
of arrival, and knows when one ends that nobody asked to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.control import RoleConnection, Roster
from lab.runtimes import RoleProcess, Runtime

START_SECONDS = 20.0
STOP_SECONDS = 5.0


class RoleFailed(Exception):
    """A role did not start, or ended by itself; the message says which, how and where its log is."""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role to be: its name (also the source of its events), its kind (`lab.roles`), its host, its settings."""

    role: str
    kind: str
    host: str
    settings: dict[str, Any]


@dataclass(slots=True)
class _Running:
    spec: RoleSpec
    process: RoleProcess
    connection: RoleConnection
    watcher: asyncio.Task[None]
    stopping: bool = False


class _Visitor:
    """The process of a role that nobody spawned: it lives as long as its connection."""

    def __init__(self, joined: asyncio.Future[RoleConnection]) -> None:
        self._joined = joined

    async def wait(self) -> int:
        """Its exit status is not known: 0."""
        await (await asyncio.shield(self._joined)).closed.wait()
        return 0

    def kill(self) -> None:
        """All that can be done from here is to hang up."""
        if self._joined.done():
            self._joined.result().hang_up()


class Supervisor:
    """The roles of one lab. Use as an async context manager: on exit every role is ended.

    `on_event` gets every event of every role. `on_death(role, status)` is called when a role ends unasked.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: Path,
        logs: Path,
        on_event: Callable[[dict[str, Any]], None],
        on_death: Callable[[str, int], None],
    ) -> None:
        self.runtime = runtime
        self.state = state
        self.logs = logs
        self._on_event = on_event
        self._on_death = on_death
        self._roster = Roster(state / "control.sock", self._take)
        self._running: dict[str, _Running] = {}
        self._ready: dict[str, asyncio.Event] = {}

    async def __aenter__(self) -> Supervisor:
        await self._roster.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop(*self._running)
        await self._roster.__aexit__(*exc_info)

    def role(self, name: str) -> RoleConnection:
        """The line to a running role. Raises RoleFailed where it is not running (any more)."""
        if name not in self._running:
            raise RoleFailed(f"role {name} is not running")
        return self._running[name].connection

    def roles(self) -> dict[str, int]:
        """The running roles and their PIDs (as seen in the lab)."""
        return {name: running.connection.pid for name, running in self._running.items()}

    async def start(self, *specs: RoleSpec, log_prefix: str = "") -> None:
        """Start roles side by side; returns when each has said `role_ready`. Raises RoleFailed."""
        try:
            async with asyncio.TaskGroup() as group:
                for spec in specs:
                    group.create_task(self._start(spec, log_prefix), name=f"start {spec.role}")
        except ExceptionGroup as failures:
            # Not `except*`: up to Python 3.11.3 what is raised in it comes out in a group again.
            expected, _ = failures.split(RoleFailed)
            if expected is None:
                raise
            raise expected.exceptions[0] from None

    async def _start(self, spec: RoleSpec, log_prefix: str) -> None:
        joined = self._roster.expect(spec.role, spec.kind, spec.settings)
        ready = self._ready[spec.role] = asyncio.Event()
        log = self.logs / f"{log_prefix}{spec.role}.log"
        try:
            spawned = await self.runtime.spawn(spec.host, spec.role, self._roster.path, log)
        except OSError as error:
            raise RoleFailed(f"role {spec.role} could not be started on {spec.host}: {error}") from error
        process = spawned or _Visitor(joined)
        exited = asyncio.create_task(process.wait(), name=f"exit of {spec.role}")
        waiting = asyncio.create_task(ready.wait(), name=f"{spec.role} ready")
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait({exited, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            process.kill()
            exited.cancel()
            raise RoleFailed(f"role {spec.role} was not ready within {START_SECONDS:g} s; see {log}") from None
        except asyncio.CancelledError:
            process.kill()
            exited.cancel()
            raise
        finally:
            waiting.cancel()
        if not ready.is_set():
            raise RoleFailed(f"role {spec.role} ended with status {exited.result()} at start: {_last_line(log)}")
        watcher = asyncio.create_task(self._watch(spec.role, exited), name=f"watch {spec.role}")
        self._running[spec.role] = _Running(spec, process, joined.result(), watcher)

    async def _watch(self, name: str, exited: asyncio.Task[int]) -> None:
        status = await exited
        running = self._running.pop(name, None)
        if running is not None and not running.stopping:
            self._on_death(name, status)

    async def stop(self, *names: str) -> None:
        """End roles side by side, within STOP_SECONDS, else by force. Roles that are gone already are skipped."""
        running = [self._running[name] for name in names if name in self._running]
        for each in running:
            each.stopping = True
            each.connection.hang_up()
        _, late = (
            await asyncio.wait({each.watcher for each in running}, timeout=STOP_SECONDS) if running else (None, ())
        )
        for each in running:
            if each.watcher in late:
                each.process.kill()
        if late:
            await asyncio.wait(late, timeout=STOP_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL a role (for experiments on failures); its death is reported like any other. Raises RoleFailed."""
        self.role(name)
        self._running[name].process.kill()

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "role_ready":
            self._ready[event["source"]].set()
            return
        self._on_event(event)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{lines[-1]} ({log})" if lines else f"no output ({log})"
