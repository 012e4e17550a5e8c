"""The results: a cell for each policy in each condition's circumstances, and how `sidedoor` compares. Sans-IO.

Percentiles are Kaplan-Meier's, since runs that never recovered are right-censored; intervals are bootstrapped
(`lab.measurement.distributions`). scipy is imported when first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

import msgspec

from lab.benchmarks.fallback.arms import BASELINES, NO_SPARE, OURS
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.plan import COMPARED, LATENESS_LIMIT_MS, RUNS_FOR_P95
from lab.benchmarks.fallback.records import ControlRecord, Messages, Record
from lab.measurement.distributions import Distribution, Ratio, describe, percentile, ratio_of_medians, upper_bound
from lab.measurement.summary import to_microseconds

SCHEMA_VERSION = 1


class Key(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """What a cell is of."""

    block: str
    policy: str
    rtt_ms: int
    loss: float
    warm: bool
    killed: bool


@dataclass(frozen=True)
class Cell:
    """The runs of one policy in one set of circumstances; `runs` are those that count, `all` the others, too."""

    key: Key
    all: Sequence[Record]

    @cached_property
    def runs(self) -> list[Record]:
        return [record for record in self.all if record.counts(LATENESS_LIMIT_MS)]

    @cached_property
    def ttr(self) -> Distribution:
        return self.distribution("ttr_seconds")

    def distribution(self, metric: str) -> Distribution:
        """Of ttr_seconds, ttd_seconds, tts_seconds: what did not come in the time watched is right-censored."""
        observed, censored = split(self.runs, metric)
        return describe(observed, censored)

    @property
    def p95(self) -> float | None:
        """Of ttr; None of fewer runs than such a claim takes."""
        return self.ttr.p95 if self.ttr.n >= RUNS_FOR_P95 else None

    @property
    def p95_upper(self) -> float | None:
        """The upper end of a 95 % interval of it; None: there is none in the time watched."""
        observed, censored = split(self.runs, "ttr_seconds")
        return upper_bound(observed, censored, 0.95)

    @property
    def diagnosed(self) -> tuple[int, int]:
        """How many runs' diagnosis was right, of how many."""
        return sum(run.diagnosis.kind == run.truth for run in self.runs), len(self.runs)

    def to_json(self) -> dict[str, Any]:
        ttr = self.ttr
        right, of = self.diagnosed
        key: dict[str, Any] = msgspec.to_builtins(self.key)
        return key | {
            "n": ttr.n,
            "n_censored": ttr.n_censored,
            "ttr_seconds": {
                "p50": ttr.p50,
                "p95": self.p95,
                "ci95": ttr.ci95,
                "p95_upper": self.p95_upper,
                "range": ttr.range,
            },
            "ttd_seconds": {"p50": self.distribution("ttd_seconds").p50},
            "tts_seconds": {"p50": self.distribution("tts_seconds").p50},
            "outage_seconds": {"p50": _median(run.outage_seconds for run in self.runs)},
            "messages": msgspec.to_builtins(total(self.all)),
            "cost": {
                "connections_opened": _median(run.cost.connections_opened for run in self.runs),
                "wire_bytes": _median(run.cost.wire_bytes for run in self.runs),
                "proxies_revealed_before": max((run.cost.proxies_revealed_before for run in self.runs), default=None),
                "proxies_revealed": max((run.cost.proxies_revealed for run in self.runs), default=None),
                "false_switches": sum(run.cost.false_switches for run in self.runs),
            },
            "diagnosis": {"right": right, "of": of},
            "n_not_counted": len(self.all) - len(self.runs),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """In one lab: the baseline whose median is the least, and how many times as long as ours that is.

    best: None where no baseline recovered in half of its runs; then `ratio` is what it is at least. cell: ours there.
    """

    block: str
    warm: bool
    rtt_ms: int
    loss: float
    ours: Cell
    baselines: Mapping[str, Cell]
    best: str | None
    ratio: Ratio | None

    def to_json(self) -> dict[str, Any]:
        return {
            "block": self.block,
            "warm": self.warm,
            "rtt_ms": self.rtt_ms,
            "loss": self.loss,
            "best_baseline": self.best,
            "ratio": None if self.ratio is None else msgspec.to_builtins(self.ratio),
        }


@dataclass(frozen=True, slots=True)
class Price:
    """Ours without a spare: how many times as long it takes as with one; None where that is not known."""

    cell: Cell
    ratio: Ratio | None

    def to_json(self) -> dict[str, Any]:
        ratio = None if self.ratio is None else msgspec.to_builtins(self.ratio)
        return {"block": self.cell.key.block, "ttr_p50_seconds": self.cell.ttr.p50, "ratio": ratio}


@dataclass(frozen=True)
class Results:
    """All runs of a bench. `machine`: plain data about it; `failures`: condition -> what went wrong."""

    records: Sequence[Record]
    machine: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    parallel: int = 1
    seconds: float = 0.0
    calibration: Mapping[str, Any] | None = None
    control: Mapping[str, Any] | None = None

    @cached_property
    def cells(self) -> list[Cell]:
        """In the order of block types, then policies as they are known, ours first."""
        order = {name: number for number, name in enumerate(BLOCKS)}
        groups = _grouped(self.records)
        keys = sorted(groups, key=lambda k: (order[k.block], k.killed, not k.warm, k.rtt_ms, k.loss, _rank(k.policy)))
        return [Cell(key, groups[key]) for key in keys]

    def cell(self, block: str, policy: str, *, rtt_ms: int, loss: float, warm: bool) -> Cell | None:
        """The one of these circumstances, without kills."""
        wanted = Key(block=block, policy=policy, rtt_ms=rtt_ms, loss=loss, warm=warm, killed=False)
        return next((cell for cell in self.cells if cell.key == wanted), None)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """One for each lab in which ours stood beside baselines."""
        beside: dict[tuple[str, bool, int, float], list[Record]] = {}
        for record in self.records:
            if record.condition.endswith(COMPARED) and not record.killed:
                beside.setdefault((record.block, record.warm, record.rtt_ms, record.loss), []).append(record)
        order = {name: number for number, name in enumerate(BLOCKS)}
        found = []
        for key in sorted(beside, key=lambda k: (order[k[0]], not k[1], k[2], k[3])):
            cells = {cell_key.policy: Cell(cell_key, runs) for cell_key, runs in _grouped(beside[key]).items()}
            baselines = {name: cells[name] for name in BASELINES if name in cells and cells[name].runs}
            if OURS in cells and cells[OURS].runs and baselines:
                found.append(_compare(key, cells[OURS], baselines))
        return found

    @cached_property
    def no_spare(self) -> list[Price]:
        """What it costs to hold no spare, for each lab in which ours stood beside ours without one."""
        found = []
        for cell in self.cells:
            key = cell.key
            if key.policy == NO_SPARE and cell.runs and not key.killed:
                ours = self.cell(key.block, OURS, rtt_ms=key.rtt_ms, loss=key.loss, warm=key.warm)
                samples = [split(runs, "ttr_seconds") for runs in (cell.runs, ours.runs if ours else [])]
                found.append(Price(cell, ratio_of_medians(*samples)))
        return found

    @cached_property
    def messages(self) -> Messages:
        """Of all runs, those that do not count for times, too: a lost message is one whatever the machine did."""
        return total(self.records)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it; None: not measured, or not to be known from so few runs."""
        return to_microseconds(  # type: ignore[no-any-return]
            {
                "schema_version": SCHEMA_VERSION,
                "benchmark": "fallback",
                "machine": dict(self.machine),
                "seconds": self.seconds,
                "cells": [cell.to_json() for cell in self.cells],
                "comparisons": [comparison.to_json() for comparison in self.comparisons],
                "no_spare": [price.to_json() for price in self.no_spare],
                "messages": msgspec.to_builtins(self.messages),
                "parallel": self.lateness() | {"calibration": self.calibration},
                "control": self.control,
                "failures": dict(self.failures),
            }
        )

    def lateness(self) -> dict[str, Any]:
        """How far the machine kept up: the worst lateness of a timer in each run, and what was repeated for it."""
        hit = [record for record in self.records if record.problem is None]
        worst = [record.lateness_ms.worst for record in hit]
        return {
            "labs": self.parallel,
            "lateness_ms": {f"p{p}": percentile(worst, p) for p in (50, 95, 99)} | {"max": max(worst, default=None)},
            "limit_ms": LATENESS_LIMIT_MS,
            "runs": len(self.records),
            "repeated_for_lateness": sum(record.is_late(LATENESS_LIMIT_MS) for record in hit),
            "repeated_for_other_reasons": len(self.records) - len(hit),
        }


def split(runs: Iterable[Record], metric: str) -> tuple[list[float], list[float]]:
    """What was observed, and the lower bounds of what was not."""
    observed, censored = [], []
    for run in runs:
        value = getattr(run, metric)
        if value is not None:
            observed.append(value)
        else:
            # Where it recovered without ever saying "bad" there was no more to wait for than until then.
            bound = run.ttr_seconds if run.censored_at_seconds is None else run.censored_at_seconds
            censored.append(bound or 0.0)
    return observed, censored


def total(records: Iterable[Record | ControlRecord]) -> Messages:
    """The sums over the runs."""
    fields = Messages.__struct_fields__
    sums = dict.fromkeys(fields, 0)
    for record in records:
        for name in fields:
            sums[name] += getattr(record.messages, name)
    return Messages(**sums)


def _grouped(records: Iterable[Record]) -> dict[Key, list[Record]]:
    groups: dict[Key, list[Record]] = {}
    for record in records:
        key = Key(
            block=record.block,
            policy=record.policy,
            rtt_ms=record.rtt_ms,
            loss=record.loss,
            warm=record.warm,
            killed=record.killed,
        )
        groups.setdefault(key, []).append(record)
    return groups


def _compare(key: tuple[str, bool, int, float], ours: Cell, baselines: Mapping[str, Cell]) -> Comparison:
    medians = {name: cell.ttr.p50 for name, cell in baselines.items() if cell.ttr.p50 is not None}
    best = min(medians, key=medians.__getitem__) if medians else None
    # Where none reached its median, the one that was watched for longest says the most.
    other = best or max(baselines, key=lambda name: max(split(baselines[name].runs, "ttr_seconds")[1], default=0.0))
    ratio = ratio_of_medians(split(baselines[other].runs, "ttr_seconds"), split(ours.runs, "ttr_seconds"))
    block, warm, rtt_ms, loss = key
    return Comparison(block, warm, rtt_ms, loss, ours, baselines, best, ratio)


def _rank(policy: str) -> tuple[int, str]:
    known = (OURS, *BASELINES)
    return (known.index(policy) if policy in known else len(known), policy)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
