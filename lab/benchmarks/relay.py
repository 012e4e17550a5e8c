"""`sidedoor bench relay`: relay throughput beside the other proxies on this machine, and no proxy at all.

Rounds are interleaved: each measures every workload with every peer once before the next begins, so that a change in
the machine's mood hits all of them. What is compared are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks import generator
from lab.benchmarks.generator import BenchError, Generator, Measurement
from lab.benchmarks.peers import DIRECT, OURS, PEERS, Running, start
from sidedoor.settings import UsageError


@dataclass(frozen=True, slots=True)
class Workload:
    """What the clients do, and what the figure is."""

    name: str
    mode: str
    connections: int
    unit: str
    value: Callable[[Measurement], float]


WORKLOADS = (
    Workload("bulk-down-1", "d", 1, "MB/s", lambda m: m.bytes / m.seconds / 1e6),
    Workload("bulk-down-8", "d", 8, "MB/s", lambda m: m.bytes / m.seconds / 1e6),
    Workload("bulk-up-1", "u", 1, "MB/s", lambda m: m.bytes / m.seconds / 1e6),
    Workload("ping-64", "p", 64, "messages/s", lambda m: m.messages / m.seconds),
    Workload("connects-32", "c", 32, "connects/s", lambda m: m.connects / m.seconds),
)
NAMES = (DIRECT, *(peer.name for peer in PEERS), *(workload.name for workload in WORKLOADS))


@dataclass(frozen=True, slots=True)
class Figure:
    """One peer on one workload: the value of each round, and for bulk the proxy's CPU seconds per GB."""

    peer: str
    workload: str
    unit: str
    values: list[float]
    cpu_seconds_per_gb: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def median_cpu(self) -> float | None:
        return statistics.median(self.cpu_seconds_per_gb) if self.cpu_seconds_per_gb else None


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `skipped`: peer, or "peer in workload" -> why. Another proxy's failure does not end a run."""

    figures: list[Figure]
    skipped: dict[str, str]
    generator: str
    rounds: int
    seconds: float

    def figure(self, peer: str, workload: str) -> Figure | None:
        return next((f for f in self.figures if (f.peer, f.workload) == (peer, workload)), None)

    def ratio_to_direct(self, figure: Figure) -> float | None:
        """The figure's median over that without a proxy."""
        direct = self.figure(DIRECT, figure.workload)
        return figure.median / direct.median if direct and direct.median else None

    def ratio_to_best_other(self, figure: Figure) -> float | None:
        """The figure's median over the best of the other proxies."""
        if figure.peer == DIRECT:
            return None
        others = (f for f in self.figures if f.workload == figure.workload and f.peer not in (DIRECT, figure.peer))
        best = max((other.median for other in others), default=0.0)
        return figure.median / best if best else None

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it."""
        return {
            "schema_version": 1,
            "benchmark": "relay",
            "machine": {
                "system": platform.system(),
                "release": platform.release(),
                "processor": platform.machine(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
            },
            "generator": self.generator,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "figures": [
                {
                    "peer": figure.peer,
                    "workload": figure.workload,
                    "unit": figure.unit,
                    "values": figure.values,
                    "median": figure.median,
                    "ratio_to_direct": self.ratio_to_direct(figure),
                    "ratio_to_best_other": self.ratio_to_best_other(figure),
                    "cpu_seconds_per_gb": figure.median_cpu,
                }
                for figure in self.figures
            ],
        }


def select(only: Collection[str]) -> tuple[set[str], set[Workload]]:
    """The peers and the workloads that `only` names; where it names none of a kind, all of them. Raises UsageError."""
    for name in only:
        if name not in NAMES:
            raise UsageError(f"--only: no peer or workload is called {name!r}; there are {', '.join(NAMES)}")
    peers = {name for name in (DIRECT, *(peer.name for peer in PEERS)) if name in only}
    workloads = {workload for workload in WORKLOADS if workload.name in only}
    return peers or {DIRECT, *(peer.name for peer in PEERS)}, workloads or set(WORKLOADS)


def run(
    *, rounds: int, seconds: float, only: Collection[str] = (), progress: Callable[[str], object] = lambda text: None
) -> Results:
    """Measure. `seconds` is the length of one measurement. Raises BenchError, UsageError."""
    names, workloads = select(only)
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidedoor-bench-")))
        load = generator.make(folder)
        target_port = stack.enter_context(load.target())
        running = {DIRECT: Running(0, 0)} if DIRECT in names else {}
        for peer in PEERS:
            if peer.name not in names:
                continue
            if peer.find() is None:
                skipped[peer.name] = f"{peer.program} is not installed (apt-get install {peer.package})"
                continue
            try:
                running[peer.name] = stack.enter_context(start(peer, folder))
            except BenchError as error:
                skipped[peer.name] = str(error)
        figures = {
            (name, w.name): Figure(name, w.name, w.unit, [], [])
            for w in WORKLOADS
            if w in workloads
            for name in running
        }
        for round_ in range(rounds):
            for workload in WORKLOADS:
                if workload not in workloads:
                    continue
                for name, server in running.items():
                    progress(f"round {round_ + 1} of {rounds}: {workload.name}, {name}")
                    figure = figures[name, workload.name]
                    try:
                        _measure(load, workload, server, target_port, seconds, figure)
                    except BenchError as error:
                        if name in (DIRECT, OURS):
                            raise
                        skipped[f"{name} in {workload.name}"] = str(error)
    return Results([figure for figure in figures.values() if figure.values], skipped, load.kind, rounds, seconds)


def _measure(
    load: Generator, workload: Workload, server: Running, target_port: int, seconds: float, figure: Figure
) -> None:
    measurement = load.load(
        workload.mode,
        proxy_port=server.port,
        target_port=target_port,
        connections=workload.connections,
        seconds=seconds,
        cpu_seconds=server.cpu_seconds,
    )
    figure.values.append(workload.value(measurement))
    if workload.unit == "MB/s" and server.pid and measurement.bytes:
        figure.cpu_seconds_per_gb.append(measurement.cpu_seconds / (measurement.bytes / 1e9))
