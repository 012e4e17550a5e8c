"""`sidedoor proxy`: run the proxy until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from proxy import log
from proxy.listeners import name_of
from proxy.relay import fast
from proxy.relay.poller import FlowLoop
from proxy.server import serve, serve_on
from proxy.settings import DEFAULT_LISTEN, ProxySettings
from proxy.workers import bind_all, supervise
from sidedoor import settings
from sidedoor.events import Emit, EventWriter, discard
from sidedoor.settings import UsageError

FLOWS_PER_WORKER = 10**9
"""The numbers of a worker's flows: those of the third one begin at 3,000,000,001."""


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    multiple=True,
    help=f"Address to listen on, may be repeated; IPv6 as [::1]:1080; port 0: a free one. Default: {DEFAULT_LISTEN}.",
)
@click.option("--config", metavar="FILE", help="Settings in TOML; what the command line says goes first.")
@click.option(
    "--user",
    "users",
    metavar="NAME:FILE",
    multiple=True,
    help="A user, and the file whose first line is the password (a password has no place on a command line).",
)
@click.option("--open", "open_", is_flag=True, help="Serve a non-loopback address without users.")
@click.option(
    "--workers", metavar="N", type=click.IntRange(1), help="Processes that share the connections (Linux). Default: 1."
)
@click.option("--events", metavar="FILE", help="Write events as JSON lines to FILE; - is stdout.")
@click.option("--verbose", is_flag=True, help="Log what happens to single clients, too.")
def proxy(
    listen: tuple[str, ...],
    config: str | None,
    users: tuple[str, ...],
    open_: bool,
    workers: int | None,
    events: str | None,
    verbose: bool,
) -> None:
    """Run the SOCKS5 proxy: CONNECT, without authentication or with user and password.

    Runs until SIGINT or SIGTERM, which end it with exit code 0.
    """
    chosen = settings.read(config, ProxySettings) if config else ProxySettings()
    if listen:
        chosen = msgspec.structs.replace(chosen, listen=listen)
    if users:
        chosen = msgspec.structs.replace(chosen, users=chosen.users | dict(map(_read_user, users)))
    if open_:
        chosen = msgspec.structs.replace(chosen, open=True)
    if workers:
        chosen = msgspec.structs.replace(chosen, workers=workers)
    log.configure(verbose=verbose)
    _take_descriptors()
    _tame_the_garbage_collector()
    with contextlib.ExitStack() as stack:
        emit = EventWriter("proxy", stack.enter_context(_open_events(events))) if events else discard
        if chosen.workers > 1:
            _run_workers(chosen, emit)
        else:
            _run(_until_signal(serve(chosen, emit, ready=_announce)))


def _run(serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=FlowLoop if fast.SUPPORTED else None) as runner:
        runner.run(serving)


def _run_workers(chosen: ProxySettings, emit: Emit) -> None:
    """Listen, and let workers serve until a signal comes."""
    chosen.check()
    sets = bind_all([one.address for one in chosen.listeners], chosen.workers)
    addresses = [name_of(sock.getsockname()) for sock in sets[0]]

    def listening() -> None:
        emit("proxy_listening", addresses=addresses)
        _announce(addresses)

    def work(listeners: Sequence[socket.socket], number: int, alive: int) -> None:
        served = serve_on(listeners, chosen, emit, first_flow=number * FLOWS_PER_WORKER + 1)
        _run(_until_signal(served, alive))

    supervise(sets, work, ready=listening)


async def _until_signal(served: Coroutine[Any, Any, None], alive: int | None = None) -> None:
    """Run `served` until SIGINT or SIGTERM, or until the other end of the pipe `alive` is closed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    if alive is not None:
        loop.add_reader(alive, task.cancel)
    try:
        await served
    except asyncio.CancelledError:
        task.uncancel()


def _take_descriptors() -> None:
    """Raise the soft limit to the hard one: two descriptors a flow, and nothing here uses select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # a system that has no number for "unlimited": what there is will do


def _tame_the_garbage_collector() -> None:
    """Flows leave no cycles, and what is loaded by now stays: looking for garbage all the time finds none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _announce(addresses: list[str]) -> None:
    click.echo(f"sidedoor proxy: listening on {', '.join(addresses)}", err=True)


def _read_user(option: str) -> tuple[str, str]:
    name, colon, path = option.partition(":")
    if not colon or not path:
        raise UsageError(f'--user: "{option}" is not NAME:FILE')
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--user {name}: {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--user {name}: {path}: is not UTF-8 text (byte {error.start})") from error
    return name, text.split("\n", 1)[0].removesuffix("\r")


def _open_events(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdout.buffer)
    try:
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"--events: {path}: cannot be written: {error.strerror}") from error
