"""The results as tables: one for each kind of figure, a row for each peer, a column for each workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.benchmarks.goals import outcomes
from lab.benchmarks.peers import DIRECT, OBSERVED, OURS
from lab.benchmarks.results import Results, is_cost, own_names


def _plain(value: float) -> str:
    return f"{value:,.0f}"


def _hundredths(value: float) -> str:
    return f"{value:.2f}"


def _thousandths(value: float) -> str:
    return f"{value:.3f}"


def _microseconds(value: float) -> str:
    return f"{value:,.0f}" if value < 100_000 else f"{value / 1e6:.2f} s"


def _milliseconds(value: float) -> str:
    return f"{value / 1000:,.2f}"


def _kilobytes(value: float) -> str:
    return f"{value / 1000:,.1f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f}"


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of one workload."""

    workload: str
    metric: str
    heading: str
    show: Callable[[float], str] = _plain


@dataclass(frozen=True, slots=True)
class Section:
    """Columns that belong together."""

    title: str
    columns: tuple[Column, ...]


_GENERATOR_TITLE = "The load generator: what it reaches without a proxy, over the fastest proxy; how busy each end is"
_GOALS_TITLE = "What is asked of sidedoor (best: the best SOCKS5 server of somebody else)"
_NAME_WIDTH = 8
"""Characters of the best peer's name: ten columns have to fit."""
_SIZES = (("64B", "64 B"), ("1KB", "1 KB"))
_BULK = tuple((f"bulk-{way}-{n}", f"{way}\n{n}") for way in ("down", "up", "both") for n in (1, 8, 64))
_PING = tuple((f"ping-{size}-{n}", f"{words}\n{n}") for size, words in _SIZES for n in (1, 64, 512))


def _columns(workloads: Sequence[tuple[str, str]], metric: str, show: Callable[[float], str]) -> tuple[Column, ...]:
    return tuple(Column(name, metric, heading, show) for name, heading in workloads)


SECTIONS = (
    Section("Bulk, MB/s, by direction and number of connections", _columns(_BULK, "megabytes_per_second", _plain)),
    Section("Bulk, CPU seconds of the proxy per GB", _columns(_BULK, "cpu_seconds_per_gb", _hundredths)),
    Section(
        "Ping-pong, messages per second, by size and number of connections",
        _columns(_PING, "messages_per_second", _plain),
    ),
    Section("Ping-pong, median latency, microseconds", _columns(_PING, "p50_microseconds", _microseconds)),
    Section("Ping-pong, 99th percentile, microseconds", _columns(_PING, "p99_microseconds", _microseconds)),
    Section(
        "Ping-pong, CPU seconds of the proxy per 100,000 messages",
        _columns(_PING, "cpu_seconds_per_100k_messages", _hundredths),
    ),
    Section(
        "New connections, 32 at a time; idle flows",
        (
            Column("connects", "connects_per_second", "connects\nper s"),
            Column("connects", "cpu_seconds_per_1000_connects", "CPU s\nper 1,000", _thousandths),
            Column("idle", "flows", "idle\nflows"),
            Column("idle", "base_pss_bytes", "MB PSS\nwithout", _megabytes),
            Column("idle", "pss_bytes_per_flow", "KB PSS\nper flow", _kilobytes),
            Column("idle", "kernel_bytes_per_flow", "kernel KB\nper flow", _kilobytes),
            Column("idle", "descriptors_per_flow", "descript.\nper flow", _hundredths),
            Column("idle", "cpu_seconds_per_1000_flows", "CPU s\nper 1,000", _thousandths),
        ),
    ),
    Section(
        "200 chats of 10 messages per second, alone and beside 4 bulk flows (latencies in ms)",
        (
            Column("mixed", "alone_p50_microseconds", "alone\np50", _milliseconds),
            Column("mixed", "alone_p99_microseconds", "\np99", _milliseconds),
            Column("mixed", "beside_p50_microseconds", "beside\np50", _milliseconds),
            Column("mixed", "beside_p99_microseconds", "\np99", _milliseconds),
            Column("mixed", "times_p99", "p99\ntimes", _hundredths),
            Column("mixed", "megabytes_per_second", "bulk\nMB/s"),
            Column("mixed", "cpu_seconds_per_gb", "CPU s\nper GB", _hundredths),
            Column("mixed", "cpu_seconds_per_100k_messages", "CPU s per\n100k alone", _hundredths),
        ),
    ),
    Section(
        "4 bulk flows, alone and beside 8 readers of 640 KB per second",
        (
            Column("slow", "alone_megabytes_per_second", "alone\nMB/s"),
            Column("slow", "megabytes_per_second", "beside\nMB/s"),
            Column("slow", "rate_share", "beside /\nalone", _hundredths),
            Column("slow", "cpu_seconds_per_gb", "CPU s\nper GB", _hundredths),
        ),
    ),
    Section(
        "iperf3 through proxychains4, one connection",
        (
            Column("iperf3-down", "megabytes_per_second", "down\nMB/s"),
            Column("iperf3-down", "cpu_seconds_per_gb", "CPU s\nper GB", _hundredths),
            Column("iperf3-up", "megabytes_per_second", "up\nMB/s"),
            Column("iperf3-up", "cpu_seconds_per_gb", "CPU s\nper GB", _hundredths),
        ),
    ),
)


def tables(results: Results) -> RenderableType:
    """All that was measured, for a terminal of 100 columns."""
    parts: list[RenderableType] = [Text(headline(results), style="bold")]
    titled = [(section.title, _table(section, results)) for section in SECTIONS if _measured(section, results)]
    titled += [(_GENERATOR_TITLE, _generator(results)), (_GOALS_TITLE, _goals(results))]
    parts += [part for title, table in titled for part in (Text(title, style="bold"), table)]
    parts += [*(Text(line) for line in _sentences(results))]
    return Group(*parts)


def _measured(section: Section, results: Results) -> bool:
    return any(column.workload in results.workloads for column in section.columns)


def headline(results: Results) -> str:
    """How it was measured, and how busy the machine was with other things."""
    text = f"Relays: medians of {results.rounds} x {results.seconds:g} s, {results.generator} load generator"
    if load := results.machine.get("load_averages_before"):
        text += f"; load average before: {load[0]:.1f}"
    if (others := results.others_busy) is not None:
        text += f"; other work meanwhile: {others:.2f} of {results.machine.get('cpus', '?')} cores"
    return text


def _table(section: Section, results: Results) -> Table:
    columns = [column for column in section.columns if column.workload in results.workloads]
    table = _empty([column.heading for column in columns])
    for peer in results.peers:
        medians = [results.median(peer.name, column.workload, column.metric) for column in columns]
        if any(value is not None for value in medians):
            cells = [
                "" if value is None else column.show(value) for column, value in zip(columns, medians, strict=True)
            ]
            table.add_row(peer.name, *cells, style="bold" if peer.own else None)
    table.add_section()
    for name in own_names(results):
        short = name.removeprefix(f"{OURS}-")
        for words, ratio in ((f"{short}/direct", _to_direct), (f"{short}/best", _to_best)):
            ratios = [None if column.metric == "flows" else ratio(results, name, column) for column in columns]
            if any(value is not None for value in ratios):
                table.add_row(words, *("" if value is None else f"{value:.2f}" for value in ratios), style="cyan")
    best = [results.best_rival(c.workload, c.metric, lower_is_better=is_cost(c.metric)) for c in columns]
    names = [
        found[0] if found and column.metric != "flows" else "" for found, column in zip(best, columns, strict=True)
    ]
    if any(names):
        table.add_row("best peer", *(name[:_NAME_WIDTH] for name in names), style="dim")
    return table


def _to_direct(results: Results, name: str, column: Column) -> float | None:
    return results.ratio_to_direct(name, column.workload, column.metric)


def _to_best(results: Results, name: str, column: Column) -> float | None:
    cost = is_cost(column.metric)
    return results.ratio_to_best(name, column.workload, column.metric, lower_is_better=cost)


def _empty(headings: Sequence[str]) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.padding = (0, 0)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _generator(results: Results) -> Table:
    """Whether the load generator could do more than the proxies let it: what it does without one, its own CPU."""
    table = _empty(
        [
            "direct /\nfastest",
            "direct:\nclients",
            "direct:\ntarget",
            "sidedoor:\nclients",
            "sidedoor:\ntarget",
            "proxy",
        ],
    )
    rates = {c.workload: c.metric for s in SECTIONS for c in s.columns if c.metric.endswith("_per_second")}
    for workload in results.workloads:
        if workload in rates and (row := list(_generator_row(results, workload, rates[workload]))) and any(row):
            table.add_row(workload, *row)
    return table


def _generator_row(results: Results, workload: str, metric: str) -> Iterator[str]:
    direct = results.median(DIRECT, workload, metric)
    rates = [results.median(peer.name, workload, metric) for peer in results.peers if peer.name != DIRECT]
    fastest = max((rate for rate in rates if rate), default=None)
    yield f"{direct / fastest:.1f} x" if direct and fastest else ""
    for name, share in (
        (DIRECT, "clients_busy"),
        (DIRECT, "target_busy"),
        *((name, share) for name in own_names(results)[:1] for share in ("clients_busy", "target_busy", "proxy_busy")),
    ):
        value = results.median(name, workload, share)
        yield "" if value is None else f"{value:.0%}"


def _goals(results: Results) -> Table:
    table = _empty(["what", "asked", "measured", ""])
    table.columns[1].justify = "left"
    for outcome in outcomes(results):
        goal = outcome.goal
        what = goal.metric.replace("_", " ") + (f" / {goal.over}" if goal.over else "")
        what += {OURS: "", OBSERVED: ", observed"}.get(goal.who, ", several workers")
        sign = "<=" if is_cost(goal.metric) else ">="
        digits = 2 if goal.asked < 100 else 0
        measured = "not measured" if outcome.measured is None else f"{outcome.measured:,.{digits}f}"
        word, style = {True: ("held", "green"), False: ("not held", "red"), None: ("", "dim")}[outcome.held]
        table.add_row(
            goal.workload, f" {what}", f" {sign} {goal.asked:,.{digits}f}", f" {measured}", f" {word}", style=style
        )
    return table


def _sentences(results: Results) -> Iterator[str]:
    seen: dict[tuple[str, str], list[str]] = {}
    for sample in results.failures:
        seen.setdefault((sample.peer, sample.workload), []).append(str(sample.failure))
    for (peer, workload), reasons in seen.items():
        yield f"failed: {peer} in {workload}, {len(reasons)} of {results.rounds} rounds: {reasons[-1]}"
    yield from (f"skipped: {name}: {reason}" for name, reason in results.skipped.items())
