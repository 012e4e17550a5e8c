"""The results as tables, for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.benchmarks.censor.goals import outcomes
from lab.benchmarks.censor.results import LISTS, Results
from lab.benchmarks.censor.subjects import EVERY_PACKET, FLOOD, PLAIN, RACES, REGISTRY

_WORDS = {True: ("OK", "green"), False: ("MISSED", "red"), None: ("not measured", "dim")}


@dataclass(frozen=True, slots=True)
class Grid:
    """One table. `styles`: of its rows; `words`: how many of its columns are words, the others are figures."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str | None]
    words: int = 1


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    value: Callable[[Results, str], float | None]
    form: str


def _median(measurement: str, metric: str, heading: str, form: str) -> _Column:
    return _Column(heading, lambda results, name: results.median(name, measurement, metric), form)


def _ratio(measurement: str, metric: str) -> _Column:
    return _Column("of plain", lambda results, name: results.ratio(name, measurement, metric), ".2f")


def _added(metric: str) -> _Column:
    return _Column("added", lambda results, name: results.added(name, "first-byte", metric), "+.2f")


def _megabytes(results: Results, name: str) -> float | None:
    pss = results.median(name, "process", "pss_bytes")
    return None if pss is None else pss / 1e6


_PROFILES = (
    _median("iperf3", "gigabits_per_second", "iperf3\nGbit/s", ".1f"),
    _ratio("iperf3", "gigabits_per_second"),
    _median("tls", "gigabits_per_second", "TLS\nGbit/s", ".1f"),
    _ratio("tls", "gigabits_per_second"),
    _median("new-flows", "flows_per_second", "new\nflows/s", ",.0f"),
    _ratio("new-flows", "flows_per_second"),
    _median("first-byte", "p50_ms", "p50\nms", ".2f"),
    _added("p50_ms"),
    _median("first-byte", "p99_ms", "p99\nms", ".2f"),
    _added("p99_ms"),
)
_COSTS = (
    _median("new-flows", "queued_packets_per_second", "packets/s\nqueued", ",.0f"),
    _median("new-flows", "cpu_seconds_per_1000_flows", "CPU s per\n1,000 flows", ".3f"),
    _median("new-flows", "censor_busy", "censor\nbusy", ".0%"),
    _median("new-flows", "generator_busy", "generator\nbusy", ".0%"),
    _median("tls", "cpu_seconds_per_gb", "CPU s\nper GB", ".3f"),
    _Column("MB\nPSS", _megabytes, ".0f"),
)
_INSPECTION = tuple(
    column
    for measurement, heading in (("tls", "GSO\nGbit/s"), ("single-segments", "single\nGbit/s"))
    for column in (
        _median(measurement, "gigabits_per_second", heading, ".2f"),
        _ratio(measurement, "gigabits_per_second"),
        _median(measurement, "queued_packets_per_second", "packets/s", ",.0f"),
        _median(measurement, "cpu_seconds_per_gb", "CPU s\nper GB", ".2f"),
    )
)


_RACES = tuple(
    column
    for kind in ("dns", "rst")
    for column in (
        _median(f"{kind}-race", "won_share", f"{kind.upper()}\nwon", ".1%"),
        _median(f"{kind}-race", "p50_ms", "p50\nms", ".2f"),
    )
)
_FLOOD = (
    _median("many-flows", "flows", "flows", ",.0f"),
    _median("many-flows", "flows_per_second", "flows/s", ",.0f"),
    _median("many-flows", "mb_before", "MB PSS\nbefore", ".0f"),
    _median("many-flows", "mb_after", "after", ".0f"),
    _median("many-flows", "packets_missed", "packets\nmissed", ",.0f"),
    _median("many-flows", "p50_ms", "others'\np50 ms", ".2f"),
    _median("many-flows", "p99_ms", "p99\nms", ".2f"),
)
_LISTS = (
    _median(LISTS, "domains", "domains", ",.0f"),
    _median(LISTS, "prefixes", "prefixes", ",.0f"),
    _median(LISTS, "load_seconds", "load\ns", ".2f"),
    _median(LISTS, "reload_seconds", "reload\ns", ".2f"),
    _median(LISTS, "rss_mb", "MB\nRSS", ".0f"),
    _median(LISTS, "name_lookup_p50_us", "name p50\nus", ".2f"),
    _median(LISTS, "name_lookup_p99_us", "p99\nus", ".2f"),
    _median(LISTS, "address_lookup_p50_us", "address p50\nus", ".2f"),
    _median(LISTS, "address_lookup_p99_us", "p99\nus", ".2f"),
)
_RELOAD = (
    _median("reload", "reload_seconds", "reload\ns", ".2f"),
    _median("reload", "packets_missed", "packets\nmissed", ",.0f"),
    _median("reload", "p50_ms", "p50\nms", ".2f"),
    _median("reload", "p99_ms", "p99\nms", ".2f"),
)


def grids(results: Results) -> Iterator[Grid]:
    """All that was measured; the goals come last."""
    names = [PLAIN, *results.profiles]
    yield _grid("Flows that are let pass, through the router", _PROFILES, names, results)
    yield _grid("What new flows cost: the censor on one CPU, the flows on the others", _COSTS, names, results)
    if any(sample.subject == EVERY_PACKET for sample in results.samples):
        yield _grid("Every packet through the censor", _INSPECTION, [PLAIN, EVERY_PACKET], results)
    yield _grid("Injecting, with the server 20 ms behind the censor", _RACES, [RACES], results)
    yield _grid("More flows than are remembered, and 20 others a second meanwhile", _FLOOD, [FLOOD], results)
    yield _grid("A registry dump in a fresh process", _LISTS, [LISTS], results)
    yield _grid("The list exchanged while 200 flows a second are opened", _RELOAD, [REGISTRY], results)
    yield _goals(results)


def _grid(title: str, columns: Sequence[_Column], names: Sequence[str], results: Results) -> Grid:
    rows = []
    for name in names:
        values = [column.value(results, name) for column in columns]
        if any(value is not None for value in values):
            rows.append([name, *(_cell(column, value, name) for column, value in zip(columns, values, strict=True))])
    return Grid(
        title, ["", *(column.heading for column in columns)], rows, ["dim" if r[0] == PLAIN else None for r in rows]
    )


def _cell(column: _Column, value: float | None, name: str) -> str:
    """Plain routing beside itself says nothing."""
    if value is None or (name == PLAIN and column.heading in ("of plain", "added")):
        return ""
    return format(value, column.form)


def _goals(results: Results) -> Grid:
    rows, styles = [], []
    for outcome in outcomes(results):
        goal = outcome.goal
        digits = 2 if goal.asked < 100 else 0
        measured = "" if outcome.measured is None else f"{outcome.measured:,.{digits}f}"
        word, style = _WORDS[outcome.held]
        sign = "<=" if goal.cost else ">="
        rows.append([outcome.subject, goal.figure, f"{sign} {goal.asked:,.{digits}f}", measured, word])
        styles.append(style)
    return Grid("What is asked", ["", "figure", "asked", "measured", ""], rows, styles, words=2)


def headline(results: Results) -> str:
    """How it was measured, and how busy the machine was with other things."""
    text = f"The censor: medians of {results.rounds} x {results.seconds:g} s"
    if load := results.machine.get("load_averages_before"):
        text += f"; load average before: {load[0]:.1f}"
    if (others := results.others_busy) is not None:
        text += f"; other work meanwhile: {others:.2f} of {results.machine.get('cpus', '?')} cores"
    return text


def sentences(results: Results) -> Iterator[str]:
    """What failed, what was skipped, what the censors did not get to see."""
    seen: dict[tuple[str, str], list[str]] = {}
    for sample in results.failures:
        seen.setdefault((sample.subject, sample.measurement), []).append(str(sample.failure))
    for (subject, measurement), reasons in seen.items():
        yield f"failed: {subject} in {measurement}, {len(reasons)} of {results.rounds} rounds: {reasons[-1]}"
    yield from (f"skipped: {name}: {reason}" for name, reason in results.skipped.items())
    for name in [*results.profiles, EVERY_PACKET]:
        if missed := sum(results.values(name, "process", "packets_missed").values()):
            yield f"packets that passed unseen: {name}: {missed:,.0f} in all rounds"


def tables(results: Results) -> RenderableType:
    """For a terminal of 100 columns."""
    parts: list[RenderableType] = [Text(headline(results), style="bold")]
    for grid in grids(results):
        if grid.rows:
            parts += [Text(grid.title, style="bold"), _table(grid)]
    return Group(*parts, *map(Text, sentences(results)))


def _table(grid: Grid) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for number, heading in enumerate(grid.headings):
        table.add_column(heading, justify="left" if number < grid.words else "right", no_wrap=True)
    table.padding = (0, 1, 0, 0)
    for row, style in zip(grid.rows, grid.styles, strict=True):
        table.add_row(*row, style=style)
    return table


def markdown(results: Results, command: str) -> str:
    """The whole page. `command`: what made it."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [f"# What the censor costs\n\nMade by `{command}`. {headline(results)}.\n\nMachine: {machine}.\n"]
    for grid in grids(results):
        if grid.rows:
            lines = [
                [heading.replace("\n", " ") for heading in grid.headings],
                ["---"] * len(grid.headings),
                *grid.rows,
            ]
            parts.append(f"## {grid.title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    parts += [f"- {sentence}\n" for sentence in sentences(results)]
    return "\n".join(parts)
