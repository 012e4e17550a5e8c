"""`sidedoor bench`: benchmarks, as commands."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Console

from lab.benchmarks import relay as relay_benchmark
from lab.benchmarks.censor.cli import censor
from lab.benchmarks.fallback.cli import fallback
from lab.benchmarks.goals import outcomes
from lab.benchmarks.output import check_folders, write_files
from lab.benchmarks.peers import DIRECT, OURS, custom
from lab.benchmarks.processes import BenchError
from lab.benchmarks.results import Results
from lab.benchmarks.table import tables
from sidedoor.settings import UsageError

_ROUNDS, _SECONDS = 5, 0.5
_QUICK_ROUNDS, _QUICK_SECONDS = 2, 0.3


@click.group()
def bench() -> None:
    """Measure."""


bench.add_command(censor)
bench.add_command(fallback)


@bench.command()
@click.option("--json", "json_path", metavar="FILE", help="Write all figures of all rounds to FILE as JSON.")
@click.option("--plot", "plot_path", metavar="FILE.html", help="Draw them, in one file that works offline.")
@click.option("--quick", is_flag=True, help=f"Some workloads, {_QUICK_ROUNDS} rounds: a minute or two.")
@click.option(
    "--rounds", type=click.IntRange(1), help=f"How often to measure each.  [default: {_ROUNDS}; quick: {_QUICK_ROUNDS}]"
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 60),
    help=f"How long one measurement takes.  [default: {_SECONDS}; quick: {_QUICK_SECONDS}]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help=f"Only this peer, group or workload, may be repeated: {', '.join(relay_benchmark.NAMES)}.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME='COMMAND with {port}'",
    help="Another SOCKS5 server; must listen on {port} of 127.0.0.1 and stay in the foreground. May be repeated.",
)
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(2), help="Measure sidedoor with so many, too."
)
def relay(
    json_path: str | None,
    plot_path: str | None,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    only: tuple[str, ...],
    peers: tuple[str, ...],
    workers: int,
) -> None:
    """The relay beside the other proxies that are installed, everything on 127.0.0.1.

    Programs are looked for in the folders or virtual environments of SIDEDOOR_BENCH_PATH, in PATH and in sbin. What is
    measured and how: docs/performance.md.
    """
    if sys.platform != "linux":
        raise UsageError("bench relay needs Linux: it reads CPU time and memory from /proc")
    messages = Console(stderr=True, highlight=False)
    check_folders({"--json": json_path, "--plot": plot_path})
    plan = relay_benchmark.plan(
        rounds=rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
        seconds=seconds or (_QUICK_SECONDS if quick else _SECONDS),
        only=only,
        quick=quick,
        peers=[custom(peer) for peer in peers],
        workers=workers,
    )
    for name, reason in plan.skipped.items():
        messages.print(f"skipped {name}: {reason}", soft_wrap=True)
    if not (plan.contestants and plan.workloads):
        messages.print("sidedoor bench: nothing is left to measure")
        sys.exit(1)
    names = ", ".join(contestant.name for contestant in plan.contestants)
    messages.print(
        f"{_count(plan.rounds, 'round')} of {_count(len(plan.workloads), 'workload')} with {names}: {_time(plan)}",
        soft_wrap=True,
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the peers are ended on the way out
    with messages.status("starting") as status:
        try:
            results = relay_benchmark.run(plan, status.update)
        except BenchError as error:
            messages.print(f"sidedoor bench: {error}")
            sys.exit(1)
    Console(width=None if sys.stdout.isatty() else 100).print(tables(results))
    _write(results, json_path, plot_path)
    sys.exit(_status(results))


@bench.command()
@click.option("--json", "json_path", metavar="FILE", help="Write all outcomes and reasons to FILE as JSON.")
@click.option("--markdown", "markdown_path", metavar="FILE", help="Write them as a page, like docs/conformance.md.")
@click.option("--only", multiple=True, metavar="CASE", help="Only this case, topic or server; may be repeated.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME='COMMAND with {port}'",
    help="Another SOCKS5 server; must listen on {port} of 127.0.0.1 and stay in the foreground. May be repeated.",
)
@click.option("--list", "list_", is_flag=True, help="Say what the cases are, and try nothing.")
def conformance(
    json_path: str | None, markdown_path: str | None, only: tuple[str, ...], peers: tuple[str, ...], list_: bool
) -> None:
    """SOCKS servers judged from outside: Sidedoor and those that are installed, case by case.

    Programs are looked for in the folders or virtual environments of SIDEDOOR_BENCH_PATH, in PATH and in sbin. Exit
    code 1: Sidedoor was wrong in a case.
    """
    from lab.benchmarks.conformance import markdown, runner
    from lab.benchmarks.conformance.table import table

    check_folders({"--json": json_path, "--markdown": markdown_path})
    plan = runner.plan(only, [custom(peer) for peer in peers])
    if list_:
        for case in plan.cases:
            print(f"{case.id}\n  source: {case.source}\n  sent:   {case.sent}\n  right:  {case.right}")
        return
    if sys.platform != "linux":
        raise UsageError("bench conformance needs Linux: its cases use addresses of 127.0.0.0/8 and Linux's backlogs")
    messages = Console(stderr=True, highlight=False)
    for name, reason in plan.skipped.items():
        messages.print(f"skipped {name}: {reason}", soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the peers are ended on the way out
    with messages.status("starting") as status:
        matrix = runner.run(plan, status.update)
    Console(width=None if sys.stdout.isatty() else 120).print(table(matrix))
    options = [
        ("--markdown", markdown_path),
        *(("--only", name) for name in only),
        *(("--peer", peer) for peer in peers),
    ]
    words = [word for option, value in options if value for word in (option, value)]
    command = shlex.join(["sidedoor", "bench", "conformance", *words])
    wanted: list[tuple[str, str | None, Callable[[], str]]] = [
        ("--json", json_path, lambda: json.dumps(matrix.to_json(), indent=1) + "\n"),
        ("--markdown", markdown_path, lambda: markdown.markdown(matrix, command)),
    ]
    write_files(wanted)
    sys.exit(int(not matrix.held))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _time(plan: relay_benchmark.Plan) -> str:
    minutes, seconds = divmod(round(plan.estimated_seconds), 60)
    return f"about {minutes} min {seconds} s" if minutes else f"about {seconds} s"


def _write(results: Results, json_path: str | None, plot_path: str | None) -> None:
    from lab.benchmarks import plot

    wanted: list[tuple[str, str | None, Callable[[], str]]] = [
        ("--json", json_path, lambda: json.dumps(_json(results), indent=1) + "\n"),
        ("--plot", plot_path, lambda: plot.html(results)),
    ]
    write_files(wanted)


def _json(results: Results) -> dict[str, Any]:
    found = outcomes(results)
    goals = [
        msgspec.to_builtins(outcome.goal) | {"measured": outcome.measured, "held": outcome.held} for outcome in found
    ]
    return results.to_json() | {"goals": goals}


def _status(results: Results) -> int:
    """1 if a measurement without a proxy or of this project's failed, or none could be made."""
    ours = {DIRECT, OURS, *(peer.name for peer in results.peers if peer.own)}
    return int(not results.peers or any(sample.peer in ours for sample in results.failures))
