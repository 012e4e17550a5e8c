"""`sidedoor client`: an origin, a receiver, a sender. Messages on stdout, logs and events on stderr or in a file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from client.certificates import write_self_signed
from client.messages import LIMIT_BYTES, Message
from client.origin import parse_address, serve_origin
from client.receiver import run_receiver
from client.sender import Sender
from client.settings import DirectRoute, OriginSettings, ReceiverSettings, SenderSettings, Socks5Route
from sidedoor.events import Emit, EventWriter, discard
from sidedoor.settings import SettingsError, UsageError, convert, read

T = TypeVar("T")

_config = click.option("--config", type=click.Path(), help="TOML file with the settings; options go over it.")
_events = click.option("--events", type=click.Path(), help="Write events as JSON lines to this file, `-`: stderr.")
_name = click.option("--name", help="This end's name.")
_origin = click.option("--origin", metavar="HOST[:PORT]", help="The origin; the port is 443 if not given.")
_ca_file = click.option("--ca-file", type=click.Path(), help="PEM of the authority to trust.")
_resolve = click.option(
    "--resolve", multiple=True, metavar="NAME=ADDRESS", help="Use this address for the name, no DNS. May be repeated."
)
_keylog = click.option("--keylog-file", type=click.Path(), help="Write TLS secrets there, to read captures.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def client() -> None:
    """Run the test messenger: an origin, a sender, a receiver."""


@client.command()
@_config
@_events
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen. May be repeated.")
@click.option("--certificate", type=click.Path(), help="PEM file with the certificate chain.")
@click.option("--key", type=click.Path(), help="PEM file with its key.")
@click.option("--self-signed", type=click.Path(), metavar="DIR", help="Make authority, certificate and key in DIR.")
@click.option("--host-name", multiple=True, help="With --self-signed: a name or address for the certificate.")
def origin(
    config: str | None,
    events: str | None,
    listen: tuple[str, ...],
    certificate: str | None,
    key: str | None,
    self_signed: str | None,
    host_name: tuple[str, ...],
) -> None:
    """Serve the origin until interrupted."""
    if self_signed is not None:
        certificate, key = _make_certificate(self_signed, host_name or ("localhost", "127.0.0.1", "::1"))
    elif host_name:
        raise UsageError("--host-name names what --self-signed makes: give both or none")
    settings = _settings(config, OriginSettings, {"listen": listen or None, "certificate": certificate, "key": key})
    with _emitting("origin", events) as emit:
        _run(serve_origin(settings, emit))


@client.command()
@_config
@_events
@_name
@_origin
@_ca_file
@_resolve
@_keylog
def receive(config: str | None, events: str | None, resolve: tuple[str, ...], **options: str | None) -> None:
    """Receive until interrupted: each message a line on stdout."""

    def show(message: Message) -> None:
        sys.stdout.buffer.write(message.body + b"\n")
        sys.stdout.buffer.flush()

    settings = _settings(config, ReceiverSettings, _end_options(resolve, options))
    with _emitting("receiver", events) as emit:
        _run(run_receiver(settings, emit, show=show))


@client.command()
@_config
@_events
@_name
@_origin
@_ca_file
@_resolve
@_keylog
@click.option("--peer", help="The receiver's name.")
@click.option(
    "--proxy", multiple=True, metavar="NAME=[USER:PASSWORD@]HOST:PORT", help="A SOCKS5 proxy. May be repeated."
)
@click.option("--count", type=click.IntRange(min=1), help="Send so many made-up messages instead of stdin's lines.")
@click.option("--interval", type=click.FloatRange(min=0), default=0.1, show_default=True, help="Seconds between them.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for the last acks.")
def send(
    config: str | None,
    events: str | None,
    resolve: tuple[str, ...],
    proxy: tuple[str, ...],
    count: int | None,
    interval: float,
    timeout: float,
    **options: str | None,
) -> None:
    """Send the lines of stdin, or --count messages; exit 0 when each was acknowledged, else 1."""
    given = _end_options(resolve, options)
    if proxy:
        given["routes"] = (DirectRoute(), *(_proxy(text) for text in proxy))
    settings = _settings(config, SenderSettings, given)
    with _emitting("client", events) as emit:
        missing = _run(_send(Sender(settings, emit), count, interval, timeout))
    if missing is None:
        sys.exit(1)  # Terminated before everything was acknowledged.
    if missing:
        click.echo(
            f"sidedoor: {missing} messages to {settings.peer} are not acknowledged after {timeout:g} s; "
            "is the receiver up, and does any route reach the origin? (--events - tells)",
            err=True,
        )
        sys.exit(1)


async def _send(sender: Sender, count: int | None, interval: float, timeout: float) -> int:
    """Submit everything and wait for the acks; how many are missing in the end."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sender.run(), name="sender")
        if count is None:
            while line := await asyncio.to_thread(sys.stdin.buffer.readline):
                await _submit(sender, line.rstrip(b"\r\n"))
        else:
            for number in range(1, count + 1):
                await _submit(sender, f"message {number}".encode())
                await asyncio.sleep(interval)
        await sender.drain(timeout)
        running.cancel()
    return sender.unacknowledged


async def _submit(sender: Sender, body: bytes) -> None:
    if len(body) > LIMIT_BYTES // 2:
        raise UsageError(f"a message of {len(body)} bytes; the limit is {LIMIT_BYTES // 2}")
    await sender.room()
    sender.submit(body)


def _run(work: Coroutine[Any, Any, T]) -> T | None:
    """Run to the end or until SIGTERM (then None); mistakes of the user come out as they are, not in a group."""

    async def main() -> T | None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name="client")
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    try:
        return asyncio.run(main())
    except BaseExceptionGroup as group:
        usage, rest = group.split(UsageError)
        if usage is None or rest is not None:
            raise
        raise _first(usage) from None


def _first(group: BaseExceptionGroup[UsageError]) -> UsageError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


@contextlib.contextmanager
def _emitting(source: str, path: str | None) -> Iterator[Emit]:
    if path is None:
        yield discard
    elif path == "-":
        yield EventWriter(source, sys.stderr.buffer)
    else:
        try:
            stream = open(path, "ab")  # noqa: SIM115 - closed below; only the opening is the user's mistake.
        except OSError as error:
            raise UsageError(f"--events {path}: cannot be written: {error.strerror}") from error
        with stream:
            yield EventWriter(source, stream)


def _settings(config: str | None, type_: type[T], options: dict[str, Any]) -> T:
    """File and options as settings: what an option gives goes over the file."""
    data: dict[str, Any] = read(config, dict) if config is not None else {}
    data |= {key: value for key, value in options.items() if value is not None}
    return convert(msgspec.to_builtins(data), type_, origin=config or "options")


def _end_options(resolve: tuple[str, ...], options: dict[str, str | None]) -> dict[str, Any]:
    given: dict[str, Any] = dict(options)
    if options["origin"] is not None:
        given["origin"] = _origin_address(options["origin"])
    if resolve:
        given["resolver"] = {"hosts": _hosts(resolve)}
    return given


def _origin_address(text: str) -> dict[str, Any]:
    host, port = parse_address(text if ":" in text else f"{text}:443")
    return {"host": host, "port": port}


def _hosts(resolve: tuple[str, ...]) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for text in resolve:
        name, separator, address = text.partition("=")
        if not separator:
            raise SettingsError(f"--resolve {text!r}: expected NAME=ADDRESS")
        hosts.setdefault(name, []).append(address)
    return hosts


def _proxy(text: str) -> Socks5Route:
    name, separator, where = text.partition("=")
    if not separator:
        raise SettingsError(f"--proxy {text!r}: expected NAME=HOST:PORT")
    login, _, address = where.rpartition("@")
    username, _, password = login.partition(":")
    host, port = parse_address(address)
    try:
        return Socks5Route(name=name, host=host, port=port, username=username or None, password=password or None)
    except ValueError as error:
        raise SettingsError(f"--proxy {text!r}: {error}") from error


def _make_certificate(folder: str, names: tuple[str, ...]) -> tuple[str, str]:
    try:
        files = write_self_signed(Path(folder), names)
    except (OSError, ValueError) as error:
        raise UsageError(f"--self-signed {folder}: certificates cannot be made: {error}") from error
    click.echo(json.dumps({"ca_file": str(files.ca), "names": list(names)}))
    return str(files.certificate), str(files.key)
