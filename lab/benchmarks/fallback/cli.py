"""`sidedoor bench fallback`: the command."""

from __future__ import annotations

import json
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from lab.benchmarks.fallback import arms, plot, runner
from lab.benchmarks.fallback import controls as summary
from lab.benchmarks.fallback.blocks import BLOCKS, BlockType
from lab.benchmarks.fallback.goals import outcomes
from lab.benchmarks.fallback.plan import Choice, Condition, Control, calibration, conditions, controls
from lab.benchmarks.fallback.records import ControlRecord, Record
from lab.benchmarks.fallback.results import Results
from lab.benchmarks.fallback.table import markdown, tables
from lab.benchmarks.output import check_folders, write_files
from lab.measurement.words import count
from lab.runtimes import INTERRUPTED
from lab.runtimes.netns import check_tools
from sidedoor.settings import UsageError

_DEFAULT_PARALLEL = max(1, (os.cpu_count() or 1) // 2)


@click.command()
@click.option("--short", is_flag=True, help="3 runs of each policy and block type, warm, 40 ms: under 15 minutes.")
@click.option("--json", "json_path", metavar="FILE", help="Write the results to FILE as JSON.")
@click.option("--markdown", "markdown_path", metavar="FILE", help="Write the tables as a page.")
@click.option("--plot", "plot_path", metavar="FILE.html", help="Draw them, in one file that works offline.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep all runs in this folder; a bench that was interrupted goes on there.  [default: kept nowhere]",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="Only this policy; may be repeated.  [default: all that the client has]",
)
@click.option("--block", "names", multiple=True, metavar="NAME", help="Only this block type (--list); may be repeated.")
@click.option(
    "--rtt", "rtts", multiple=True, type=click.IntRange(2, 2000), help="In ms; may be repeated.  [default: 40, 200]"
)
@click.option(
    "--loss", "losses", multiple=True, type=click.FloatRange(0, 50), help="In %; may be repeated.  [default: 0, 1]"
)
@click.option("--warm/--cold", "warm", default=None, help="Only blocks that come later, or that were there before.")
@click.option(
    "--repeats",
    type=click.IntRange(1, 10_000),
    help="At least so many runs a cell; a round of its lab gives 8, one a client, shared among the policies in it.  "
    "[default: 30; where p95 is claimed: 64]",
)
@click.option(
    "--watch",
    "watch_seconds",
    type=click.FloatRange(3, 600),
    help="So many seconds a recovery is waited for.  [default: 8 to 20, docs/fallback.md]",
)
@click.option(
    "--kill/--no-kill", default=True, show_default=True, help="With cells in which the client gets SIGKILL, too."
)
@click.option(
    "--parallel", default=_DEFAULT_PARALLEL, show_default=True, type=click.IntRange(1, 256), help="Labs at a time."
)
@click.option("--seed", type=int, help="Of every random choice.  [default: drawn; that of --out where there is one]")
@click.option("--control", is_flag=True, help="Labs without a block instead: what is done and spent for nothing.")
@click.option(
    "--hours",
    default=3.2,
    show_default=True,
    type=click.FloatRange(0.01),
    help="Client-hours of sidedoor in them.",
)
@click.option(
    "--calibrate", is_flag=True, help="One lab alone and among --parallel of its kind instead: do times suffer?"
)
@click.option("--list", "list_", is_flag=True, help="Say what would be measured, and measure nothing.")
@click.option("--results", "only_results", is_flag=True, help="Show what lies in --out, and measure nothing.")
def fallback(
    short: bool,
    json_path: str | None,
    markdown_path: str | None,
    plot_path: str | None,
    out: Path | None,
    policies: tuple[str, ...],
    names: tuple[str, ...],
    rtts: tuple[int, ...],
    losses: tuple[float, ...],
    warm: bool | None,
    repeats: int | None,
    watch_seconds: float | None,
    kill: bool,
    parallel: int,
    seed: int | None,
    control: bool,
    hours: float,
    calibrate: bool,
    list_: bool,
    only_results: bool,
) -> None:
    """How fast each fallback policy gets around each type of block, side by side in labs of network namespaces.

    What is measured, how to read it and how to go on where it stopped: docs/fallback.md. Exit code 1: a lab broke, or
    a message was lost or shown twice; 130: interrupted, what there is was shown.
    """
    check_folders({"--json": json_path, "--markdown": markdown_path, "--plot": plot_path})
    if only_results:
        if out is None:
            raise UsageError("--results: of which folder? give --out, too")
        if not (out / runner.BENCH).exists():
            raise UsageError(f"--results: no bench has written to {out}")
    choice = Choice(
        policies=chosen_policies(policies),
        blocks=chosen_blocks(names),
        rtts_ms=rtts,
        losses=tuple(loss / 100 for loss in losses),
        warm=warm,
        runs=repeats,
        watch_seconds=watch_seconds,
        short=short,
        kill=kill,
    )
    if control and calibrate:
        raise UsageError("--control and --calibrate: one after the other, please, into the same --out")
    if list_:
        found = controls(hours, 0) if control else [calibration(0)] if calibrate else conditions(choice)
        _list(found, parallel, [BLOCKS[name] for name in choice.blocks or BLOCKS])
        return
    if sys.platform != "linux":
        raise UsageError("bench fallback needs Linux: it makes network namespaces")
    if not only_results:
        check_tools()
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidedoor-fallback-")))
        stack.enter_context(runner.opened(folder))
        header = runner.read_header(folder) or runner.Header(
            seed=random.SystemRandom().randrange(2**31) if seed is None else seed
        )
        if seed is not None and header.seed != seed:
            raise UsageError(f"--seed: {folder} was begun with {header.seed}; leave it out, or name a new folder")
        if only_results:
            phases = []
        elif control:
            phases = [runner.jobs(folder / runner.CONTROL, controls(hours, header.seed))]
        elif calibrate:
            header = msgspec.structs.replace(header, calibrated_labs=parallel)
            phases = runner.calibration_jobs(folder / runner.CALIBRATION, calibration(header.seed), parallel)
        else:
            todo = conditions(msgspec.structs.replace(choice, seed=header.seed))
            phases = [runner.jobs(folder / runner.CONDITIONS, todo)]
        outcome, header = _measure(folder, header, phases, parallel)
        shown = _asked_for(choice, policies) if only_results else _everything
        results = _results(folder, header, outcome.failures, shown)
    _show(results, json_path, markdown_path, plot_path)
    if outcome.interrupted:
        again = "go on with the same command" if out else "with --out DIR it could go on where it was"
        print(f"sidedoor bench: interrupted; this is what there is; {again}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    wrong = results.messages.lost + results.messages.duplicated_application
    sys.exit(int(bool(outcome.failures) or bool(wrong)))


def chosen_policies(names: Sequence[str]) -> tuple[str, ...]:
    """Ours first; by default all that the client has, and the variants of ours. Raises UsageError."""
    known = [arms.OURS, *(name for name in arms.BASELINES if name in arms.registered()), arms.NO_SPARE, arms.RACE]
    for name in names:
        arms.find(name)
    return tuple(dict.fromkeys(names)) if names else tuple(known)


def chosen_blocks(names: Sequence[str]) -> tuple[str, ...]:
    """Raises UsageError."""
    for name in names:
        if name not in BLOCKS:
            raise UsageError(f"--block: no block type {name!r}; expected one of {', '.join(BLOCKS)}")
    return tuple(dict.fromkeys(names))


def _everything(record: Record) -> bool:
    """Of a folder's runs."""
    return True


def _asked_for(choice: Choice, policies: Sequence[str]) -> Callable[[Record], bool]:
    """Whether a run is one of those that the command line names; what it does not name, it takes all of."""

    def asked(record: Record) -> bool:
        return (
            (not policies or record.policy in policies)
            and (not choice.blocks or record.block in choice.blocks)
            and (not choice.rtts_ms or record.rtt_ms in choice.rtts_ms)
            and (not choice.losses or record.loss in choice.losses)
            and choice.warm in (None, record.warm)
        )

    return asked


def _results(folder: Path, header: runner.Header, failures: dict[str, str], shown: Callable[[Record], bool]) -> Results:
    """Of what lies in the folder: the runs that are `shown`, and the rest whole. Raises UsageError."""
    place = folder / runner.CALIBRATION
    return Results(
        [record for record in runner.read_runs(folder / runner.CONDITIONS, Record) if shown(record)],
        _machine(),
        failures,
        header.parallel,
        round(header.seconds, 1),
        summary.calibration(
            runner.read_runs(place / "alone", Record),
            runner.read_runs(place / "among", Record),
            header.calibrated_labs,
        ),
        summary.control(runner.read_runs(folder / runner.CONTROL, ControlRecord)),
    )


def _list(found: Sequence[Condition | Control], parallel: int, types: Sequence[BlockType]) -> None:
    for condition in found:
        runs = ", ".join(f"{policy} {n}" for policy, n in condition.runs.items())
        print(f"{condition.id}: {runs}; {_about(condition.estimated_seconds)}")
    seconds = sum(condition.estimated_seconds for condition in found) / parallel
    print(f"{count(len(found), 'lab')}, {parallel} at a time: {_about(seconds)}")
    for block in types:
        print(f"{block.name}: {block.what}")


def _about(seconds: float) -> str:
    """A time that was estimated, for people."""
    return f"about {seconds / 3600:.1f} h" if seconds >= 5400 else f"about {max(1, round(seconds / 60))} min"


def _measure(
    folder: Path, header: runner.Header, phases: Sequence[Sequence[runner.Job]], parallel: int
) -> tuple[runner.Outcome, runner.Header]:
    """One phase after the other, the labs of each side by side."""
    outcome = runner.Outcome({}, False, 0.0)
    jobs = [job for phase in phases for job in phase]
    if not jobs:
        return outcome, header
    header = msgspec.structs.replace(header, parallel=max(parallel, header.parallel) if header.seconds else parallel)
    runner.write_header(folder, header)
    messages = Console(stderr=True, highlight=False)
    seconds = sum(job.estimated_seconds for job in jobs) / parallel
    messages.print(f"{count(len(jobs), 'lab')}, {parallel} at a time: {_about(seconds)}", soft_wrap=True)
    with messages.status("starting") as status:
        report = status.update if messages.is_terminal else _lines(messages)
        for phase in phases:
            if not outcome.interrupted:
                outcome = outcome.and_then(runner.run(phase, parallel, report))
    header = msgspec.structs.replace(header, seconds=header.seconds + outcome.seconds)
    runner.write_header(folder, header)
    return outcome, header


def _lines(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, soft_wrap=True)


def _show(results: Results, json_path: str | None, markdown_path: str | None, plot_path: str | None) -> None:
    Console(width=None if sys.stdout.isatty() else 160).print(tables(results))
    command = shlex.join(["sidedoor", "bench", "fallback", *sys.argv[3:]])
    wanted: list[tuple[str, str | None, Callable[[], str]]] = [
        ("--json", json_path, lambda: json.dumps(to_json(results), indent=1) + "\n"),
        ("--markdown", markdown_path, lambda: markdown(results, command)),
        ("--plot", plot_path, lambda: plot.html(results)),
    ]
    write_files(wanted)


def to_json(results: Results) -> dict[str, Any]:
    """The results with their goals."""
    goals = [
        {"goal": o.goal, "where": o.where, "asked": o.asked, "measured": o.measured, "held": o.held}
        for o in outcomes(results)
    ]
    return results.to_json() | {"goals": goals}


def _machine() -> dict[str, Any]:
    import platform

    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
    }
