"""`sidedoor bench censor`: the command."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from rich.console import Console

from lab.benchmarks.censor import runner
from lab.benchmarks.censor.accuracy import runner as accuracy_runner
from lab.benchmarks.censor.accuracy.table import tables as accuracy_tables
from lab.benchmarks.censor.accuracy.truths import FLOWS_MAX
from lab.benchmarks.censor.goals import outcomes
from lab.benchmarks.censor.results import LISTS, SCHEMA_VERSION, Results
from lab.benchmarks.censor.table import markdown, tables
from lab.benchmarks.output import check_folders, write_files
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError

_ROUNDS, _SECONDS, _FLOWS = 5, 1.0, 1000


@click.command()
@click.option("--json", "json_path", metavar="FILE", help="Write all figures of all rounds to FILE as JSON.")
@click.option("--markdown", "markdown_path", metavar="FILE", help="Write the tables as a page.")
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this profile or measurement (see --list); may be repeated."
)
@click.option("--rounds", default=_ROUNDS, show_default=True, type=click.IntRange(1), help="How often to measure each.")
@click.option(
    "--seconds",
    default=_SECONDS,
    show_default=True,
    type=click.FloatRange(0.05, 60),
    help="How long one measurement takes.",
)
@click.option("--accuracy", is_flag=True, help="Count mistakes instead: flows that profiles miss, or hit by mistake.")
@click.option(
    "--flows",
    default=_FLOWS,
    show_default=True,
    type=click.IntRange(1, FLOWS_MAX),
    help="With --accuracy: through each profile.",
)
@click.option("--list", "list_", is_flag=True, help="Say what would be measured, and measure nothing.")
def censor(
    json_path: str | None,
    markdown_path: str | None,
    only: tuple[str, ...],
    rounds: int,
    seconds: float,
    accuracy: bool,
    flows: int,
    list_: bool,
) -> None:
    """What the censor on the path costs the traffic that it lets pass, beside plain routing.

    Client, router and server are network namespaces of its own; no root is needed. What is measured and how:
    docs/performance.md. Exit code 1: a measurement failed, or with --accuracy: a profile did not do what it says.
    """
    check_folders({"--json": json_path, "--markdown": markdown_path})
    if accuracy:
        _count_mistakes(json_path, only, flows)
    plan = runner.plan(rounds=rounds, seconds=seconds, only=only)
    if list_:
        print("profiles:     " + ", ".join(subject.name for subject in plan.subjects))
        shown = [*(measurement.name for measurement in plan.measurements), *([LISTS] if plan.lists else [])]
        print("measurements: " + ", ".join(shown))
        return
    if sys.platform != "linux":
        raise UsageError("bench censor needs Linux: it makes network namespaces")
    runner.check_machine()
    messages = Console(stderr=True, highlight=False)
    for name, reason in plan.skipped.items():
        messages.print(f"skipped {name}: {reason}", soft_wrap=True)
    minutes, rest = divmod(round(plan.estimated_seconds), 60)
    what = ", ".join([*(subject.name for subject in plan.subjects), *([LISTS] if plan.lists else [])])
    messages.print(f"rounds: {rounds}, with {what}: about {minutes} min {rest} s", soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with messages.status("starting") as status:
        try:
            results = runner.run(plan, status.update)
        except BenchError as error:
            messages.print(f"sidedoor bench: {error}")
            sys.exit(1)
    Console(width=None if sys.stdout.isatty() else 100).print(tables(results))
    words = [f"--rounds={rounds}", f"--seconds={seconds:g}", *(f"--only={name}" for name in only)]
    command = shlex.join(["sidedoor", "bench", "censor", *words])
    wanted: list[tuple[str, str | None, Callable[[], str]]] = [
        ("--json", json_path, lambda: json.dumps(to_json(results), indent=1) + "\n"),
        ("--markdown", markdown_path, lambda: markdown(results, command)),
    ]
    write_files(wanted)
    sys.exit(int(bool(results.failures)))


def _count_mistakes(json_path: str | None, only: tuple[str, ...], flows: int) -> NoReturn:
    names = accuracy_runner.chosen(only)
    accuracy_runner.check_machine()
    messages = Console(stderr=True, highlight=False)
    with messages.status("starting") as status:
        try:
            found = accuracy_runner.run(names, flows, status.update)
        except BenchError as error:
            messages.print(f"sidedoor bench: {error}")
            sys.exit(1)
    Console(width=None if sys.stdout.isatty() else 100).print(accuracy_tables(found))
    data = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "censor",
        "accuracy": {one.profile: one.to_json() for one in found},
    }
    write_files([("--json", json_path, lambda: json.dumps(data, indent=1) + "\n")])
    sys.exit(int(not all(one.held for one in found)))


def to_json(results: Results) -> dict[str, Any]:
    """The results with their goals."""
    goals = [
        {
            "subject": outcome.subject,
            "figure": outcome.goal.figure,
            "asked": outcome.goal.asked,
            "cost": outcome.goal.cost,
            "measured": outcome.measured,
            "held": outcome.held,
        }
        for outcome in outcomes(results)
    ]
    return results.to_json() | {"goals": goals}
