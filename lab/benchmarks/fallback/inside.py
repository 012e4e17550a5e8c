"""Inside a condition's lab: the foundation once, then round after round until every policy has its runs.

The lab's entry (`lab.instance.run`). Each round's runs are in `runs.jsonl` of the condition's folder when the round is
over, and a line on stdout says how far it is; what lies there already counts, so that a condition goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks.fallback import arms, blocks, records
from lab.benchmarks.fallback.plan import MESSAGE_BYTES, Condition, missing
from lab.benchmarks.fallback.records import RUNS, Record
from lab.benchmarks.fallback.round import Client, Round
from lab.benchmarks.fallback.watch import ArmWatch
from lab.control import CommandFailed
from lab.deployment import ORIGIN_PORT, PROXY_PASSWORD, PROXY_PORT, PROXY_USER, Deployment
from lab.runtimes import INTERRUPTED, Runtime
from lab.supervisor import RoleFailed, RoleSpec, Supervisor
from lab.topology import ORIGIN_NAME

_TIMER_SECONDS = 0.01
_LATE_SECONDS = 0.005
_PAUSE_SECONDS = (
    0.5  # between rounds: what is in flight arrives, and the censor forgets (`clear` lifts residual blocks)
)


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the lab is started for. folder: the condition's."""

    condition: Condition
    folder: str


def run(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """0: every policy has its runs; 1: the lab broke, or runs did not count too often; 130: interrupted."""
    order = msgspec.convert(arguments, Order)
    return asyncio.run(_Lab(order, runtime, state).run(stop))


class _Lab:
    def __init__(self, order: Order, runtime: Runtime, state: Path) -> None:
        self._condition = order.condition
        self._folder = Path(order.folder)
        self._runtime = runtime
        self._state = state
        self._deployment = Deployment(runtime, state, self._folder)
        self._round: Round | None = None
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
            async with Supervisor(
                self._runtime, self._state, self._folder / "logs", self._take, self._died
            ) as supervisor:
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
        done = records.read(self._folder / RUNS)
        number = max((record.round for record in done), default=0)
        rounds_limit = number + 2 * max(self._condition.runs.values()) + 5
        timer = asyncio.create_task(self._watch_timer(), name="timer")
        try:
            while wanted := missing(self._condition, done):
                number += 1
                if number > rounds_limit:
                    raise RoleFailed(f"too many runs did not count; still wanted: {wanted}")
                found = await self._one(supervisor, number, wanted)
                records.append(self._folder / RUNS, found)
                done += found
                print(
                    json.dumps({"round": number, "missing": sum(missing(self._condition, done).values())}), flush=True
                )
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            timer.cancel()
        return 0

    async def _one(self, supervisor: Supervisor, number: int, wanted: dict[str, int]) -> list[Record]:
        self._late.clear()
        clients = self._clients(number, wanted)
        self._round = Round(
            self._condition,
            supervisor,
            self._deployment,
            clients,
            self._proxies(),
            number=number,
            seed=self._condition.seed + number,
            late=lambda start: [event | {"t": event["t"] - start} for event in self._late],
        )
        assert self._broken is not None
        course = asyncio.create_task(self._round.run(), name=f"round {number}")
        try:
            either: set[asyncio.Future[Any]] = {course, self._broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                raise RoleFailed(self._broken.result())
            return await course
        finally:
            course.cancel()
            await asyncio.gather(course, return_exceptions=True)
            await supervisor.stop(*(client.role.role for client in clients))
            self._round = None

    def _take(self, event: dict[str, Any]) -> None:
        if self._round is not None:
            self._round.take(event)

    def _died(self, role: str, status: int) -> None:
        if self._round is not None and self._round.died(role, status):
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

    def _proxies(self) -> dict[str, str]:
        hosts = [host for host in self._runtime.topology.hosts if host.name.startswith("proxy")]
        return {host.name: host.addresses()[0] for host in hosts}

    def _foundation(self) -> list[RoleSpec]:
        deployment, condition = self._deployment, self._condition
        known = [spec for spec in deployment.foundation() if spec.role != "web"]
        more = [deployment._proxy(name) for name in self._proxies() if name not in {spec.role for spec in known}]
        link = {"delay_seconds": condition.rtt_ms / 2000}
        upstream = {"folder": str(self._state), "command": None, "ready_seconds": 0.0}
        receiver = {"name": "receiver", **self._end()}
        return [
            *known,
            *more,
            RoleSpec("link", "link", "wan", link),
            RoleSpec("upstream", "foreign_censor", "wan", upstream),
            RoleSpec("receiver", "receiver", "receiver", receiver),
        ]

    def _end(self) -> dict[str, Any]:
        return {
            "origin": {"host": ORIGIN_NAME, "port": ORIGIN_PORT},
            "ca_file": self._deployment.path_in_host(self._deployment.ca_file),
            "resolver": {"hosts_file": None},
        }

    def _clients(self, number: int, wanted: dict[str, int]) -> list[Client]:
        """The arms of the policies that are wanted, each on another host in every round."""
        condition = self._condition
        names = condition.arms
        hit_rules = blocks.hit_rules(blocks.BLOCKS[condition.block]) if condition.warm else None
        clients = []
        for index in range(len(names)):
            policy = names[(index + number) % len(names)]
            if policy not in wanted:
                continue
            host = self._runtime.topology.host(f"client{index + 1}")
            name = f"{host.name}-{number}"
            role = RoleSpec(host.name, "sender", host.name, self._sender(name, policy))
            watch = ArmWatch(frozenset(host.addresses()), hit_rules)
            clients.append(Client(host.name, policy, role, name, host.addresses(), watch))
        return clients

    def _sender(self, name: str, policy: str) -> dict[str, Any]:
        arm = arms.find(policy)
        routes: list[dict[str, Any]] = [{"kind": "direct"}]
        for proxy, address in self._proxies().items() if arm.proxies else ():
            route = {"kind": "socks5", "name": proxy, "host": address, "port": PROXY_PORT}
            routes.append(route | ({"username": PROXY_USER, "password": PROXY_PASSWORD} if proxy == "proxy2" else {}))
        return {
            "traffic": {"interval_seconds": self._condition.interval_seconds, "message_bytes": MESSAGE_BYTES},
            "watch_timer": True,
            "sender": {"name": name, "peer": "receiver", "routes": routes, "policy": arm.policy, **self._end()},
        }
