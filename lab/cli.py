"""`sidedoor lab`: run scenarios, or keep an interactive lab up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from lab import instance, scenario
from lab.plan import ExperimentPlan, SessionPlan
from lab.roles import ROLE_NAMES
from sidedoor.api import DEFAULT_NAME, Lab, LabError
from sidedoor.settings import UsageError

_runtime = click.option(
    "--runtime",
    type=click.Choice(["netns", "docker"]),
    default="netns",
    show_default=True,
    help="Where the hosts live.",
)
_delay = click.option(
    "--delay", "delay_seconds", type=click.FloatRange(0, 10), default=0.02, help="Of the wan, one way, in s."
)
_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which lab, where several are up.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Run scenarios in a lab network of its own, or open an interactive lab."""


@lab.command("list")
def list_() -> None:
    """List the scenarios that come with Sidedoor."""
    table = Table(box=None, header_style="bold")
    table.add_column("scenario")
    table.add_column("what it does")
    for name in scenario.shipped():
        table.add_row(name, scenario.read_scenario(scenario.SHIPPED / name).description)
    Console().print(table)


@lab.command()
@click.argument("scenario_name", metavar="SCENARIO")
@_runtime
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/SCENARIO]")
@click.option("--seed", type=int, help="For every random choice; each repeat adds 1.  [default: drawn, and reported]")
@click.option("--repeat", type=click.IntRange(1, 1000), help="How many runs.  [default: the scenario's]")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds for one run.  [default: the scenario's]")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the table.")
def run(
    scenario_name: str,
    runtime: str,
    out: Path | None,
    seed: int | None,
    repeat: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run SCENARIO (a name from `sidedoor lab list`, or a folder) and measure it.

    Exits with 0 when all that the scenario expects held, with 1 when something did not, with 2 when it could not be
    run as asked.
    """
    folder = scenario.find(scenario_name)
    loaded = scenario.load(folder, roles=ROLE_NAMES)
    out = _run_folder(out or Path("runs") / loaded.name)
    plan = ExperimentPlan(
        scenario=str(folder),
        out=str(out),
        seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
        repeat=repeat or loaded.repeat,
        timeout_seconds=timeout,
        json=as_json,
    )
    sys.exit(instance.run("lab.experiment:run", runtime, msgspec.to_builtins(plan), output=out))


def _run_folder(path: Path) -> Path:
    """An empty run folder at `path`; what an earlier run left there goes. Raises UsageError for any other folder."""
    known = {"summary.json", "events.jsonl", "ooni.jsonl", "report.html", "capture", "logs"}
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = {entry.name: entry for entry in path.iterdir()}
        strange = found.keys() - known
        if not strange and "events.jsonl" not in found:  # every run that did anything has left its events
            strange = {name for name, entry in found.items() if not entry.is_dir() or any(entry.iterdir())}
        if strange:
            raise UsageError(f"{path}: is not a run's folder ({sorted(strange)[0]} is in it); name another with --out")
        for entry in found.values():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (path / "capture").mkdir()
        (path / "logs").mkdir()
    except OSError as error:
        raise UsageError(f"{path}: cannot be made a run's folder: {error.strerror}; name another with --out") from error
    return path.resolve()


@lab.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--svg", type=click.Path(path_type=Path), help="Also save what is shown as a picture.")
def report_(folder: Path, svg: Path | None) -> None:
    """Show the results in a run's FOLDER again."""
    from lab import report
    from lab.measurement.summary import decode

    file = folder / "summary.json"
    try:
        summary = decode(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; is {folder} a run's folder?") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{file}: not a summary of this version: {error}") from error
    Console().print(report.terminal_table(summary))
    if svg:
        try:
            report.picture(summary, svg)
        except OSError as error:
            raise UsageError(f"{svg}: cannot be written: {error.strerror}") from error


@lab.command()
@_runtime
@_name
@_delay
def up(runtime: str, name: str, delay_seconds: float) -> None:
    """Bring an interactive lab up and leave it running in the background."""
    started = instance.start(name, runtime, msgspec.to_builtins(SessionPlan(delay_seconds=delay_seconds)))
    _show(started)


@lab.command()
@_name
@_delay
def attend(name: str, delay_seconds: float) -> None:
    """Be the supervisor of hosts that somebody else has made, in the foreground (lab/docker/compose.yaml)."""
    sys.exit(instance.attend(name, msgspec.to_builtins(SessionPlan(delay_seconds=delay_seconds))))


@lab.command()
@_name
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(name: str, as_json: bool) -> None:
    """Show the hosts, names and rules of a running lab."""
    running = Lab.find(name)
    if as_json:
        click.echo(json.dumps(running.status(), indent=2))
    else:
        _show(running)


def _show(running: Lab) -> None:
    state = running.status()
    console = Console()
    table = Table(title=f"lab {running.name} ({state['runtime']})", box=None, title_justify="left", header_style="bold")
    table.add_column("host")
    table.add_column("addresses")
    for host, addresses in state["hosts"].items():
        table.add_row(host, "  ".join(addresses))
    console.print(table)
    console.print(f"origin   {state['origin']}   proxies   {', '.join(state['proxies'])}", highlight=False)
    console.print(f"rules    {', '.join(state['rules']) or 'none'}", highlight=False)
    enter = "docker compose exec client" if state["runtime"] == "attended" else "sidedoor lab exec client --"
    console.print(f"try      {enter} curl https://messenger.example/", highlight=False)
    if state["dead"]:
        console.print(f"[red]dead     {', '.join(state['dead'])}[/red]")


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST of a running lab, with this terminal. The exit status is the command's.

    curl, OpenSSL and Python trust the lab's certificates there.
    """
    if command[0] == "--":  # click leaves it in place behind a positional argument
        command = command[1:]
    if not command:
        raise UsageError("no command to run; for example: sidedoor lab exec client -- curl https://messenger.example/")
    running = Lab.find(name)
    state = running.status()
    if host not in state["hosts"]:
        raise UsageError(f"the lab has no host {host!r}; it has {', '.join(state['hosts'])}")
    prefix, environment = instance.enter(running, state["runtime"], host, state["ca_file"])
    os.execvpe(prefix[0], [*prefix, *command], environment)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """A lab's refusal is one line to whoever asked."""
    try:
        yield
    except LabError as error:
        raise UsageError(str(error)) from error


@lab.group()
def censor() -> None:
    """Change what the censor of a running lab does."""


@censor.command("apply")
@_name
@click.argument("file", type=click.Path(path_type=Path))
def apply(name: str, file: Path) -> None:
    """Enforce the rules in FILE, in place of those that hold now."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 text (byte {error.start})") from error
    with _refusals():
        names = Lab.find(name).apply(text, origin=str(file))
    click.echo(f"enforced: {', '.join(names) or 'nothing'}")


@censor.command("clear")
@_name
def clear(name: str) -> None:
    """Lift every rule."""
    with _refusals():
        Lab.find(name).clear()
    click.echo("lifted")


@lab.command()
@_name
def down(name: str) -> None:
    """Take a running lab down; returns when nothing of it is left."""
    instance.stop(Lab.find(name))
    click.echo(f"lab {name} is down")


@lab.command()
def clean() -> None:
    """Remove what labs that were killed have left: their folders, containers and networks."""
    for line in instance.clean():
        click.echo(line)
