"""One round in a condition's lab: every arm's client meets the same block at the same time, once.

Warm: the clients start one after the other, a little jittered, and have been well for a while when the block begins.
Cold: the block stands, then the clients start. Either way each client is followed by itself: it is stopped, its queue
drained, as soon as it has recovered for the hold time; those that have not are until the watch time is over, then the
block is lifted and their queues are drained, so that what is lost then is lost for good.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from censor.rules_file import parse_rules
from lab.benchmarks.fallback import account, blocks
from lab.benchmarks.fallback.blocks import BlockType
from lab.benchmarks.fallback.plan import Condition
from lab.benchmarks.fallback.records import Record
from lab.benchmarks.fallback.watch import ArmWatch
from lab.control import CommandFailed
from lab.enforcement import enforce, recovery_of
from lab.supervisor import RoleFailed, RoleSpec, Supervisor

WELL_SECONDS = 1.5
JITTER_SECONDS = 0.5
WELL_WITHIN_SECONDS = 15.0
KILL_WITHIN_SECONDS = 1.0
DRAIN_SECONDS = 60.0
_POLL_SECONDS = 0.02
_MEASURE_SECONDS = 0.25
_FOLDER = Path(__file__).parent


class Round:
    """`supervisor` has the foundation; `proxies`: name -> address of each proxy, in the order of the routes."""

    def __init__(
        self,
        condition: Condition,
        supervisor: Supervisor,
        deployment: Any,
        clients: Sequence[Client],
        proxies: dict[str, str],
        *,
        number: int,
        seed: int,
        late: Callable[[float], list[dict[str, Any]]],
    ) -> None:
        self._condition = condition
        self._block: BlockType = blocks.BLOCKS[condition.block]
        self._supervisor = supervisor
        self._deployment = deployment
        self._clients = clients
        self._proxies = proxies
        self._number = number
        self._random = random.Random(seed)
        self._seed = seed
        self._late = late
        self._shared: list[dict[str, Any]] = []
        self._by_role = {client.role.role: client for client in clients}
        self._by_name = {client.name: client for client in clients}
        self._killed: set[str] = set()
        self._start = time.monotonic()

    # -- what is heard

    def take(self, event: dict[str, Any]) -> None:
        """An event of any role (t: CLOCK_MONOTONIC)."""
        if event["event"] == "censor_hit":
            for hit in self._clients:
                if hit.watch.is_hit(event):
                    hit.watch.hit(event["t"])
                    hit.events.append(event)
        elif (client := self._by_role.get(event["source"])) is not None:
            client.events.append(event)
            client.watch.take(event)
        elif (receiving := self._by_name.get(event.get("sender", ""))) is not None:
            receiving.events.append(event)
        elif event["event"] in ("rule_enforced", "rule_lifted"):
            self._shared.append(event)

    def died(self, role: str, status: int) -> bool:
        """A role ended unasked; whether that is this round's own affair, and no end of the lab."""
        client = self._by_role.get(role)
        if client is None:
            return False
        if role not in self._killed:
            client.problem = f"the client ended by itself with status {status}"
        client.running = False
        return True

    def _emit(self, event: str, **fields: Any) -> None:
        self._shared.append({"t": time.monotonic(), "source": "lab", "event": event} | fields)

    # -- the course

    async def run(self) -> list[Record]:
        """All of it. Raises RoleFailed, CommandFailed."""
        if self._condition.warm:
            await self._apply(blocks.rules_before(self._block))
            await self._start_clients()
            await self._wait_until_well()
            await asyncio.sleep(self._random.uniform(0.0, JITTER_SECONDS))
            await self._begin()
        else:
            await self._begin()
            await self._start_clients()
        await self._each(self._follow)
        await self._lift()
        await self._each(self._end)
        now = time.monotonic()
        return [self._measured(client, now if client.ended is None else client.ended) for client in self._clients]

    async def _each(self, course: Callable[[Client], Any]) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(course(client), name=f"{course.__name__} {client.role.role}")

    async def _start_clients(self) -> None:
        delays = {client.role.role: self._random.uniform(0.0, JITTER_SECONDS) for client in self._clients}

        async def start(client: Client) -> None:
            await asyncio.sleep(delays[client.role.role])
            await self._start_client(client)

        await self._each(start)

    async def _start_client(self, client: Client) -> None:
        await self._supervisor.start(client.role, log_prefix=f"{self._number}-")
        client.running = True

    async def _wait_until_well(self) -> None:
        """On the direct path; where the block is about proxies, on one of them. Those that are not by then stay so."""
        proxied = self._block.aim != "direct"
        seconds = self._condition.watch_seconds if proxied else WELL_WITHIN_SECONDS

        async def wait(client: Client) -> None:
            if await _until(lambda: client.watch.well(time.monotonic(), WELL_SECONDS, proxied=proxied), seconds):
                return
            if not proxied:
                client.problem = f"no {WELL_SECONDS:g} s of acks within {seconds:g} s before the block"

        await self._each(wait)

    async def _begin(self) -> None:
        """The block, in force from now on."""
        hit = self._proxies_in_use() if self._condition.warm else list(self._proxies.values())[:2]
        text = blocks.rules(self._block, hit)
        rules = parse_rules(text, origin=self._block.name).rules if text else ()
        names = sorted(blocks.hit_rules(self._block)) or [rule.name for rule in rules]
        self._emit("episode_started", block=self._block.name, rules=names, recovery=recovery_of(rules))
        await self._apply(text)
        for command in blocks.upstream_commands(self._block, hit):
            await self._supervisor.role("upstream").call("enforce", rule=self._block.name, command=command)
        if self._block.aim == "direct" or not self._condition.warm:
            return
        now = time.monotonic()
        for client in self._clients:
            on_a_proxy = client.watch.route != account.DIRECT
            if self._block.aim == "upstream" or not on_a_proxy:  # nobody tells of hits
                client.watch.hit(now)
                hit_event = {"t": now, "source": "lab", "event": "censor_hit", "source_address": client.addresses[0]}
                client.events.append(hit_event)

    def _proxies_in_use(self) -> list[str]:
        names = {client.watch.route for client in self._clients}
        return [address for name, address in self._proxies.items() if name in names]

    async def _apply(self, text: str) -> None:
        if text:
            censor = self._supervisor.role("censor")
            await enforce(censor, self._deployment, text, origin=self._block.name, folder=_FOLDER)

    async def _lift(self) -> None:
        for command in blocks.upstream_undo(self._block):
            await self._supervisor.role("upstream").call("lift", rule=self._block.name, command=command)
        await self._supervisor.role("censor").call("clear")
        self._emit("unblocked", block=self._block.name)

    async def _follow(self, client: Client) -> None:
        """Until it has recovered, and then its end; or until the watch time is over."""
        deadline = time.monotonic() + self._condition.watch_seconds
        if client.problem:
            return
        if self._condition.kill:
            await self._kill(client)
        while time.monotonic() < deadline and client.problem is None:
            remaining = deadline - time.monotonic()
            if not await _until(lambda: client.watch.recovered(time.monotonic()), remaining):
                return
            if self._measured(client, time.monotonic()).ttr_seconds is not None:
                client.ended = time.monotonic()
                await self._end(client)
                return
            await asyncio.sleep(_MEASURE_SECONDS)

    async def _kill(self, client: Client) -> None:
        """SIGKILL in mid-block, and a new life with the same queue."""
        await asyncio.sleep(self._random.uniform(0.0, KILL_WITHIN_SECONDS))
        role = client.role.role
        self._killed.add(role)
        self._supervisor.kill(role)
        await _until(lambda: not client.running, KILL_WITHIN_SECONDS * 10)
        self._killed.discard(role)
        await self._start_client(client)

    async def _end(self, client: Client) -> None:
        """Drain its queue and stop it."""
        if not client.running:
            return
        role = client.role.role
        try:
            said = await self._supervisor.role(role).call(
                "finish", timeout=DRAIN_SECONDS + 5, within_seconds=DRAIN_SECONDS
            )
        except (CommandFailed, RoleFailed) as failure:
            client.problem = client.problem or str(failure)
            return
        client.wire_bytes = said["wire_bytes"]
        client.running = False
        await self._supervisor.stop(role)

    # -- what came out

    def _measured(self, client: Client, ended: float) -> Record:
        """`ended`: when its episode did (CLOCK_MONOTONIC)."""
        condition = self._condition
        begun = Record(
            condition=condition.id,
            block=condition.block,
            policy=client.policy,
            rtt_ms=condition.rtt_ms,
            loss=condition.loss,
            warm=condition.warm,
            killed=condition.kill,
            seed=self._seed,
            round=self._number,
            client=client.host,
            truth=self._block.kind,
            problem=client.problem,
        )
        end = {"t": ended, "source": "lab", "event": "episode_ended", "block": self._block.name}
        log = [*self._shared, *client.events, end]
        start = self._start
        rebased = [event | {"t": round(event["t"] - start, 6)} for event in log]
        return account.complete(
            begun, rebased, client.addresses, wire_bytes=client.wire_bytes, lab_late=self._late(start)
        )


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for `condition`; False when it did not hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True
