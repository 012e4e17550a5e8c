"""The results of `sidedoor bench relay`: every measurement of every round, medians, ratios between medians."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.benchmarks.peers import DIRECT, OURS
from lab.benchmarks.workloads import Metrics

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Contestant:
    """One that was measured. `socks`: a SOCKS5 server; `own`: this project's."""

    name: str
    socks: bool = True
    own: bool = False

    @property
    def is_rival(self) -> bool:
        """A SOCKS5 server of somebody else: what this project's is compared with."""
        return self.socks and not self.own


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer on one workload in one round: metrics, or why there are none. `load_average`: of one minute."""

    round: int
    peer: str
    workload: str
    metrics: Metrics = field(default_factory=dict)
    failure: str | None = None
    load_average: float = 0.0


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `skipped`: peer or workload -> why it was not measured. `machine`: plain data about it."""

    peers: Sequence[Contestant]
    workloads: Sequence[str]
    samples: Sequence[Sample]
    skipped: Mapping[str, str]
    generator: str
    rounds: int
    seconds: float
    machine: Mapping[str, Any] = field(default_factory=dict)

    def values(self, peer: str, workload: str, metric: str) -> list[float]:
        """The metric of each round in which it was measured."""
        return [
            sample.metrics[metric]
            for sample in self.samples
            if sample.peer == peer and sample.workload == workload and metric in sample.metrics
        ]

    def median(self, peer: str, workload: str, metric: str) -> float | None:
        """The median over the rounds; None where there is no value."""
        values = self.values(peer, workload, metric)
        return statistics.median(values) if values else None

    def best_rival(self, workload: str, metric: str, *, lower_is_better: bool = False) -> tuple[str, float] | None:
        """Name and median of the best SOCKS5 server that is not this project's."""
        medians = {
            peer.name: value
            for peer in self.peers
            if peer.is_rival and (value := self.median(peer.name, workload, metric)) is not None
        }
        if not medians:
            return None
        name = (min if lower_is_better else max)(medians, key=medians.__getitem__)
        return name, medians[name]

    def ratio_to_best(self, peer: str, workload: str, metric: str, *, lower_is_better: bool = False) -> float | None:
        """The peer's median over the best rival's."""
        best = self.best_rival(workload, metric, lower_is_better=lower_is_better)
        return _ratio(self.median(peer, workload, metric), best[1] if best else None)

    def ratio_to_direct(self, peer: str, workload: str, metric: str) -> float | None:
        """The peer's median over that without a proxy."""
        return _ratio(self.median(peer, workload, metric), self.median(DIRECT, workload, metric))

    @property
    def failures(self) -> list[Sample]:
        """The measurements that failed."""
        return [sample for sample in self.samples if sample.failure is not None]

    @property
    def others_busy(self) -> float | None:
        """CPU seconds per second of everything else on the machine while this was measured, the median."""
        values = [sample.metrics["others_busy"] for sample in self.samples if "others_busy" in sample.metrics]
        return statistics.median(values) if values else None

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it: all rounds, and the medians with their ratios."""
        return {
            "schema_version": SCHEMA_VERSION,
            "benchmark": "relay",
            "machine": dict(self.machine),
            "generator": self.generator,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "skipped": dict(self.skipped),
            "peers": [{"name": peer.name, "socks": peer.socks, "own": peer.own} for peer in self.peers],
            "medians": [
                self._summary(peer.name, workload)
                for workload in self.workloads
                for peer in self.peers
                if any(sample.peer == peer.name and sample.workload == workload for sample in self.samples)
            ],
            "samples": [
                {
                    "round": sample.round,
                    "peer": sample.peer,
                    "workload": sample.workload,
                    "metrics": sample.metrics,
                    "failure": sample.failure,
                    "load_average": sample.load_average,
                }
                for sample in self.samples
            ],
        }

    def _summary(self, peer: str, workload: str) -> dict[str, Any]:
        mine = [sample for sample in self.samples if sample.peer == peer and sample.workload == workload]
        metrics = dict.fromkeys(metric for sample in mine for metric in sample.metrics)
        return {
            "peer": peer,
            "workload": workload,
            "n": sum(sample.failure is None for sample in mine),
            "n_failed": sum(sample.failure is not None for sample in mine),
            "medians": {metric: self.median(peer, workload, metric) for metric in metrics},
            "ratios_to_direct": {metric: self.ratio_to_direct(peer, workload, metric) for metric in metrics},
            "ratios_to_best": {
                metric: self.ratio_to_best(peer, workload, metric, lower_is_better=is_cost(metric))
                for metric in metrics
            },
        }


def is_cost(metric: str) -> bool:
    """Less of it is better: all but rates and shares of them are."""
    return not metric.endswith(("_per_second", "_share", "flows"))


def own_names(results: Results) -> list[str]:
    """This project's entries, the plain one first."""
    return sorted((peer.name for peer in results.peers if peer.own), key=lambda name: (name != OURS, name))


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
