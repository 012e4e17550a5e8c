"""The results of `sidedoor bench censor`: every sample of every round, medians, ratios to plain routing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lab.benchmarks.censor.subjects import EVERY_PACKET, FLOOD, PLAIN, RACES, REGISTRY

LISTS = "lists"
"""Stands for the subject and the measurement of the block lists, which are measured without a network."""

SCHEMA_VERSION = 1
_BULK = {"iperf3": "iperf3", "tls": "tls"}


class Sample(msgspec.Struct, frozen=True):
    """One subject in one measurement of one round: metrics, or why there are none."""

    round: int
    subject: str
    measurement: str
    metrics: dict[str, float] = {}
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `profiles`: the measured subjects but plain routing and the one that is given every packet."""

    profiles: Sequence[str]
    samples: Sequence[Sample]
    skipped: Mapping[str, str]
    rounds: int
    seconds: float
    machine: Mapping[str, Any] = field(default_factory=dict)

    def values(self, subject: str, measurement: str, metric: str) -> dict[int, float]:
        """The metric by round, of those in which it was measured."""
        return {
            sample.round: sample.metrics[metric]
            for sample in self.samples
            if (sample.subject, sample.measurement) == (subject, measurement) and metric in sample.metrics
        }

    def median(self, subject: str, measurement: str, metric: str) -> float | None:
        """The median over the rounds; None where there is no value."""
        values = self.values(subject, measurement, metric)
        return statistics.median(values.values()) if values else None

    def ratio(self, subject: str, measurement: str, metric: str) -> float | None:
        """The median of the ratios to plain routing, each to that of the same round."""
        return self._beside_plain(subject, measurement, metric, lambda value, plain: value / plain)

    def added(self, subject: str, measurement: str, metric: str) -> float | None:
        """The median of what comes on top of plain routing in the same round."""
        return self._beside_plain(subject, measurement, metric, lambda value, plain: value - plain)

    def _beside_plain(
        self, subject: str, measurement: str, metric: str, compare: Callable[[float, float], float]
    ) -> float | None:
        plain = self.values(PLAIN, measurement, metric)
        values = self.values(subject, measurement, metric)
        compared = [compare(value, plain[round_]) for round_, value in values.items() if plain.get(round_)]
        return statistics.median(compared) if compared else None

    def throughput_ratio(self, subject: str) -> float | None:
        """The lower one of the ratios of iperf3 and of the flow with a ClientHello."""
        ratios = [self.ratio(subject, measurement, "gigabits_per_second") for measurement in _BULK]
        return min((ratio for ratio in ratios if ratio is not None), default=None)

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
        """Plain data, as `--json` writes it; None: not measured."""
        return {
            "schema_version": SCHEMA_VERSION,
            "benchmark": "censor",
            "machine": dict(self.machine),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "skipped": dict(self.skipped),
            "others_busy": self.others_busy,
            "plain": self._figures(PLAIN),
            "profiles": {name: self._figures(name) | self._compared(name) for name in self.profiles},
            "full_inspection": self._full_inspection(),
            "races": {kind: self._medians(RACES, f"{kind}-race") for kind in ("dns", "rst")},
            "flood": self._medians(FLOOD, "many-flows"),
            LISTS: self._medians(LISTS, LISTS) | {"under_traffic": self._medians(REGISTRY, "reload")},
            "samples": msgspec.to_builtins(self.samples),
        }

    def _medians(self, subject: str, measurement: str) -> dict[str, float | None]:
        """Of all that was measured; empty where nothing was."""
        metrics = dict.fromkeys(
            metric
            for sample in self.samples
            if (sample.subject, sample.measurement) == (subject, measurement)
            for metric in sample.metrics
        )
        return {metric: self.median(subject, measurement, metric) for metric in metrics}

    def _figures(self, name: str) -> dict[str, Any]:
        bulk = {shown: self.median(name, one, "gigabits_per_second") for one, shown in _BULK.items()}
        return {
            "gigabits_per_second": bulk,
            "new_flows_per_second": self.median(name, "new-flows", "flows_per_second"),
            "generator_busy": self.median(name, "new-flows", "generator_busy"),
            "latency_ms": {p: self.median(name, "first-byte", f"{p}_ms") for p in ("p50", "p99")},
        }

    def _compared(self, name: str) -> dict[str, Any]:
        return {
            "throughput_ratio": self.throughput_ratio(name),
            "throughput_ratios": {shown: self.ratio(name, one, "gigabits_per_second") for one, shown in _BULK.items()},
            "new_flows_ratio": self.ratio(name, "new-flows", "flows_per_second"),
            "added_latency_ms": {p: self.added(name, "first-byte", f"{p}_ms") for p in ("p50", "p99")},
            "censor_busy": self.median(name, "new-flows", "censor_busy"),
            "queued_packets_per_second": self.median(name, "new-flows", "queued_packets_per_second"),
            "cpu_seconds_per_1000_flows": self.median(name, "new-flows", "cpu_seconds_per_1000_flows"),
            "cpu_seconds_per_gb": self.median(name, "tls", "cpu_seconds_per_gb"),
            "pss_bytes": self.median(name, "process", "pss_bytes"),
            "packets_missed": sum(self.values(name, "process", "packets_missed").values()),
        }

    def _full_inspection(self) -> dict[str, Any]:
        return {
            shown: {
                metric: self.median(EVERY_PACKET, measurement, metric)
                for metric in ("gigabits_per_second", "queued_packets_per_second", "censor_busy", "cpu_seconds_per_gb")
            }
            | {
                "throughput_ratio": self.ratio(EVERY_PACKET, measurement, "gigabits_per_second"),
                "plain_gigabits_per_second": self.median(PLAIN, measurement, "gigabits_per_second"),
            }
            for shown, measurement in (("gso", "tls"), ("single_segments", "single-segments"))
        }
