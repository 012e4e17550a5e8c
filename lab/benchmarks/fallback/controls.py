"""The results of the labs that are there for the others' sake: those without a block, and the calibration. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from lab.benchmarks.fallback.arms import DIRECT_ONLY, OURS
from lab.benchmarks.fallback.plan import LATENESS_LIMIT_MS
from lab.benchmarks.fallback.records import ControlRecord, Record
from lab.benchmarks.fallback.results import split, total
from lab.measurement.distributions import describe, percentile, ratio_of_medians


def control(records: Sequence[ControlRecord]) -> dict[str, Any] | None:
    """What happened without a block; the figures of `sidedoor`, and each policy's. None where nothing was measured.

    client_hours, false_switches, standby_connections (the most at once), bytes_ratio: bytes per second over those of a
    client without proxies, medians of the runs.
    """
    runs = [record for record in records if record.problem is None]
    if not runs:
        return None
    policies = {name: _policy([r for r in runs if r.policy == name]) for name in sorted({r.policy for r in runs})}
    nothing = _policy([])
    ours, alone = policies.get(OURS, nothing), policies.get(DIRECT_ONLY, nothing)
    rates = [each["bytes_per_second"] for each in (ours, alone)]
    return {
        "client_hours": ours["client_hours"],
        "false_switches": ours["false_switches"],
        "standby_connections": ours["standby_connections"],
        "bytes_ratio": rates[0] / rates[1] if rates[0] and rates[1] else None,
        "lateness_ms": {f"p{p}": percentile([run.lateness_ms for run in runs], p) for p in (50, 95)},
        "not_counted": len(records) - len(runs),
        "policies": policies,
    }


def _policy(runs: Sequence[ControlRecord]) -> dict[str, Any]:
    rates = [run.wire_bytes / run.seconds for run in runs if run.wire_bytes is not None and run.seconds]
    return {
        "runs": len(runs),
        "client_hours": sum(run.seconds for run in runs) / 3600,
        "false_switches": sum(run.false_switches for run in runs),
        "path_bad": sum(run.path_bad for run in runs),
        "connections_opened": sum(run.connections_opened for run in runs),
        "standby_connections": max((run.standby_connections for run in runs), default=None),
        "proxies_revealed": max((run.proxies_revealed for run in runs), default=None),
        "bytes_per_second": median(rates) if rates else None,
        "messages": msgspec.to_builtins(total(runs)),
    }


def calibration(alone: Sequence[Record], among: Sequence[Record], labs: int) -> dict[str, Any] | None:
    """The same lab by itself and as one of `labs`: ttr, and the ratio of its medians. None: one was not measured."""
    counted = [[run for run in runs if run.counts(LATENESS_LIMIT_MS)] for runs in (alone, among)]
    if not all(counted):
        return None
    samples = [split(runs, "ttr_seconds") for runs in counted]
    ratio = ratio_of_medians(samples[1], samples[0])
    named = zip(("alone", "among"), counted, samples, (alone, among), strict=True)
    return {"labs": labs, "ratio": None if ratio is None else msgspec.to_builtins(ratio)} | {
        name: {
            "n": len(runs),
            "ttr_seconds": msgspec.to_builtins(describe(*sample)),
            "lateness_ms": {f"p{p}": percentile([run.lateness_ms.worst for run in every], p) for p in (50, 95, 99)},
            "repeated": len(every) - len(runs),
        }
        for name, runs, sample, every in named
    }
