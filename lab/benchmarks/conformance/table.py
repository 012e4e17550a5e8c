"""The matrix for a terminal: a row for each case, a column for each server."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.benchmarks.conformance.cases import TOPICS
from lab.benchmarks.conformance.matrix import Matrix
from lab.benchmarks.conformance.outcome import Outcome

MARKS = {
    Outcome.PASS: ("ok", "green"),
    Outcome.FAIL: ("FAIL", "bold red"),
    Outcome.NOT_OFFERED: ("-", "dim"),
    Outcome.CRASHED: ("CRASH", "bold white on red"),
    Outcome.NOT_TESTED: ("n/t", "dim"),
}
_MOST_REASONS = 20
"""More than these fill the terminal: then only this project's are told."""


def table(matrix: Matrix) -> RenderableType:
    """All outcomes, how many of each, and reasons."""
    parts: list[RenderableType] = [_outcomes(matrix)] if matrix.servers else []
    legend = ", ".join(f"{mark} {outcome}" for outcome, (mark, _) in MARKS.items() if mark != outcome)
    return Group(*parts, Text(legend, style="dim"), *map(Text, _sentences(matrix)))


def _outcomes(matrix: Matrix) -> Table:
    shown = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    shown.add_column("", no_wrap=True)
    for server in matrix.servers:
        shown.add_column(server.name, justify="center", no_wrap=True, style="bold" if server.own else "")
    for topic, title in TOPICS.items():
        cases = [case for case in matrix.cases if case.topic == topic]
        if cases:
            shown.add_section()
            shown.add_row(Text(title, style="bold"))
        for case in cases:
            marks = (MARKS[matrix.cells[server.name, case.id].outcome] for server in matrix.servers)
            shown.add_row(case.id, *(Text(mark, style=style) for mark, style in marks))
    shown.add_section()
    for outcome in Outcome:
        counts = [matrix.counts(server.name)[outcome] for server in matrix.servers]
        if any(counts):
            shown.add_row(outcome, *map(str, counts))
    return shown


def _sentences(matrix: Matrix) -> Iterator[str]:
    bad = [
        (server, f"{server.name}: {case.id}: {cell.outcome}: {cell.reason}")
        for server in matrix.servers
        for case, cell in matrix.of(server.name, Outcome.FAIL, Outcome.CRASHED)
    ]
    told = [line for server, line in bad if server.own or len(bad) <= _MOST_REASONS]
    yield from told
    if len(told) < len(bad):
        yield f"{len(bad) - len(told)} reasons of others: --json or --markdown"
    yield from (f"skipped: {name}: {reason}" for name, reason in matrix.skipped.items())
