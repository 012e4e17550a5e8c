"""One round without a block: what each policy does by itself, and what it costs beside the direct path alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from lab.benchmarks.fallback import account
from lab.benchmarks.fallback.clients import WELL_WITHIN_SECONDS, Client, Clients, rebased
from lab.benchmarks.fallback.plan import Control
from lab.benchmarks.fallback.records import ControlRecord
from lab.control import CommandFailed
from lab.routes import PROXY_PORT
from lab.supervisor import RoleFailed, Supervisor

_LOOK_SECONDS = 5.0
"""How often is looked how many connections to proxies a client has."""


class QuietRound:
    """As `lab.benchmarks.fallback.round.Round`, with nothing happening."""

    def __init__(
        self,
        control: Control,
        supervisor: Supervisor,
        clients: Clients,
        *,
        number: int,
        seed: int,
        late: Sequence[dict[str, Any]],
    ) -> None:
        self._control = control
        self._supervisor = supervisor
        self._clients = clients
        self._number = number
        self._seed = seed
        self._late = late
        self._most_connections: dict[str, int] = {}
        self._start = time.monotonic()

    def take(self, event: dict[str, Any]) -> None:
        """An event of any role (t: CLOCK_MONOTONIC)."""
        self._clients.take(event)

    async def run(self) -> list[ControlRecord]:
        """All of it. Raises RoleFailed, CommandFailed."""
        clients = self._clients
        await clients.start()
        for client in await clients.wait_until_well(WELL_WITHIN_SECONDS, proxied=False):
            client.problem = f"no acks within {WELL_WITHIN_SECONDS:g} s"
        began = time.monotonic()
        while (remaining := began + self._control.seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(_LOOK_SECONDS, remaining))
            await clients.each(self._look)
        seconds = time.monotonic() - began
        await clients.each(clients.end)
        return [self._record(client, seconds) for client in clients.all]

    async def _look(self, client: Client) -> None:
        try:
            said = await self._supervisor.role(client.name).call("connections")
        except (CommandFailed, RoleFailed) as failure:
            client.problem = client.problem or str(failure)
            return
        established = int(said["established"].get(str(PROXY_PORT), 0))
        self._most_connections[client.name] = max(established, self._most_connections.get(client.name, 0))

    def _record(self, client: Client, seconds: float) -> ControlRecord:
        begun = ControlRecord(
            policy=client.policy,
            seed=self._seed,
            round=self._number,
            client=client.name,
            seconds=round(seconds, 3),
            standby_connections=self._most_connections.get(client.name, 0),
            wire_bytes=client.wire_bytes,
            problem=client.problem,
        )
        return account.complete_quiet(begun, rebased(client.events, self._start), rebased(self._late, self._start))
