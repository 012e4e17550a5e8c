"""Inside a condition's lab: the foundation once, then round after round until every policy has its runs.

The lab's entry (`lab.instance.run_crowd`). Each round's runs are in `runs.jsonl` of the condition's folder when the
round is over, and a line on stdout says how far it is; what lies there already counts, so that a condition goes on
where it was.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from client.policies.catalogue import PolicySettings
from lab.benchmarks.fallback import arms, blocks, records
from lab.benchmarks.fallback.clients import Client, Clients
from lab.benchmarks.fallback.plan import MESSAGE_BYTES, QUEUE_MESSAGES, Condition, Control, missing
from lab.benchmarks.fallback.quiet import QuietRound
from lab.benchmarks.fallback.records import RUNS, ControlRecord, Record
from lab.benchmarks.fallback.round import UPSTREAM, Round
from lab.benchmarks.fallback.watch import ArmWatch
from lab.control import CommandFailed
from lab.deployment import Deployment
from lab.link import LinkSettings
from lab.runtimes import INTERRUPTED, Runtime
from lab.scenario import Traffic
from lab.supervisor import RoleFailed, RoleSpec, Supervisor

_TIMER_SECONDS = 0.01
_LATE_SECONDS = 0.005
_PAUSE_SECONDS = 0.5  # between rounds: what is in flight arrives; residual blocks are lifted with the rules


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the lab is started for. folder: the condition's."""

    condition: Condition | Control
    folder: str


def run(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """0: every policy has its runs, or had its chance to get them; 1: the lab broke; 130: interrupted."""
    order = msgspec.convert(arguments, Order)
    return asyncio.run(_Lab(order, runtime, state).run(stop))


class _Lab:
    def __init__(self, order: Order, runtime: Runtime, state: Path) -> None:
        self._condition = order.condition
        self._folder = Path(order.folder)
        self._runtime = runtime
        self._state = state
        self._deployment = Deployment(runtime, state, self._folder)
        self._round: Round | QuietRound | None = None
        self._clients: Clients | None = None
        self._late: list[dict[str, Any]] = []
        self._broken: asyncio.Future[str] | None = None

    async def run(self, stop: int) -> int:
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()
        assert running is not None
        self._broken = loop.create_future()

        def interrupt() -> None:
            loop.remove_reader(stop)
            running.cancel()

        loop.add_reader(stop, interrupt)
        try:
            await self._runtime.up()
            self._deployment.make_certificates()
            logs = self._folder / "logs"
            async with Supervisor(self._runtime, self._state, logs, self._take, self._died) as supervisor:
                return await self._rounds(supervisor)
        except asyncio.CancelledError:
            running.uncancel()
            return INTERRUPTED
        except (RoleFailed, CommandFailed, OSError) as failure:
            print(f"sidedoor bench: {self._condition.id}: {failure}", file=sys.stderr)
            return 1
        finally:
            loop.remove_reader(stop)
            await self._runtime.down()

    async def _rounds(self, supervisor: Supervisor) -> int:
        await supervisor.start(*self._foundation())
        condition = self._condition
        done: list[Any] = records.read(
            self._folder / RUNS, Record if isinstance(condition, Condition) else ControlRecord
        )
        number = max((record.round for record in done), default=0)
        last = number + condition.rounds_limit
        timer = asyncio.create_task(self._watch_timer(), name="timer")
        try:
            while (wanted := missing(condition, done)) and number < last:
                number += 1
                found = await self._one(supervisor, number, wanted)
                records.append(self._folder / RUNS, found)
                done += found
                print(json.dumps({"round": number, "missing": sum(missing(condition, done).values())}), flush=True)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            timer.cancel()
        return 0

    async def _one(
        self, supervisor: Supervisor, number: int, wanted: dict[str, int]
    ) -> Sequence[Record | ControlRecord]:
        """One round; the death of a role that the lab cannot do without ends it. Raises RoleFailed, CommandFailed."""
        self._late.clear()
        seed = self._condition.seed + number
        self._clients = clients = Clients(self._arms(number, wanted), supervisor, number=number, seed=seed)
        self._round = self._course(supervisor, clients, number, seed)
        running: Coroutine[Any, Any, Sequence[Record | ControlRecord]] = self._round.run()
        course = asyncio.create_task(running, name=f"round {number}")
        assert self._broken is not None
        try:
            either: set[asyncio.Future[Any]] = {course, self._broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                raise RoleFailed(self._broken.result())
            return await course
        except ExceptionGroup as failures:
            expected, _ = failures.split((RoleFailed, CommandFailed))
            if expected is None:
                raise
            raise RoleFailed(str(expected.exceptions[0])) from failures
        finally:
            course.cancel()
            await asyncio.gather(course, return_exceptions=True)
            await supervisor.stop(*(client.name for client in clients.all))
            self._round = self._clients = None

    def _course(self, supervisor: Supervisor, clients: Clients, number: int, seed: int) -> Round | QuietRound:
        condition, late = self._condition, self._late
        if isinstance(condition, Control):
            return QuietRound(condition, supervisor, clients, number=number, seed=seed, late=late)
        return Round(condition, supervisor, self._deployment, clients, number=number, seed=seed, late=late)

    def _take(self, event: dict[str, Any]) -> None:
        if self._round is not None:
            self._round.take(event)

    def _died(self, role: str, status: int) -> None:
        if self._clients is not None and self._clients.died(role, status):
            return
        assert self._broken is not None
        if not self._broken.done():
            self._broken.set_result(f"role {role} ended with status {status} in mid-run")

    async def _watch_timer(self) -> None:
        while True:
            due = time.monotonic() + _TIMER_SECONDS
            await asyncio.sleep(_TIMER_SECONDS)
            late = time.monotonic() - due
            if late > _LATE_SECONDS:
                self._late.append({"t": due, "source": "lab", "event": "timer_late", "seconds": late})

    # -- the roles

    def _foundation(self) -> list[RoleSpec]:
        condition = self._condition
        jitter_ms = condition.jitter_ms if isinstance(condition, Control) else 0.0
        link = LinkSettings(
            delay_seconds=condition.rtt_ms / 2000,
            jitter_seconds=jitter_ms / 1000,
            loss=condition.loss,
            seed=condition.seed,
        )
        upstream = {"folder": self._deployment.path_in_host(self._state), "command": None, "ready_seconds": 0.0}
        return [
            *self._deployment.foundation(),
            RoleSpec("link", "link", "wan", msgspec.to_builtins(link)),
            RoleSpec(UPSTREAM, "foreign_censor", "wan", upstream),
            self._deployment.receiver("receiver"),
        ]

    def _arms(self, number: int, wanted: dict[str, int]) -> list[Client]:
        """A client for each arm of the policies that are wanted, on another host in every round."""
        condition = self._condition
        hit_rules = None  # any: where the block is there first, whatever is hit is
        if isinstance(condition, Condition) and condition.warm:
            hit_rules = blocks.hit_rules(blocks.BLOCKS[condition.block])
        names = condition.arms
        clients = []
        for index in range(len(names)):
            policy = names[(index + number) % len(names)]
            if policy in wanted:
                host = self._runtime.topology.host(f"client{index + 1}")
                watch = ArmWatch(frozenset(host.addresses()), hit_rules)
                clients.append(Client(policy, self._sender(host.name, policy, number), host.addresses(), watch))
        return clients

    def _sender(self, host: str, policy: str, number: int) -> RoleSpec:
        condition = self._condition
        arm = arms.find(policy)
        traffic = Traffic(interval_seconds=condition.interval_seconds, message_bytes=MESSAGE_BYTES)
        settings = msgspec.convert(arm.policy, PolicySettings)
        role = self._deployment.client(host, settings, traffic)
        sender = role.settings["sender"]
        sender["limit_messages"] = QUEUE_MESSAGES
        if not arm.proxies:
            sender["routes"] = [route for route in sender["routes"] if route["kind"] == "direct"]
        if isinstance(condition, Condition) and condition.kill:
            sender["state_file"] = self._deployment.path_in_host(self._state / f"{number}-{host}.queue")
        return RoleSpec(role.role, role.kind, role.host, role.settings | {"watch_timer": True})
