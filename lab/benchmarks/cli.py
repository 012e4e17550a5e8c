"""`sidedoor bench`: benchmarks, as commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lab.benchmarks import relay as relay_benchmark
from lab.benchmarks.generator import BenchError
from lab.benchmarks.relay import Results
from sidedoor.settings import UsageError


@click.group()
def bench() -> None:
    """Measure."""


@bench.command()
@click.option("--json", "json_path", metavar="FILE", help="Write all figures to FILE as JSON.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often to measure each.")
@click.option(
    "--seconds", default=1.0, show_default=True, type=click.FloatRange(0.05, 60), help="How long one measurement takes."
)
@click.option(
    "--only", multiple=True, metavar="NAME", help=f"Only this peer or workload: {', '.join(relay_benchmark.NAMES)}."
)
def relay(json_path: str | None, rounds: int, seconds: float, only: tuple[str, ...]) -> None:
    """Relay throughput beside the other proxies that are installed, everything on 127.0.0.1."""
    messages = Console(stderr=True)
    with messages.status("starting") as status:
        try:
            results = relay_benchmark.run(rounds=rounds, seconds=seconds, only=only, progress=status.update)
        except BenchError as error:
            messages.print(f"sidedoor bench: {error}", highlight=False)
            sys.exit(1)
    Console().print(table(results))
    for name, reason in results.skipped.items():
        messages.print(f"skipped {name}: {reason}", highlight=False)
    if json_path:
        try:
            Path(json_path).write_text(json.dumps(results.to_json(), indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"--json: {json_path}: cannot be written: {error.strerror}") from error


def table(results: Results) -> Table:
    """The figures as a person reads them."""
    title = f"Relays, medians of {results.rounds} x {results.seconds:g} s, {results.generator} load generator"
    shown = Table(title=title)
    for column in ("workload", "peer"):
        shown.add_column(column, no_wrap=True)
    for column in ("median", "unit", "x direct", "x best other", "CPU s/GB"):
        shown.add_column(column, justify="left" if column == "unit" else "right", no_wrap=column == "unit")
    previous = None
    for figure in results.figures:
        if previous not in (None, figure.workload):
            shown.add_section()
        cells = (results.ratio_to_direct(figure), results.ratio_to_best_other(figure), figure.median_cpu)
        shown.add_row(
            figure.workload if figure.workload != previous else "",
            figure.peer,
            f"{figure.median:,.0f}",
            figure.unit,
            *("" if cell is None else f"{cell:.2f}" for cell in cells),
            style="bold" if figure.peer == "sidedoor" else None,
        )
        previous = figure.workload
    return shown
