"""One run of a scenario: the steps from a healthy direct path through every block and back, and what they left.

A run never waits without end: each step has its bound, the whole has `timeout_seconds`, and the death of a role that
the scenario cannot do without ends it. What was seen until then is measured and written all the same.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import msgspec

from censor.rules_file import parse_rules
from lab.control import CommandFailed, RoleConnection
from lab.deployment import CLIENT, Deployment
from lab.enforcement import enforce, recovery_of
from lab.measurement.summary import Clock, Outcome
from lab.scenario import Block, Fault, Scenario, rules_text
from lab.supervisor import RoleFailed, RoleSpec, Supervisor
from lab.watch import Watch
from sidedoor.settings import UsageError

HEALTHY_WITHIN_SECONDS = 10.0
DRAIN_SECONDS = 10.0
# Without these a run goes nowhere; the client is to survive the loss of anything else.
ESSENTIAL = frozenset({"origin", "receiver", "client", "censor", "link", "dns"})


class Progress(Protocol):
    """What shows a person how far the run is. `t`: seconds since run start."""

    def __call__(self, t: float, step: str) -> None: ...


class RunRecord(msgspec.Struct, frozen=True):
    """What a run left: its events (t since run start), its clock, how it ended, why, and when (since run start)."""

    number: int
    seed: int
    clock: Clock
    events: list[dict[str, Any]]
    outcome: Outcome
    problem: str | None = None
    ended_seconds: float | None = None
    marker: str = ""
    """What each message began with (`lab.measurement.plaintext`)."""


class _EssentialRoleDied(Exception):
    """Ends a run early; the message says which role and how."""


class Run:
    """One repeat of `scenario`; `number` counts from 1. `write` gets each event as it arrives, rebased."""

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        deployment: Deployment,
        *,
        number: int,
        seed: int,
        write: Callable[[dict[str, Any]], None],
        progress: Progress,
    ) -> None:
        self._scenario = scenario
        self._folder = folder
        self._deployment = deployment
        self._number = number
        self._seed = seed
        self._write = write
        self._progress = progress
        self._random = random.Random(seed)
        self._clock = Clock(monotonic=time.monotonic(), realtime=time.time())
        self._events: list[dict[str, Any]] = []
        self._killed: set[str] = set()
        self._returning = {fault.kill for fault in scenario.faults if fault.again_after_seconds is not None}
        self._gone: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._specs: dict[str, RoleSpec] = {}
        self._ended: float | None = None
        self._marker = secrets.token_hex(8)  # not of the seed: it is to be nowhere else, not in another run either
        self._watch = Watch(frozenset(deployment.topology.host(CLIENT).addresses()))
        self._died: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def now(self) -> float:
        """Seconds since run start."""
        return time.monotonic() - self._clock.monotonic

    def take(self, event: dict[str, Any]) -> None:
        """An event of a role (t = CLOCK_MONOTONIC), or of the lab itself."""
        event["t"] = round(event["t"] - self._clock.monotonic, 6)
        self._events.append(event)
        self._write(event)
        self._watch.take(event)

    def emit(self, event: str, /, **fields: Any) -> None:
        """The lab's own events (an Emit)."""
        self.take({"t": time.monotonic(), "source": "lab", "event": event} | fields)

    def died(self, role: str, status: int) -> None:
        """To be called when a role ends unasked.

        One that the scenario killed is no problem, unless it is essential and is not started again.
        """
        self._gone[role].set()
        essential = role in ESSENTIAL and not (role in self._killed and role in self._returning)
        if role not in self._killed or essential:
            self.emit("role_died", role=role, status=status)
        if essential and not self._died.done():
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            self._died.set_result(f"{role} was {how} in mid-run" if status < 0 else f"{role} {how} in mid-run")

    async def run(self, supervisor: Supervisor) -> RunRecord:
        """All of it, from starting the roles to stopping them. A failure is in the record, not raised."""
        outcome: Outcome = "completed"
        problem: str | None = None
        self.emit(
            "run_started",
            scenario=self._scenario.name,
            seed=self._seed,
            runtime=supervisor.runtime.name,
            realtime=self._clock.realtime,
        )
        try:
            async with asyncio.timeout(self._scenario.timeout_seconds):
                await self._start(supervisor)
                await self._until_death(self._steps(supervisor))
        except _EssentialRoleDied as death:
            outcome, problem = "role_died", str(death)
        except TimeoutError:
            outcome, problem = "timed_out", f"not done within {self._scenario.timeout_seconds:g} s"
        except (CommandFailed, RoleFailed, UsageError, OSError) as failure:
            outcome, problem = "failed", str(failure)
        finally:
            self._ended = self.now()
            self._progress(self._ended, "stopping")
            for together in self._deployment.stop_order(supervisor.roles()):
                await supervisor.stop(*together)
        return self._record(outcome, problem)

    def interrupted(self) -> RunRecord:
        """The record of a run whose `run` was cancelled."""
        ended = self.now() if self._ended is None else self._ended
        return self._record("interrupted", f"interrupted at {ended:.1f} s")

    def _record(self, outcome: Outcome, problem: str | None) -> RunRecord:
        self.emit("run_ended", outcome=outcome, problem=problem)
        ended = self.now() if self._ended is None else self._ended
        return RunRecord(
            self._number, self._seed, self._clock, self._events, outcome, problem, round(ended, 6), self._marker
        )

    async def _start(self, supervisor: Supervisor) -> None:
        self._progress(self.now(), "starting the roles")
        prefix = f"run{self._number}-"
        foreign = self._scenario.foreign_censor
        censor = None if foreign is None else self._deployment.foreign_censor(foreign, self._folder)
        foundation = [*self._deployment.foundation(censor), self._deployment.link(self._scenario, self._seed)]
        foundation += self._deployment.bridges(self._scenario)
        await supervisor.start(*foundation, log_prefix=prefix)
        observers = await self._deployment.observers(self._deployment.capture_folder, prefix)
        await supervisor.start(*observers, log_prefix=prefix)
        ends = self._deployment.ends(self._scenario, self._number, self._marker)
        await supervisor.start(*ends, log_prefix=prefix)
        self._specs = {spec.role: spec for spec in (*foundation, *ends)}
        for role, pid in supervisor.roles().items():
            self.emit("role_started", role=role, pid=pid)

    async def _until_death(self, steps: Coroutine[Any, Any, None]) -> None:
        """Run `steps`; the death of an essential role ends them."""
        working = asyncio.create_task(steps, name="steps")
        try:
            either: set[asyncio.Future[Any]] = {working, self._died}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._died.done():
                raise _EssentialRoleDied(self._died.result())
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _steps(self, supervisor: Supervisor) -> None:
        faults = [
            asyncio.create_task(self._fail(supervisor, fault), name=f"fault {fault.kill}")
            for fault in self._scenario.faults
        ]
        try:
            if not await self._watch.until(self._watch.healthy, HEALTHY_WITHIN_SECONDS):
                raise RoleFailed(f"no message was delivered within {HEALTHY_WITHIN_SECONDS:g} s, before any block")
            if self._scenario.idle_seconds:
                self._progress(self.now(), "sending, nothing is blocked")
                await asyncio.sleep(self._scenario.idle_seconds)
            for block in self._scenario.blocks:
                await self._episode(supervisor, block)
            self._progress(self.now(), "waiting for the last messages")
            await supervisor.role("client").call("finish", timeout=DRAIN_SECONDS + 5, within_seconds=DRAIN_SECONDS)
            for fault, task in zip(self._scenario.faults, faults, strict=True):
                if not task.done():
                    what = "started again" if fault.kill in self._killed else "killed"
                    raise RoleFailed(f"the run was over before {fault.kill} was {what}: lower its fault's at_seconds")
        finally:
            for task in faults:
                task.cancel()
            await asyncio.gather(*faults, return_exceptions=True)

    async def _fail(self, supervisor: Supervisor, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at_seconds - self.now()))
        supervisor.kill(fault.kill)  # one that has died by itself is reported already
        self._killed.add(fault.kill)
        self.emit("fault_injected", role=fault.kill)
        if fault.again_after_seconds is not None:
            await self._gone[fault.kill].wait()
            await asyncio.sleep(fault.again_after_seconds)
            await self._start_again(supervisor, fault.kill)

    async def _start_again(self, supervisor: Supervisor, role: str) -> None:
        """The role with its former settings, whatever it has kept on disk with them."""
        self._gone[role].clear()
        self._killed.discard(role)
        try:
            await supervisor.start(self._specs[role], log_prefix=f"run{self._number}-")
        except RoleFailed as failure:
            if not self._died.done():
                self._died.set_result(f"{role} was not to be started again: {failure}")
            return
        self.emit("role_started", role=role, pid=supervisor.roles()[role])

    async def _episode(self, supervisor: Supervisor, block: Block) -> None:
        censor, watch = supervisor.role("censor"), self._watch
        self._progress(self.now(), f"{block.name}: direct, healthy")
        await asyncio.sleep(block.healthy_seconds + self._random.uniform(0.0, block.jitter_seconds))
        started = self.now()
        await self._begin(censor, block)
        foreign = self._scenario.foreign_censor is not None
        is_over = watch.elsewhere if foreign else watch.recovered
        recovered = await watch.until(lambda: is_over(started, self.now()), block.recover_within_seconds)
        self._progress(self.now(), f"{block.name}: {'recovered' if recovered else 'not recovered'}")
        await asyncio.sleep(max(0.0, started + block.block_seconds - self.now()))
        unblocked = self.now()
        if block.undo is None:
            await censor.call("clear")
        else:
            await censor.call("lift", rule=block.name, command=block.undo)
        self.emit("unblocked", block=block.name)
        self._progress(self.now(), f"{block.name}: unblocked")
        failed_back = await watch.until(lambda: watch.direct(unblocked, self.now()), block.fail_back_within_seconds)
        waited = f"not back on the direct path within {block.fail_back_within_seconds:g} s"
        self._progress(self.now(), f"{block.name}: {'direct again' if failed_back else waited}")
        self.emit("episode_ended", block=block.name, recovered=recovered, failed_back=failed_back)

    async def _begin(self, censor: RoleConnection, block: Block) -> None:
        """Have the censor enforce the block's rules, or run its command."""
        if block.rules is None:
            self.emit("episode_started", block=block.name, rules=[block.name])
            self._progress(self.now(), f"{block.name}: blocked")
            await censor.call("enforce", rule=block.name, command=block.command)
            return
        text = rules_text(self._folder, block.rules, block.name)
        rules = parse_rules(text, origin=block.rules).rules
        names = [rule.name for rule in rules]
        self.emit("episode_started", block=block.name, rules=names, recovery=recovery_of(rules))
        self._progress(self.now(), f"{block.name}: blocked")
        folder = (self._folder / block.rules).parent
        await enforce(censor, self._deployment, text, origin=block.rules, folder=folder)
