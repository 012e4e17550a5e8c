"""summary.json: its types, one run's result, and the metrics over all runs of a scenario.

Written with `encode`, read with `decode`; `schema_version` counts incompatible changes. Times are seconds; `t0` and
`t0_rule` count from the run's start, whose moment on both clocks is `clock` (a capture's time t is since
`clock.realtime`). Values that were not observed are null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from lab.measurement.accounts import Collateral, Cost, Messages, count_collateral, count_cost, count_messages
from lab.measurement.distributions import Distribution, describe
from lab.measurement.episodes import Block, Event, measure_blocks
from lab.measurement.leaks import Leaks

SCHEMA_VERSION = 1

METRICS = ("ttd_seconds", "tts_seconds", "ttr_seconds", "outage_seconds", "failback_seconds")


Outcome = Literal["completed", "role_died", "timed_out", "interrupted", "failed"]


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """CLOCK_MONOTONIC and CLOCK_REALTIME at the run's start, sampled together, in seconds."""

    monotonic: float
    realtime: float


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """A role that the scenario killed ([[fault]]), and when: seconds since run start."""

    role: str
    at_seconds: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the scenario. `problems`: what went wrong outside of the measurement, e.g. a role that died.

    `outcome`: anything but "completed" was cut short, at `ended_seconds` since run start; its figures are what there
    was until then. `lost` messages of such a run were perhaps only under way.
    """

    seed: int
    clock: Clock
    outcome: Outcome = "completed"
    ended_seconds: float | None = None
    faults: list[Killed] = []
    blocks: list[Block] = []
    messages: Messages = Messages()
    cost: Cost = Cost()
    collateral: Collateral = Collateral()
    leaks: Leaks = Leaks()
    problems: list[str] = []
    folder: str = "."  # of the run's events and captures, relative to summary.json


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All of summary.json. `clock` is the first run's; `leaks`, `collateral` and `cost` are sums over the runs."""

    schema_version: int = SCHEMA_VERSION
    scenario: str
    runtime: str
    seed: int
    clock: Clock | None = None
    runs: list[Run] = []
    metrics: dict[str, dict[str, Distribution]] = {}
    leaks: Leaks = Leaks()
    collateral: Collateral = Collateral()
    cost: Cost = Cost()


def measure_run(
    events: Iterable[Mapping[str, Any]],
    *,
    seed: int,
    clock: Clock,
    client_addresses: Iterable[str],
    leaks: Leaks | None = None,
    folder: str = ".",
) -> Run:
    """One run's result from its events (`t` since run start) and from what its captures said about leaks."""
    log: Sequence[Event] = sorted(events, key=lambda event: float(event["t"]))
    leaks = leaks or Leaks()
    deaths = [_death(event["role"], event["status"]) for event in log if event["event"] == "role_died"]
    missed = sum(int(e["count"]) for e in log if e["event"] == "packets_missed")
    return Run(
        seed=seed,
        clock=clock,
        faults=[Killed(role=e["role"], at_seconds=e["t"]) for e in log if e["event"] == "fault_injected"],
        blocks=measure_blocks(log, client_addresses, monotonic_at_start=clock.monotonic),
        messages=count_messages(log),
        cost=count_cost(log, probe_bytes=leaks.probe_bytes),
        collateral=count_collateral(log),
        leaks=leaks,
        problems=deaths + ([f"the censor did not see {missed} packets"] if missed else []),
        folder=folder,
    )


def summarize(runs: Sequence[Run], *, scenario: str, runtime: str, seed: int) -> Summary:
    """The whole scenario's result. Imports scipy when there is a block to describe."""
    blocks: dict[str, list[Block]] = {}
    for run in runs:
        for block in run.blocks:
            blocks.setdefault(block.name, []).append(block)
    return Summary(
        scenario=scenario,
        runtime=runtime,
        seed=seed,
        clock=runs[0].clock if runs else None,
        runs=list(runs),
        metrics={name: {metric: _metric(of_name, metric) for metric in METRICS} for name, of_name in blocks.items()},
        leaks=_sum_leaks([run.leaks for run in runs]),
        collateral=Collateral(
            tried=sum(run.collateral.tried for run in runs),
            broken=sum(run.collateral.broken for run in runs),
            slowed=sum(run.collateral.slowed for run in runs),
        ),
        cost=Cost(
            probe_bytes=_sum_known(run.cost.probe_bytes for run in runs),
            connections_opened=sum(run.cost.connections_opened for run in runs),
            proxies_revealed=max((run.cost.proxies_revealed for run in runs), default=0),
            false_switches=sum(run.cost.false_switches for run in runs),
        ),
    )


def _death(role: str, status: int) -> str:
    """A role's end that nobody asked for, in words; `status` as of subprocess: minus the signal's number."""
    return f"{role} was killed by signal {-status}" if status < 0 else f"{role} ended by itself with status {status}"


def _metric(blocks: Sequence[Block], metric: str) -> Distribution:
    """One metric of one block over the runs; what was not seen to happen counts as censored, not as absent."""
    observed, censored = [], []
    for block in blocks:
        value = getattr(block, metric)
        bound = block.failback_censored_at_seconds if metric == "failback_seconds" else block.censored_at_seconds
        if value is not None:
            observed.append(value)
        elif bound is not None:
            censored.append(bound)
    return describe(observed, censored)


def _sum_known(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _sum_leaks(leaks: Sequence[Leaks]) -> Leaks:
    return Leaks(
        packets=_sum_known(leak.packets for leak in leaks),
        reset_answers=_sum_known(leak.reset_answers for leak in leaks),
        plaintext=_sum_known(leak.plaintext for leak in leaks),
        examples=[example for leak in leaks for example in leak.examples],
        probe_bytes=_sum_known(leak.probe_bytes for leak in leaks),
        capture_dropped=_sum_known(leak.capture_dropped for leak in leaks),
    )


def encode(summary: Summary) -> bytes:
    """summary.json, indented for people, times to the microsecond, with a final line feed."""
    return msgspec.json.format(msgspec.json.encode(to_microseconds(msgspec.to_builtins(summary))), indent=2) + b"\n"


def to_microseconds(value: Any) -> Any:
    """Plain data with every float rounded to six decimals: nothing here is measured more finely."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: to_microseconds(item) for key, item in value.items()}
    return [to_microseconds(item) for item in value] if isinstance(value, list | tuple) else value


def decode(data: bytes) -> Summary:
    """Raises msgspec.ValidationError for what is not a summary of this schema."""
    return msgspec.json.decode(data, type=Summary)
