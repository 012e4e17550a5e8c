"""What is asked of `sidedoor`, and whether the results show it: one outcome for each line and block type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.benchmarks.fallback.arms import OURS
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.plan import REFERENCE
from lab.benchmarks.fallback.results import Cell, Comparison, Results

TIMES_AS_FAST = 5.0
P95_SECONDS = 2.0
OVER_BOUND_SECONDS = 0.05
MESSAGES_AT_LEAST = 100_000
DIAGNOSED_SHARE = 0.95
CLIENT_HOURS = 3.0
BYTES_RATIO = 1.10
STANDBY_CONNECTIONS = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One goal. asked, measured: in words; held: None where it was not measured, or not often enough to say."""

    goal: str
    where: str
    asked: str
    measured: str
    held: bool | None


def outcomes(results: Results) -> Iterator[Outcome]:
    """All goals, in the order of the issue."""
    for comparison in results.comparisons:
        yield from _silent(comparison) if _is_silent_warm(comparison) else _others(comparison)
        yield _recovers(comparison)
    for cell in results.cells:
        yield from _p95(cell)
        yield from _bound(cell)
    yield from _messages(results)
    yield from _diagnosis(results)
    yield from _revealed(results)
    yield from _control(results)


def bound_seconds(block: str, rtt_seconds: float) -> float:
    """One RTT on the path that was hit and one on the spare: through a proxy, each packet passes the wan twice."""
    on_path = 1 if BLOCKS[block].aim == "direct" else 2
    return (on_path + 2) * rtt_seconds


def _is_silent_warm(comparison: Comparison) -> bool:
    return comparison.warm and not BLOCKS[comparison.block].signalled


def _where(block: str, warm: bool, rtt_ms: int, loss: float) -> str:
    return f"{block}, {'warm' if warm else 'cold'}, {rtt_ms} ms, {100 * loss:g} %"


def _of(comparison: Comparison) -> str:
    return _where(comparison.block, comparison.warm, comparison.rtt_ms, comparison.loss)


def _silent(comparison: Comparison) -> Iterator[Outcome]:
    ratio = comparison.ratio
    held = None if ratio is None else ratio.value >= TIMES_AS_FAST
    yield Outcome(
        "p50 of ttr: times as fast as the best baseline",
        _of(comparison),
        f">= {TIMES_AS_FAST:g}",
        _times(comparison),
        held,
    )


def _others(comparison: Comparison) -> Iterator[Outcome]:
    """Slower is what the interval of the ratio says: medians of equal policies differ by chance."""
    ratio = comparison.ratio
    held = None if ratio is None else (ratio.value if ratio.ci95 is None else ratio.ci95[1]) >= 1.0
    yield Outcome("never slower than any baseline", _of(comparison), ">= 1 x", _times(comparison), held)


def _times(comparison: Comparison) -> str:
    ratio = comparison.ratio
    if ratio is None:
        return "not recovered in the time watched"
    interval = "" if ratio.ci95 is None else f" ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f})"
    rival = comparison.best or "no baseline recovered"
    return f"{'>= ' if ratio.at_least else ''}{ratio.value:.2f}{interval}, {rival}"


def _recovers(comparison: Comparison) -> Outcome:
    able = [name for name, cell in comparison.baselines.items() if cell.ttr.n > cell.ttr.n_censored]
    ours = comparison.ours.ttr
    measured = f"{ours.n - ours.n_censored} of {ours.n}; baselines that did: {', '.join(able) or 'none'}"
    held = ours.n_censored == 0 if able else True
    return Outcome("recovers wherever a baseline does", _of(comparison), "always", measured, held)


def _p95(cell: Cell) -> Iterator[Outcome]:
    key = cell.key
    silent = not BLOCKS[key.block].signalled
    if not (key.policy == OURS and key.warm and silent and key.rtt_ms == REFERENCE[0]) or key.killed:
        return
    measured = f"{_seconds(cell.p95)} (n = {cell.ttr.n}; 95 % upper bound {_seconds(cell.p95_upper)})"
    enough = cell.p95 is not None
    held = cell.p95 is not None and cell.p95 <= P95_SECONDS if enough or cell.ttr.n_censored else None
    where = _where(key.block, key.warm, key.rtt_ms, key.loss)
    yield Outcome("p95 of ttr", where, f"<= {P95_SECONDS:g} s", measured, held)


def _bound(cell: Cell) -> Iterator[Outcome]:
    key = cell.key
    if not (key.policy == OURS and key.warm and BLOCKS[key.block].signalled and key.loss == 0) or key.killed:
        return
    limit = bound_seconds(key.block, key.rtt_ms / 1000) + OVER_BOUND_SECONDS
    p50 = cell.ttr.p50
    where = _where(key.block, key.warm, key.rtt_ms, key.loss)
    held = None if not cell.runs else p50 is not None and p50 <= limit
    yield Outcome("p50 of ttr: 1 RTT + 1 RTT on the spare + 50 ms", where, f"<= {limit:.3f} s", _seconds(p50), held)


def _messages(results: Results) -> Iterator[Outcome]:
    messages = results.messages
    killed = sum(record.killed for record in results.records)
    enough = True if messages.sent >= MESSAGES_AT_LEAST else None
    where = f"all runs, {killed} of them with SIGKILL"
    yield Outcome("messages", where, f">= {MESSAGES_AT_LEAST:,}", f"{messages.sent:,}", enough)
    yield Outcome("lost", where, "0", f"{messages.lost:,}", messages.lost == 0)
    shown = messages.duplicated_application
    yield Outcome("shown twice", where, "0", f"{shown:,}", shown == 0)


def _diagnosis(results: Results) -> Iterator[Outcome]:
    counts = [cell.diagnosed for cell in results.cells if cell.key.policy == OURS and not cell.key.killed]
    right, of = (sum(count[index] for count in counts) for index in (0, 1))
    share = right / of if of else None
    measured = "" if share is None else f"{share:.1%} ({right} of {of})"
    held = None if share is None else share >= DIAGNOSED_SHARE
    yield Outcome("diagnosis right", "all of sidedoor's runs", f">= {DIAGNOSED_SHARE:.0%}", measured, held)


def _revealed(results: Results) -> Iterator[Outcome]:
    for policy, limit in ((OURS, 1), ("sidedoor-no-spare", 0)):
        runs = [
            record
            for cell in results.cells
            if cell.key.policy == policy and cell.key.warm and BLOCKS[cell.key.block].aim == "direct"
            for record in cell.runs
        ]
        most = max((run.cost.proxies_revealed_before for run in runs), default=None)
        held = None if most is None else most <= limit
        yield Outcome("proxies revealed before a block", policy, f"<= {limit}", "" if most is None else str(most), held)


def _control(results: Results) -> Iterator[Outcome]:
    control: dict[str, Any] = dict(results.control or {})
    if not control:
        return
    hours, switches = control["client_hours"], control["false_switches"]
    held = switches == 0 if hours >= CLIENT_HOURS or switches else None
    yield Outcome(
        "false switches", f"no censor, {hours:.2f} client-hours", f"0 in {CLIENT_HOURS:g} h", str(switches), held
    )
    ratio = control["bytes_ratio"]
    measured = "" if ratio is None else f"{ratio:.3f}"
    yield Outcome(
        "bytes of direct alone",
        "no censor",
        f"<= {BYTES_RATIO:g} x",
        measured,
        None if ratio is None else ratio <= BYTES_RATIO,
    )
    most = control["standby_connections"]
    held = None if most is None else most <= STANDBY_CONNECTIONS
    yield Outcome("standby connections", "no censor", f"<= {STANDBY_CONNECTIONS}", str(most), held)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f} s"
