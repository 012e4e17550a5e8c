"""`sidedoor censor`: run the censor on this host, check a rules file, remove what a killed censor left."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import click
import msgspec
import structlog

from censor.censor import Censor, CensorSettings
from censor.commands.catalogue import explain, profiles
from censor.commands.check import check
from censor.commands.properties import properties
from censor.commands.replay import replay
from censor.commands.selection import Selection, selected
from censor.kernel import kernel
from censor.lists.binding import check_files
from censor.packet_io.netlink import KernelError
from censor.prober.cli import probe
from censor.rules import RuleSet
from sidedoor import logs
from sidedoor.events import EventWriter
from sidedoor.settings import UsageError

_log = structlog.get_logger()


@click.group()
def censor() -> None:
    """Run the censor on this host, replay a capture through it, or look at its rules."""


for command in (check, explain, probe, profiles, properties, replay):
    censor.add_command(command)


@censor.command()
@click.option("--rules", "rules_path", metavar="FILE", help="Rules (TOML); without rules nothing is blocked.")
@click.option("--profile", metavar="NAME", help="A shipped profile in place of a rules file.")
@click.option("--list", "list_files", metavar="NAME=FILE", multiple=True, help="The file of a list that rules name.")
@click.option("--seed", type=int, help="For every draw.  [default: the rules']")
@click.option("--queue", metavar="N", default=100, show_default=True, type=click.IntRange(0, 65535), help="NFQUEUE.")
@click.option(
    "--queues",
    metavar="N",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="So many, from --queue on, each read by a process of its own.",
)
@click.option("--events", metavar="FILE", default="-", show_default=True, help="Events as JSON lines; - is stdout.")
@click.option("--statistics", metavar="FILE", help="Counts as one JSON object, written at the end.")
def run(
    rules_path: str | None,
    profile: str | None,
    list_files: tuple[str, ...],
    seed: int | None,
    queue: int,
    queues: int,
    events: str,
    statistics: str | None,
) -> None:
    """Act on the traffic that this host forwards until SIGTERM or Ctrl-C.

    Needs NET_ADMIN and NET_RAW (root, a container with both, or a user namespace). SIGHUP reads the rules and their
    lists again; if they are bad, that is said and the old ones stay.
    """
    logs.configure()

    def read() -> Selection:
        if rules_path is None and profile is None:
            if list_files:
                raise UsageError("--list needs --rules or --profile")
            return Selection(RuleSet(), Path())
        return selected(rules_path, profile, list_files, seed=seed)

    try:
        settings = CensorSettings(queue=queue, queues=queues)
    except ValueError as error:
        raise UsageError(f"--queues: {error}") from error
    with ExitStack() as stack:
        emit = EventWriter("censor", _open(events, stack))
        counts = _open(statistics, stack, "wb") if statistics else None
        try:
            asyncio.run(_run(read, settings, emit, counts))
        except KernelError as error:
            raise click.ClickException(str(error)) from error


async def _run(
    read: Callable[[], Selection], settings: CensorSettings, emit: EventWriter, counts: BinaryIO | None
) -> None:
    # A collection looks through all flows there are, which takes up to 0.1 s, while packets wait; flows need none.
    gc.disable()
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    rules, folder = read()
    check_files(rules.lists, folder)  # before the censor stands: reading them takes a while
    async with Censor(msgspec.structs.replace(settings, folder=str(folder)), emit) as running:
        if running.ipv6_missing:
            _log.warning("IPv4 only: names in IPv6 traffic are not censored", reason=running.ipv6_missing)
        await running.apply(rules)
        while await signals.get() == signal.SIGHUP:
            try:
                await running.apply(read().rules)
                _log.info("rules read again", rules=len(running.rules.rules))
            except (UsageError, KernelError) as error:
                _log.error("rules not changed", reason=str(error))
        if counts is not None:
            counts.write(json.dumps(await running.statistics()).encode() + b"\n")


def _open(events: str, stack: ExitStack, mode: Literal["ab", "wb"] = "ab") -> BinaryIO:
    if events == "-":
        return sys.stdout.buffer
    try:
        return stack.enter_context(open(events, mode))
    except OSError as error:
        raise UsageError(f"{events}: cannot be written: {error.strerror}") from error


@censor.command()
def clean() -> None:
    """Remove what a killed censor has left in the kernel of this network namespace. Refuses while one runs there."""
    try:
        if queues := kernel.alive():
            numbers = ", ".join(map(str, queues))
            raise UsageError(f"a censor runs here (NFQUEUE {numbers}); end it by SIGTERM, and it removes all by itself")
        found = kernel.cleanup()
    except KernelError as error:
        raise click.ClickException(str(error)) from error
    click.echo("removed" if found else "nothing to remove")
