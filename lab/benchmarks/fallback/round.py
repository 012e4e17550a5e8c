"""One round in a condition's lab: every arm's client meets the same block at the same time, once.

Warm: the clients start at about the same time, a little jittered, and have been well for a while when the block begins.
Cold: the block stands, then the clients start, one after the other, so that the first moments of one are not another's.
Either way each client is followed by itself: it is stopped, its queue drained, as soon as it has recovered for the hold
time and is sure what was wrong (or had some seconds to be). Those that have not are followed until the watch time is
over; then the block is lifted and their queues are drained, so that what is lost then is lost for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from censor.rules_file import parse_rules
from lab.benchmarks.fallback import account, blocks
from lab.benchmarks.fallback.clients import JITTER_SECONDS, WELL_SECONDS, WELL_WITHIN_SECONDS, Client, Clients, rebased
from lab.benchmarks.fallback.clients import until as wait_until
from lab.benchmarks.fallback.plan import Condition
from lab.benchmarks.fallback.records import Record
from lab.deployment import Deployment
from lab.enforcement import enforce, recovery_of
from lab.supervisor import Supervisor

UPSTREAM = "upstream"
"""The role on the wan's host that cuts proxies off from the messenger."""
KILL_WITHIN_SECONDS = 1.0
_MEASURE_SECONDS = 1.0
"""Between two looks at goodput, each of which reads all events of the client."""
_FOLDER = Path(__file__).parent


class Round:
    """`supervisor` has the foundation; `late`: the events `timer_late` of the lab's own process, which grows."""

    def __init__(
        self,
        condition: Condition,
        supervisor: Supervisor,
        deployment: Deployment,
        clients: Clients,
        *,
        number: int,
        seed: int,
        late: Sequence[dict[str, Any]],
    ) -> None:
        self._condition = condition
        self._block = blocks.BLOCKS[condition.block]
        self._supervisor = supervisor
        self._deployment = deployment
        self._clients = clients
        self._number = number
        self._seed = seed
        self._late = late
        self._shared: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def take(self, event: dict[str, Any]) -> None:
        """An event of any role (t: CLOCK_MONOTONIC)."""
        if event["event"] == "censor_hit":
            for client in self._clients.all:
                if client.watch.is_hit(event):
                    client.hits.append(event)
        elif not self._clients.take(event) and event["event"] in ("rule_enforced", "rule_lifted"):
            self._shared.append(event)
        for client in self._clients.all:
            self._sort_hits(client)

    def _sort_hits(self, client: Client) -> None:
        """Hits and the client's events come by lines of their own: whose a hit is can be told when it has begun."""
        if client.hits and client.watch.began is not None:
            for event in client.hits:
                if client.watch.is_own(event):
                    self._hit(client, event)
            client.hits.clear()

    def _hit(self, client: Client, event: dict[str, Any]) -> None:
        client.watch.hit(event["t"])
        client.events.append(event)

    def _emit(self, event: str, **fields: Any) -> None:
        self._shared.append({"t": time.monotonic(), "source": "lab", "event": event} | fields)

    async def run(self) -> list[Record]:
        """All of it. Raises RoleFailed, CommandFailed."""
        clients, now = self._clients, time.monotonic
        if self._condition.warm:
            await self._apply(blocks.rules_before(self._block))
            await clients.start()
            await self._wait_until_well()
            await asyncio.sleep(clients.random.uniform(0.0, JITTER_SECONDS))
            await self._begin()
        else:
            await self._begin()
            await clients.start_apart()
        await clients.each(self._follow)
        await self._lift()
        await clients.each(clients.end)
        return [self._record(client, now() if client.ended is None else client.ended) for client in clients.all]

    async def _wait_until_well(self) -> None:
        """On the direct path; where the block is about proxies, on one of them: those that are not by then stay so."""
        proxied = self._block.aim != "direct"
        seconds = self._condition.watch_seconds if proxied else WELL_WITHIN_SECONDS
        for client in await self._clients.wait_until_well(seconds, proxied=proxied):
            if not proxied:
                client.problem = f"no {WELL_SECONDS:g} s of acks within {seconds:g} s before the block"

    async def _begin(self) -> None:
        """The block, in force from now on."""
        hit = self._proxies_to_hit()
        text = blocks.rules(self._block, hit)
        rules = parse_rules(text, origin=self._block.name).rules
        names = sorted(blocks.hit_rules(self._block)) or [rule.name for rule in rules]
        self._emit("episode_started", block=self._block.name, rules=names, recovery=recovery_of(rules))
        await self._apply(text)
        for command in blocks.upstream_commands(self._block, hit):
            await self._supervisor.role(UPSTREAM).call("enforce", rule=self._block.name, command=command)
        if self._condition.warm and self._block.aim != "direct":
            self._tell_of_hits(time.monotonic())

    def _proxies_to_hit(self) -> list[str]:
        """Warm: an address of each that is in use; cold: of the first half of the list."""
        names = self._deployment.proxies
        in_use = {client.watch.route for client in self._clients.all}
        chosen = [name for name in names if name in in_use] if self._condition.warm else names[: len(names) // 2]
        return [self._deployment.topology.host(name).addresses()[0] for name in chosen]

    def _tell_of_hits(self, t: float) -> None:
        """Those that nobody tells of: behind the proxies there is no censor, and who is on no proxy is hit already."""
        for client in self._clients.all:
            if self._block.aim == "upstream" or client.watch.route == account.DIRECT:
                source = client.addresses[0]
                self._hit(client, {"t": t, "source": "lab", "event": "censor_hit", "source_address": source})

    async def _apply(self, text: str) -> None:
        if text:
            censor = self._supervisor.role("censor")
            await enforce(censor, self._deployment, text, origin=self._block.name, folder=_FOLDER)

    async def _lift(self) -> None:
        for command in blocks.upstream_undo(self._block):
            await self._supervisor.role(UPSTREAM).call("lift", rule=self._block.name, command=command)
        await self._supervisor.role("censor").call("clear")
        self._emit("unblocked", block=self._block.name)

    async def _follow(self, client: Client) -> None:
        """Until it has recovered, and then its end; or until the watch time is over."""
        deadline = time.monotonic() + self._condition.watch_seconds
        if client.problem is not None:
            return
        if self._condition.kill:
            await asyncio.sleep(self._clients.random.uniform(0.0, KILL_WITHIN_SECONDS))
            await self._clients.kill(client)
        now = time.monotonic
        while await wait_until(lambda: client.watch.recovered(now()), deadline - now()):
            if self._record(client, now()).ttr_seconds is not None:
                await wait_until(lambda: client.watch.diagnosed(now()), deadline - now())
                client.ended = now()
                await self._clients.end(client)
                return
            if now() >= deadline:
                return
            await asyncio.sleep(_MEASURE_SECONDS)  # acks go on, goodput is not back

    def _record(self, client: Client, ended: float) -> Record:
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
            client=client.name,
            truth=self._block.kind,
            problem=client.problem,
        )
        end = {"t": ended, "source": "lab", "event": "episode_ended", "block": self._block.name}
        events = rebased([*self._shared, *client.events, end], self._start)
        late = rebased(self._late, self._start)
        return account.complete(begun, events, client.addresses, wire_bytes=client.wire_bytes, lab_late=late)
