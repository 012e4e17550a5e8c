"""`sidedoor proxy`: run the proxy until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from proxy import log
from proxy.server import serve
from proxy.settings import DEFAULT_LISTEN, ProxySettings
from sidedoor import settings
from sidedoor.events import Emit, EventWriter, discard
from sidedoor.settings import UsageError


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
@click.option("--events", metavar="FILE", help="Write events as JSON lines to FILE (docs/events.md).")
@click.option("--verbose", is_flag=True, help="Log what happens to single clients, too.")
def proxy(
    listen: tuple[str, ...],
    config: str | None,
    users: tuple[str, ...],
    open_: bool,
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
    log.configure(verbose=verbose)
    with contextlib.ExitStack() as stack:
        emit = EventWriter("proxy", stack.enter_context(_open_events(events))) if events else discard
        asyncio.run(_serve_until_signal(chosen, emit))


async def _serve_until_signal(chosen: ProxySettings, emit: Emit) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await serve(chosen, emit, ready=_announce)
    except asyncio.CancelledError:
        task.uncancel()


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


def _open_events(path: str) -> BinaryIO:
    try:
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"--events: {path}: cannot be written: {error.strerror}") from error
