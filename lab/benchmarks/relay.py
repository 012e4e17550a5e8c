"""`sidedoor bench relay`: the relay beside the other proxies on this machine, and no proxy at all.

Rounds are interleaved: each measures every workload with every peer once before the next begins, another peer first
each time, so that a change in the machine's mood hits all of them. What is compared are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lab.benchmarks import generator, iperf
from lab.benchmarks.peers import DIRECT, Peer, Running, choose, start
from lab.benchmarks.processes import BenchError, raise_descriptor_limit
from lab.benchmarks.results import Contestant, Results, Sample
from lab.benchmarks.workloads import QUICK, WORKLOADS, Metrics, Stage, Workload, idle_flows
from sidedoor.settings import UsageError

MOST_FAILURES = 2
"""A peer that fails so often in one workload is not tried in it again: that takes too long."""
GROUPS = tuple(dict.fromkeys(workload.group for workload in WORKLOADS))
NAMES = tuple(
    dict.fromkeys((DIRECT, *(peer.name for peer in choose((), 2)), *GROUPS, *(workload.name for workload in WORKLOADS)))
)
"""What --only takes, with two workers and without --peer."""
_START_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, and what cannot be. `direct`: without a proxy, too."""

    direct: bool
    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    skipped: dict[str, str]
    rounds: int
    seconds: float

    @property
    def contestants(self) -> list[Contestant]:
        direct = [Contestant(DIRECT, socks=False)] if self.direct else []
        return direct + [Contestant(peer.name, peer.socks, peer.own) for peer in self.peers]

    @property
    def estimated_seconds(self) -> float:
        """How long it will take, if no peer hangs."""
        one_round = sum(
            workload.estimate(self.seconds) * sum(_fits(workload, contestant) for contestant in self.contestants)
            for workload in self.workloads
        )
        return self.rounds * one_round + len(self.peers) * _START_SECONDS + 1


def plan(
    *,
    rounds: int,
    seconds: float,
    only: Collection[str] = (),
    quick: bool = False,
    peers: Sequence[Peer] = (),
    workers: int = 2,
) -> Plan:
    """Choose. `only` names peers, groups or workloads; where it names none of a kind, all of them (of the quick ones
    with `quick`) are taken. `peers`: those of --peer. Raises UsageError.
    """
    everybody = choose(peers, workers)
    workloads = _workloads(only, quick)
    names = {DIRECT, *(peer.name for peer in everybody)}
    known = names | {*GROUPS, *(workload.name for workload in WORKLOADS)}
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            raise UsageError(f"--only: no peer or workload is called {name!r}; {hint}")
    wanted = names.intersection(only) or names
    reasons = {peer.name: peer.missing() for peer in everybody if peer.name in wanted}
    skipped = {name: f"{reason}" for name, reason in reasons.items() if reason}
    if (reason := iperf.missing()) and any(workload.group == "iperf3" for workload in workloads):
        skipped["iperf3"] = reason
        workloads = [workload for workload in workloads if workload.group != "iperf3"]
    chosen = [peer for peer in everybody if peer.name in wanted and peer.name not in skipped]
    return Plan(DIRECT in wanted, chosen, workloads, skipped, rounds, seconds)


def _workloads(only: Collection[str], quick: bool) -> list[Workload]:
    named = [workload for workload in WORKLOADS if workload.name in only or workload.group in only]
    return named or [workload for workload in WORKLOADS if not quick or workload.name in QUICK]


def _fits(workload: Workload, contestant: Contestant) -> bool:
    return workload.fixed or contestant.socks or contestant.name == DIRECT


class Fleet:
    """The running peers; one that died is started anew."""

    def __init__(self, peers: Sequence[Peer], target_port: int, folder: Path) -> None:
        self._peers = {peer.name: peer for peer in peers}
        self._target_port, self._folder = target_port, folder
        self._running: dict[str, tuple[Running, contextlib.ExitStack]] = {}

    def server(self, name: str) -> Running:
        """The running peer of that name. Raises BenchError."""
        if name == DIRECT:
            return Running(0)
        if name in self._running:
            server, stack = self._running[name]
            if server.alive:
                return server
            del self._running[name]
            stack.close()
        stack = contextlib.ExitStack()
        server = stack.enter_context(start(self._peers[name], self._target_port, self._folder))
        self._running[name] = server, stack
        return server

    @contextlib.contextmanager
    def fresh(self, name: str) -> Iterator[Running]:
        """Another instance of the peer. Raises BenchError."""
        if name == DIRECT:
            yield Running(0)
        else:
            with start(self._peers[name], self._target_port, self._folder) as server:
                yield server

    def close(self) -> None:
        """End them all."""
        for _, stack in self._running.values():
            stack.close()
        self._running.clear()


def run(chosen: Plan, progress: Callable[[str], object] = lambda text: None) -> Results:
    """Measure. Another proxy's failure is part of the results. Raises BenchError when the load generator fails."""
    limit = raise_descriptor_limit()
    load_averages = os.getloadavg()
    samples: list[Sample] = []
    started = time.time()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidedoor-bench-")))
        load = generator.make(folder)
        target, chat_target = stack.enter_context(load.target()), stack.enter_context(load.target())
        fleet = Fleet(chosen.peers, target.port, folder)
        stack.callback(fleet.close)
        contestants, skipped = [], dict(chosen.skipped)
        for contestant in chosen.contestants:
            progress(f"starting {contestant.name}")
            try:
                fleet.server(contestant.name)
                contestants.append(contestant)
            except BenchError as error:
                skipped[contestant.name] = str(error)
        failures: Counter[tuple[str, str]] = Counter()
        for number, workload, name in _order(chosen, contestants):
            if failures[name, workload.name] >= MOST_FAILURES:
                continue
            progress(f"round {number + 1} of {chosen.rounds}: {workload.name}, {name}")
            fresh = _fresh(fleet, name)
            stage = Stage(load, target, chat_target, chosen.seconds, idle_flows(limit), folder, fresh)
            sample = _measure(stage, fleet, workload, name, number)
            samples.append(sample)
            failures[name, workload.name] += sample.failure is not None
    workloads = [workload.name for workload in chosen.workloads]
    machine = _machine(limit) | {
        "load_averages_before": load_averages,
        "started_unix_seconds": round(started),
        "took_seconds": round(time.time() - started),
    }
    return Results(contestants, workloads, samples, skipped, load.kind, chosen.rounds, chosen.seconds, machine)


def _fresh(fleet: Fleet, name: str) -> Callable[[], contextlib.AbstractContextManager[Running]]:
    return lambda: fleet.fresh(name)


def _order(chosen: Plan, contestants: Sequence[Contestant]) -> Iterator[tuple[int, Workload, str]]:
    for number in range(chosen.rounds):
        for workload in chosen.workloads:
            fitting = [contestant.name for contestant in contestants if _fits(workload, contestant)]
            first = number % max(1, len(fitting))
            for name in fitting[first:] + fitting[:first]:
                yield number, workload, name


def _measure(stage: Stage, fleet: Fleet, workload: Workload, name: str, number: int) -> Sample:
    metrics: Metrics = {}
    failure = None
    load_average = os.getloadavg()[0]
    try:
        metrics = workload.measure(stage, fleet.server(name))
    except BenchError as error:
        failure = str(error)
    return Sample(number + 1, name, workload.name, metrics, failure, round(load_average, 2))


def _machine(descriptor_limit: int) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "user": getpass.getuser(),
        "root": os.geteuid() == 0,
        "descriptor_limit": descriptor_limit,
    }
