"""The counts of mistakes as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from lab.benchmarks.censor.accuracy.results import Accuracy, Judged

_WORDS = {True: "[green]OK[/]", False: "[red]WRONG[/]"}


def tables(profiles: Sequence[Accuracy]) -> RenderableType:
    """A row for each profile, and one for each case by chance."""
    table = Table("profile", box=box.SIMPLE, title="Mistakes of the censor")
    for heading in ("flows", "false positives", "false negatives", "packets missed", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in profiles:
        table.add_row(*_row(one), _WORDS[one.held] if one.failure is None else f"[red]{one.failure}[/]")
    by_chance = [(one, case) for one in profiles for case in one.cases if case.case.share < 1]
    return Group(table, *([_chances(by_chance)] if by_chance else []))


def _row(one: Accuracy) -> list[str]:
    if one.failure is not None:
        return [one.profile, "", "", "", "", ""]
    counts = (one.flows, one.false_positives, one.false_negatives, one.packets_missed)
    return [one.profile, *(f"{count:,}" for count in counts), f"{one.seconds:.0f}"]


def _chances(cases: Sequence[tuple[Accuracy, Judged]]) -> Table:
    table = Table("profile", "by chance", box=box.SIMPLE, title="Shares, and what 999 runs of 1000 have between")
    for heading in ("flows", "profile says", "hit", "likely"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one, case in cases:
        least, most = case.likely
        figures = (f"{case.flows:,}", f"{case.case.share:.4%}", f"{case.hit:,}", f"{least:,} to {most:,}")
        table.add_row(one.profile, case.case.name, *figures, _WORDS[case.held])
    return table
