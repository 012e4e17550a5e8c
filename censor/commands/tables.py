"""How the censor's commands print rows: a table where the terminal is wide enough, else a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

TABLE_COLUMNS_MIN = 72
"""A terminal with less columns gets a list."""


def rows(console: Console, head: Sequence[str], body: Sequence[Sequence[str]], *, numbers: bool = False) -> None:
    """Print `body` under `head`; `numbers`: all columns but the first are numbers.

    On a narrow terminal each row is its first column, and below it the others, each behind its head. Nothing is cut
    off: what does not fit is continued below.
    """
    if console.width < TABLE_COLUMNS_MIN and len(head) > 2:
        for first, *others in body:
            console.print(Text(first, style="bold"))
            told = ((name, text) for name, text in zip(head[1:], others, strict=True) if text)
            console.print(Padding(_grid(told), (0, 0, 0, 2)))
        return
    table = Table(box=None, header_style="bold")
    for position, name in enumerate(head):
        table.add_column(name, overflow="fold", justify="right" if numbers and position else "left")
    for row in body:
        table.add_row(*map(Text, row))
    console.print(table)


def facts(console: Console, told: Sequence[tuple[str, str]], indent: int = 2) -> None:
    """Print what is known of one thing, a line each: its name and what it is; what is empty is left out."""
    console.print(Padding(_grid((name, text) for name, text in told if text), (0, 0, 0, indent)))


def _grid(told: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, text in told:
        grid.add_row(Text(name), Text(text))
    return grid
