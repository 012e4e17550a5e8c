"""The results as tables, for a terminal and as a page. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.benchmarks.censor.table import Grid
from lab.benchmarks.fallback.arms import OURS
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.goals import outcomes
from lab.benchmarks.fallback.results import Cell, Results
from lab.measurement.words import count

_WORDS = {True: ("OK", "green"), False: ("MISSED", "red"), None: ("not measured", "dim")}


def figure(cell: Cell | None) -> str:
    """Median, its interval and how many of how many runs never recovered: `0.38 (0.37-0.39)`, `- 30/30 cens.`."""
    if cell is None or not cell.runs:
        return ""
    ttr = cell.ttr
    parts = ["-" if ttr.p50 is None else f"{ttr.p50:.2f}"]
    if ttr.ci95 is not None:
        parts.append(f"({ttr.ci95[0]:.2f}-{ttr.ci95[1]:.2f})")
    if ttr.n_censored:
        parts.append(f"{ttr.n_censored}/{ttr.n} cens.")
    return " ".join(parts)


def grids(results: Results) -> Iterator[Grid]:
    """Policies side by side, the factorial of ours, what else ours did, and the goals."""
    for warm, rtt_ms, loss in _circumstances(results):
        yield _side_by_side(results, warm=warm, rtt_ms=rtt_ms, loss=loss)
    yield _factorial(results)
    yield _details(results)
    yield _no_spare(results)
    yield _control(results)
    yield _calibration(results)
    yield _goals(results)


def _circumstances(results: Results) -> list[tuple[bool, int, float]]:
    """Those in which anybody but ours was measured."""
    found = {(c.key.warm, c.key.rtt_ms, c.key.loss) for c in results.cells if c.key.policy != OURS}
    return sorted(found, key=lambda each: (not each[0], each[1], each[2]))


def _side_by_side(results: Results, *, warm: bool, rtt_ms: int, loss: float) -> Grid:
    cells = [c for c in results.cells if (c.key.warm, c.key.rtt_ms, c.key.loss) == (warm, rtt_ms, loss)]
    policies = list(dict.fromkeys(cell.key.policy for cell in cells))
    rows = []
    for block in dict.fromkeys(cell.key.block for cell in cells):
        of = {c.key.policy: c for c in cells if c.key.block == block and not c.key.killed}
        rows.append([block, *(figure(of.get(policy)) for policy in policies)])
    title = f"ttr in seconds, p50 (95 %), {'warm' if warm else 'cold'}, RTT {rtt_ms} ms, loss {100 * loss:g} %"
    return Grid(title, ["", *policies], rows, [None] * len(rows))


def _factorial(results: Results) -> Grid:
    """Ours everywhere: rows are block types, columns the circumstances."""
    cells = [cell for cell in results.cells if cell.key.policy == OURS and not cell.key.killed]
    columns = sorted({(not c.key.warm, c.key.rtt_ms, c.key.loss) for c in cells})
    rows = []
    for block in dict.fromkeys(cell.key.block for cell in cells):
        of = {(not c.key.warm, c.key.rtt_ms, c.key.loss): c for c in cells if c.key.block == block}
        rows.append([block, *(figure(of.get(column)) for column in columns)])
    headings = [f"{'cold' if cold else 'warm'}\n{rtt} ms, {100 * loss:g} %" for cold, rtt, loss in columns]
    return Grid(f"{OURS}: ttr in seconds, p50 (95 %)", ["", *headings], rows, [None] * len(rows))


def _details(results: Results) -> Grid:
    """Ours in the warm cells: p95 and its upper bound, detection, diagnosis, cost."""
    rows = []
    for cell in results.cells:
        key = cell.key
        if key.policy != OURS or not key.warm or not cell.runs:
            continue
        right, of = cell.diagnosed
        name = f"{key.block}{', killed' if key.killed else ''}"
        circumstances = f"{key.rtt_ms} ms, {100 * key.loss:g} %"
        p95 = "" if cell.p95 is None else f"{cell.p95:.2f}"
        upper = "" if cell.p95_upper is None else f"{cell.p95_upper:.2f}"
        ttd, outage = (cell.distribution(metric).p50 for metric in ("ttd_seconds", "outage_seconds"))
        times = ["" if value is None else f"{value:.2f}" for value in (ttd, outage)]
        rows.append([name, circumstances, str(cell.ttr.n), p95, upper, *times, f"{right}/{of}"])
    headings = ["", "", "n", "ttr\np95", "p95's\nupper bound", "ttd\np50", "outage\np50", "diagnosis\nright"]
    return Grid(f"{OURS}, warm, in seconds", headings, rows, [None] * len(rows), words=2)


def _no_spare(results: Results) -> Grid:
    rows = []
    for price in results.no_spare:
        ratio = price.ratio
        times = "" if ratio is None else f"{ratio.value:.2f}"
        interval = "" if ratio is None or ratio.ci95 is None else f"{ratio.ci95[0]:.2f}-{ratio.ci95[1]:.2f}"
        rows.append([price.cell.key.block, figure(price.cell), times, interval])
    headings = ["", "ttr in s, p50 (95 %)", "of that with\na spare", "95 %"]
    return Grid('No proxy revealed before a block (standby = "cold"): the price', headings, rows, [None] * len(rows))


def _control(results: Results) -> Grid:
    rows = []
    for name, found in (results.control or {}).get("policies", {}).items():
        rate = found["bytes_per_second"]
        rows.append(
            [
                name,
                f"{found['client_hours']:.2f}",
                str(found["false_switches"]),
                str(found["path_bad"]),
                str(found["standby_connections"]),
                str(found["proxies_revealed"]),
                "" if rate is None else f"{rate:,.0f}",
                f"{found['messages']['lost']}/{found['messages']['sent']:,}",
            ]
        )
    headings = [
        "",
        "client-\nhours",
        "false\nswitches",
        "path\nbad",
        "standby\nconnections",
        "proxies\nrevealed",
        "bytes/s",
        "lost",
    ]
    return Grid("No block: 1 % loss, 20 ms jitter, RTT 40 ms", headings, rows, [None] * len(rows))


def _calibration(results: Results) -> Grid:
    found = results.calibration
    rows = []
    for name in ("alone", "among") if found else ():
        one = (found or {})[name]
        ttr, late = one["ttr_seconds"], one["lateness_ms"]
        shown = name if name == "alone" else f"among {(found or {})['labs']}"
        times = [_or_nothing(ttr["p50"], ".3f"), _or_nothing(ttr["p95"], ".3f")]
        rows.append([shown, str(one["n"]), *times, _or_nothing(late["p95"], ".0f"), str(one["repeated"])])
    if found and found["ratio"]:
        low, high = found["ratio"]["ci95"] or (None, None)
        interval = f"{_or_nothing(low, '.2f')}-{_or_nothing(high, '.2f')}"
        rows.append(["ratio", "", f"{found['ratio']['value']:.2f}", interval, "", ""])
    headings = ["", "n", "ttr p50\ns", "ttr p95\ns", "worst lateness\np95, ms", "repeated"]
    return Grid("The same lab alone and among others", headings, rows, [None] * len(rows))


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _goals(results: Results) -> Grid:
    rows, styles = [], []
    for outcome in outcomes(results):
        word, style = _WORDS[outcome.held]
        rows.append([outcome.goal, outcome.where, outcome.asked, outcome.measured, word])
        styles.append(style)
    return Grid("What is asked", ["goal", "where", "asked", "measured", ""], rows, styles, words=5)


def headline(results: Results) -> str:
    """How much was measured, and how far the machine kept up."""
    late = results.lateness()
    messages = results.messages
    worst = late["lateness_ms"]["p95"]
    return (
        f"Fallback: {count(late['runs'], 'run')} in {count(len(results.cells), 'cell')}, "
        f"{messages.sent:,} messages, {messages.lost} lost, {messages.duplicated_application} shown twice; "
        f"{count(results.parallel, 'lab')} at a time, "
        f"timers late by {0.0 if worst is None else worst:.0f} ms (p95 of runs' worst), "
        f"{count(late['repeated_for_lateness'], 'run')} repeated for more than {late['limit_ms']:g} ms"
    )


def sentences(results: Results) -> Iterator[str]:
    """What failed, and what a block's name means."""
    yield from (f"failed: {name}: {reason}" for name, reason in results.failures.items())


def tables(results: Results) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [Text(headline(results), style="bold")]
    for grid in grids(results):
        if grid.rows:
            parts += [Text(grid.title, style="bold"), _table(grid)]
    return Group(*parts, *map(Text, sentences(results)))


def _table(grid: Grid) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(grid.headings):
        table.add_column(heading, justify="left" if number < grid.words else "right")
    for row, style in zip(grid.rows, grid.styles, strict=True):
        table.add_row(*_filled(row), style=style)
    return table


def markdown(results: Results, command: str) -> str:
    """The whole page. `command`: what made it."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [f"# Fallback\n\nMade by `{command}`. {headline(results)}.\n\nMachine: {machine}.\n"]
    for grid in grids(results):
        if grid.rows:
            parts.append(f"## {grid.title}\n\n{_rows(grid)}")
    parts.append(f"## Block types\n\n{_rows(_block_types())}")
    parts += [f"- {sentence}\n" for sentence in sentences(results)]
    return "\n".join(parts)


def _block_types() -> Grid:
    rows = [[block.name, "signalled" if block.signalled else "silent", block.what] for block in BLOCKS.values()]
    return Grid("", ["", "", "what happens"], rows, [None] * len(rows))


def _filled(row: Sequence[str]) -> list[str]:
    """With a dash where there is no figure."""
    return [cell or "-" for cell in row]


def _rows(grid: Grid) -> str:
    headings = [heading.replace("\n", " ") for heading in grid.headings]
    lines: list[Sequence[str]] = [headings, ["---"] * len(headings), *map(_filled, grid.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
