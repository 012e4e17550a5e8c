"""`sidedoor lab`: run scenarios, or keep an interactive lab up."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from lab import instance, run_folder, scenario
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
    "--delay",
    "delay_seconds",
    type=click.FloatRange(0, 10),
    default=0.02,
    show_default=True,
    help="Of the wan, one way, in seconds.",
)
_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which lab, where several are up.")
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Run scenarios in a lab network of its own, or open an interactive lab."""


@lab.command("list")
@_json
def list_(as_json: bool) -> None:
    """List the scenarios that come with Sidedoor."""
    if as_json:
        listed = [
            {"name": name, "description": scenario.read_scenario(scenario.SHIPPED / name).description}
            for name in scenario.shipped()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("scenario")
    table.add_column("what it does")
    for name in scenario.shipped():
        table.add_row(name, scenario.read_scenario(scenario.SHIPPED / name).description)
    Console().print(table)


@lab.command()
@click.argument("scenario_name", metavar="SCENARIO")
@_runtime
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder.  [default: runs/NAME of the scenario's folder]",
)
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

    Results that lie in the run's folder already are kept beside it, as FOLDER.previous.

    Exits with 0 when all that the scenario expects held, with 1 when something did not, with 2 when it could not be
    run as asked.
    """
    folder = scenario.find(scenario_name)
    loaded = scenario.load(folder, roles=ROLE_NAMES)
    with run_folder.opened(out or Path("runs") / folder.name) as into:
        if into.moved:
            click.echo(into.moved, err=True)
        plan = ExperimentPlan(
            scenario=str(folder),
            out=str(into.path),
            seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
            repeat=repeat or loaded.repeat,
            timeout_seconds=timeout,
            json=as_json,
        )
        sys.exit(instance.run("lab.experiment:run", runtime, msgspec.to_builtins(plan), output=into.path))


@lab.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--svg", type=click.Path(path_type=Path), help="Also save what is shown as a picture.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the table.")
def report_(folder: Path, svg: Path | None, as_json: bool) -> None:
    """Show the results in a run's FOLDER again."""
    from lab import report
    from lab.measurement.summary import decode, encode

    file = folder / "summary.json"
    try:
        summary = decode(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; is {folder} a run's folder?") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{file}: not a summary of this version: {error}") from error
    if as_json:
        click.echo(encode(summary), nl=False)
    else:
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
@click.option("--without-censor", is_flag=True, help="Its host only forwards: for another program in its place.")
@click.option(
    "--capture",
    type=click.Path(path_type=Path, file_okay=False),
    help="Capture what passes at the client and at the censor: pcap files in this folder, complete after `down`.",
)
@_json
def up(
    runtime: str, name: str, delay_seconds: float, without_censor: bool, capture: Path | None, as_json: bool
) -> None:
    """Bring an interactive lab up and leave it running in the background."""
    if capture is not None:
        capture = _made(capture)
    plan = SessionPlan(
        delay_seconds=delay_seconds, censor=not without_censor, capture=None if capture is None else str(capture)
    )
    started = instance.start(name, runtime, msgspec.to_builtins(plan))
    _show(started, as_json=as_json)


def _made(folder: Path) -> Path:
    """The folder, absolute and there. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--capture {folder}: cannot be made: {error.strerror}") from error
    return folder.resolve()


@lab.command()
@_name
@_delay
def attend(name: str, delay_seconds: float) -> None:
    """Be the supervisor of hosts that somebody else has made, in the foreground (lab/docker/compose.yaml)."""
    sys.exit(instance.attend(name, msgspec.to_builtins(SessionPlan(delay_seconds=delay_seconds))))


@lab.command()
@_name
@click.option("--all", "all_", is_flag=True, help="Only name the labs that are up.")
@_json
def status(name: str, all_: bool, as_json: bool) -> None:
    """Show the hosts, names and rules of a running lab."""
    if not all_:
        _show(Lab.find(name), as_json=as_json)
    elif as_json:
        click.echo(json.dumps([running.name for running in Lab.running()], indent=2))
    else:
        for running in Lab.running():
            click.echo(f"{running.name:<15} {running.status()['runtime']}")


def _show(running: Lab, *, as_json: bool) -> None:
    """A lab for a program, or for a person: short lines, so that no terminal has to break one."""
    state = running.status()
    if as_json:
        click.echo(json.dumps({"name": running.name} | state, indent=2))
        return
    click.echo(f"lab {running.name} ({state['runtime']})")
    for host, addresses in state["hosts"].items():
        for ipv4, ipv6 in zip(addresses[::2], addresses[1::2], strict=True):  # of one interface each
            click.echo(f"  {host:<10} {ipv4:<13} {ipv6}")
            host = ""
    click.echo(f"origin   {state['origin']}")
    for key in ("proxies", "rules", "dead"):
        for number, item in enumerate(state[key]):
            click.echo(f"{'' if number else key:<8} {item}")
    if not state["rules"]:
        click.echo("rules    none")
    option = "" if running.name == DEFAULT_NAME else f" --name {running.name}"
    enter = "docker compose exec client" if state["runtime"] == "attended" else f"sidedoor lab exec{option} client --"
    click.echo(f"try      {enter} curl https://messenger.example/")
    if state["runtime"] != "attended":
        click.echo(f"end      sidedoor lab down{option}")


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST of a running lab, with this terminal. The exit status is the command's.

    127: HOST has no such program; 128 + N: signal N ended it. Signals are passed on to the command, which ends at the
    latest when this does.

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
    sys.exit(instance.execute(running, state["runtime"], host, command, state["ca_file"]))


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
        names = Lab.find(name).apply(text, origin=str(file), folder=file.parent)
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
    removed = list(instance.clean())
    for line in removed or ["nothing to clean"]:
        click.echo(line)
    if up_ := instance.up():
        click.echo(f"still up: {', '.join(up_)}")
