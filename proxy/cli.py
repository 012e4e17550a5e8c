"""`sidedoor proxy`: run the proxy until a signal ends it; check a configuration; hash a password."""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import sys
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from proxy import log
from proxy.server import check
from proxy.service import Service
from proxy.settings import DEFAULT_LISTEN, Admin, ProxySettings
from sidedoor import settings
from sidedoor.events import EventWriter, discard
from sidedoor.settings import UsageError


@click.group(invoke_without_command=True)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    multiple=True,
    help=f"Address to listen on, may be repeated; IPv6 as [::1]:1080; port 0: a free one. Default: {DEFAULT_LISTEN}.",
)
@click.option("--config", metavar="FILE", help="Settings in TOML; what the command line says goes first.")
@click.option("--check", "check_", is_flag=True, help="Only check the settings: exit 0, or 2 and what is wrong.")
@click.option(
    "--user",
    "users",
    metavar="NAME:FILE",
    multiple=True,
    help="A user, and the file whose first line is the password or its hash (it has no place on a command line).",
)
@click.option("--open", "open_", is_flag=True, help="Serve a non-loopback address without users.")
@click.option(
    "--workers", metavar="N", type=click.IntRange(1), help="Processes that share the connections (Linux). Default: 1."
)
@click.option("--admin", metavar="ADDRESS", help="Metrics, flows, drain on unix:PATH or HOST:PORT of the loopback.")
@click.option("--access-log", metavar="FILE", help="A JSON line per request and flow to FILE; - is stdout.")
@click.option("--events", metavar="FILE", help="Write events as JSON lines to FILE; - is stdout.")
@click.option("--verbose", is_flag=True, help="Log what happens to single clients, too.")
@click.pass_context
def proxy(
    context: click.Context,
    listen: tuple[str, ...],
    config: str | None,
    check_: bool,
    users: tuple[str, ...],
    open_: bool,
    workers: int | None,
    admin: str | None,
    access_log: str | None,
    events: str | None,
    verbose: bool,
) -> None:
    """Run the proxy: SOCKS5 (CONNECT, BIND, UDP), SOCKS4, SOCKS4a and HTTP CONNECT on the same port.

    SIGHUP reads the settings again; flows that stand go on. SIGTERM accepts nobody any more and ends when all flows
    have ended, after drain_seconds at the latest; SIGINT, or SIGTERM again, ends at once. Exit code 0, all of them.
    """
    if context.invoked_subcommand is not None:
        return

    def read() -> ProxySettings:
        chosen = settings.read(config, ProxySettings) if config else ProxySettings()
        changes: dict[str, object] = {
            "listen": listen,
            "users": chosen.users | dict(map(_read_user, users)),
            "open": open_,
            "workers": workers,
            "admin": Admin(listen=admin) if admin else None,
            "access_log": access_log,
        }
        return msgspec.structs.replace(chosen, **{key: value for key, value in changes.items() if value})

    try:
        chosen = read()
        if check_:
            check(chosen)
            click.echo("the settings are in order", err=True)
            return
        log.configure(verbose=verbose)
        _take_descriptors()
        _tame_the_garbage_collector()
        with contextlib.ExitStack() as stack:
            emit = EventWriter("proxy", stack.enter_context(_open_events(events))) if events else discard
            Service(chosen, emit, reread=read, announce=_announce, file=config).run()
    except UsageError as error:
        raise type(error)(_with_file(str(error), config)) from error


@proxy.command("hash-password")
def hash_password() -> None:
    """Hash a password for the settings: Argon2id (RFC 9106). It is read from the terminal, or a line from stdin."""
    from proxy.auth import hash_password

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not password:
        raise UsageError("hash-password: the password is empty; anybody could log in with it")
    click.echo(hash_password(password))


@proxy.command()
def schema() -> None:
    """Print the JSON schema of the settings, for editors."""
    from proxy.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _with_file(message: str, config: str | None) -> str:
    """What is wrong with settings that have been read does not know their file."""
    return message if config is None or message.startswith(f"{config}: ") else f"{config}: {message}"


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
    password = text.split("\n", 1)[0].removesuffix("\r")
    if not password:
        raise UsageError(f"--user {name}: {path}: its first line is empty; expected a password or its hash")
    return name, password


def _open_events(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdout.buffer)
    try:
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"--events: {path}: cannot be written: {error.strerror}") from error
