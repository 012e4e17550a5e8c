"""An interactive lab: everything stands but the messenger's ends, and the user's own programs take their place.

`serve` is the supervisor's entry on every runtime. It answers `sidedoor.api` on `lab.sock` in the lab's state folder,
one JSON line a command, until `down` or until it is interrupted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lab.control import LINE_LIMIT_BYTES, CommandFailed
from lab.deployment import PROXIES, Deployment
from lab.enforcement import enforce
from lab.plan import SessionPlan
from lab.routes import ORIGIN_PORT, PROXY_PORT
from lab.runtimes import Runtime
from lab.scenario import Scenario
from lab.supervisor import RoleFailed, Supervisor
from lab.topology import ORIGIN_NAME
from sidedoor.events import encode
from sidedoor.settings import UsageError

Answer = dict[str, Any]


def serve(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """Keep the lab up until it is told to go; the exit status."""
    plan = msgspec.convert(arguments, SessionPlan)
    return asyncio.run(_Session(plan, runtime, state).run(stop))


class _Session:
    def __init__(self, plan: SessionPlan, runtime: Runtime, state: Path) -> None:
        self._plan = plan
        self._runtime = runtime
        self._state = state
        self._ending = asyncio.Event()
        self._rules: list[str] = []
        self._dead: list[str] = []
        self._capture = None if plan.capture is None else Path(plan.capture)
        self._deployment = Deployment(runtime, state, self._capture or state)
        self._commands: dict[str, Callable[..., Awaitable[Answer]]] = {
            "status": self._status,
            "censor_apply": self._censor_apply,
            "censor_clear": self._censor_clear,
            "down": self._down,
        }

    async def run(self, stop: int) -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(stop, self._ending.set)
        try:
            await self._runtime.up()
            self._deployment.make_certificates()
            with open(self._state / "events.jsonl", "ab", buffering=0) as events:
                async with Supervisor(
                    self._runtime,
                    self._state,
                    self._state / "logs",
                    lambda event: _write(events, event),
                    lambda role, status: self._died(role, status, events),
                ) as self._supervisor:
                    foundation = [*self._deployment.foundation(), self._deployment.link(self._scenario())]
                    if not self._plan.censor:
                        foundation = [spec for spec in foundation if spec.role != "censor"]
                    await self._supervisor.start(*foundation)
                    if self._capture is not None:
                        await self._supervisor.start(*await self._deployment.observers(self._capture))
                    await self._serve()
        except RoleFailed as failure:
            print(f"sidedoor: {failure}", file=sys.stderr)
            return 1
        finally:
            loop.remove_reader(stop)
            await self._runtime.down()
        return 0

    def _scenario(self) -> Scenario:
        return msgspec.convert(
            {"name": "session", "description": "", "link": {"delay_seconds": self._plan.delay_seconds}}, Scenario
        )

    def _died(self, role: str, status: int, events: BinaryIO) -> None:
        self._dead.append(role)
        events.write(encode("lab", "role_died", {"role": role, "status": status}))

    async def _serve(self) -> None:
        path = self._state / "lab.sock"
        server = await asyncio.start_unix_server(self._answer, path, limit=LINE_LIMIT_BYTES)
        os.chmod(path, 0o600)
        async with server:
            await self._ending.wait()
        path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            answer = await self._execute(request["command"], request["arguments"])
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, KeyError, TypeError, asyncio.CancelledError):
            pass  # whoever asked has gone or speaks something else
        finally:
            writer.close()

    async def _execute(self, command: str, arguments: dict[str, Any]) -> Answer:
        if command not in self._commands:
            return {"ok": False, "error": f"unknown command {command!r}"}
        try:
            return {"ok": True} | await self._commands[command](**arguments)
        except (CommandFailed, RoleFailed, UsageError, TypeError) as failure:
            return {"ok": False, "error": str(failure)}

    async def _status(self) -> Answer:
        return {
            "runtime": self._runtime.name,
            "hosts": {host.name: list(host.addresses()) for host in self._runtime.topology.hosts},
            "names": {name: list(addresses) for name, addresses in self._runtime.topology.names.items()},
            "origin": f"https://{ORIGIN_NAME}:{ORIGIN_PORT}/",
            "proxies": [f"{self._runtime.topology.host(name).addresses()[0]}:{PROXY_PORT}" for name in PROXIES],
            "roles": sorted(self._supervisor.roles()),
            "dead": self._dead,
            "rules": self._rules,
            "ca_file": str(self._deployment.ca_file),
            "capture": self._plan.capture,
        }

    async def _censor_apply(self, rules: str, origin: str, folder: str) -> Answer:
        censor = self._supervisor.role("censor")
        names = await enforce(censor, self._deployment, rules, origin=origin, folder=Path(folder))
        self._rules = list(names)
        return {"rules": self._rules}

    async def _censor_clear(self) -> Answer:
        await self._supervisor.role("censor").call("clear")
        self._rules = []
        return {}

    async def _down(self) -> Answer:
        self._ending.set()
        return {}


def _write(events: BinaryIO, event: dict[str, Any]) -> None:
    events.write(msgspec.json.encode(event) + b"\n")
