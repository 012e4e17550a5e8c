"""Drives the probes: suspects in from the packet loop, verdicts and events out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from censor.prober.connection import Source, run_probe
from censor.prober.delays import Server
from censor.prober.probes import make_probe
from censor.prober.schedule import Schedule, Verdict
from censor.prober.settings import ProberSettings, parse_address
from censor.prober.suspicion import ProbeOrder
from sidedoor.events import Emit


class Prober:
    """Probes the servers that `suspect` tells of. Use as an async context; leaving ends all probes.

    bind: address family -> the censor's own address to connect from. mark: SO_MARK of the probes' packets, by which the
    censor's rules can let them pass. on_verdict: called in the loop, for convictions and acquittals; must not raise.
    clock: CLOCK_MONOTONIC seconds, as of the events and of `suspect`'s `t`.

    Entering raises UsageError where `bind` or `mark` is not possible here. Events: docs/events.md.
    """

    def __init__(
        self,
        settings: ProberSettings,
        emit: Emit,
        *,
        on_verdict: Callable[[Verdict], None],
        seed: int,
        bind: Mapping[int, str] | None = None,
        mark: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._on_verdict = on_verdict
        self._source = Source(bind or {}, mark)
        self._clock = clock
        self._destination = parse_address(settings.destination)
        self._schedule = Schedule(settings, seed)
        self._under_way = 0
        self._changed = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Prober:
        self._source.check()
        await self._group.__aenter__()
        self._task = self._group.create_task(self._run(), name="prober")
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self._task.cancel()
        await self._group.__aexit__(*exception)

    def suspect(self, server: Server, first_payload: bytes, reason: str, t: float | None = None) -> None:
        """A connection to `server` looked like a proxy's; the client's first bytes were `first_payload`. O(1)."""
        t = self._clock() if t is None else t
        suspect = self._schedule.suspect(server, first_payload, t, reason)
        if suspect is not None:
            self._report("proxy_suspected", server, t=t, reason=reason, connections=suspect.connections)
            self._changed.set()

    async def _run(self) -> None:
        # The probes are this task's own, so that cancelling it ends them.
        async with asyncio.TaskGroup() as probes:
            while True:
                self._changed.clear()
                for order in self._schedule.due(self._clock(), self._settings.concurrency - self._under_way):
                    self._under_way += 1
                    address, port = _told(order.server)
                    probes.create_task(self._probe(order), name=f"probe {order.probe} {address} {port}")
                await self._wait()

    async def _wait(self) -> None:
        """Until the next order is due, or something has changed. At the limit only a probe's end changes anything."""
        next_t = self._schedule.next_t() if self._under_way < self._settings.concurrency else None
        try:
            async with asyncio.timeout(None if next_t is None else max(next_t - self._clock(), 0)):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _probe(self, order: ProbeOrder) -> None:
        t = self._clock()
        self._report("probe_sent", order.server, t=t, probe=order.probe, delay_seconds=t - order.triggered_t)
        probe = make_probe(order.probe, self._destination, order.payload, order.random_bytes, order.seed)
        result = await run_probe(probe, order.server, self._settings.timeout_seconds, self._source, self._clock)
        self._under_way -= 1
        self._report(
            "probe_answered",
            order.server,
            probe=order.probe,
            outcome=result.outcome,
            end=result.end,
            said=result.said,
            bytes=result.received_bytes,
            seconds=result.seconds,
        )
        verdict = self._schedule.result(order, result, self._clock())
        self._changed.set()
        if verdict is not None:
            self._on_verdict(verdict)
            name = "proxy_convicted" if verdict.convicted else "proxy_cleared"
            self._report(name, order.server, seconds=verdict.seconds, evidence=verdict.evidence)

    def _report(self, event: str, server: Server, **fields: Any) -> None:
        address, port = _told(server)
        self._emit(event, address=address, port=port, **fields)


def _told(server: Server) -> tuple[str, int]:
    return str(ip_address(server[0])), server[1]
