"""`sidedoor client`: an origin, a bridge, a receiver, a sender.

Messages on stdout, what becomes of the connection on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

from client.bridge import serve_bridge
from client.certificates import CertificateFiles, check_self_signed, write_self_signed
from client.delivery import Delivery
from client.keys import default_key_file, make_key, public_key, read_key
from client.messages import LIMIT_BYTES
from client.narration import Narrator
from client.options import ROUTE_FORMS, end_options, listed_proxies, make_settings, origin_address, route_options
from client.origin import bind_all, serve_origin
from client.proxies_cli import proxies
from client.receiver import run_receiver
from client.sender import Sender
from client.settings import BridgeSettings, OriginSettings, ReceiverSettings, SenderSettings
from client.standard_input import lines
from sidedoor.events import Emit, EventWriter, discard
from sidedoor.settings import UsageError

T = TypeVar("T")

_config = click.option("--config", type=click.Path(), help="TOML file with the settings; options go over it.")
_events = click.option("--events", type=click.Path(), help="Write events as JSON lines to this file, `-`: stdout.")
_name = click.option("--name", help="This end's name.")
_origin = click.option("--origin", metavar="HOST[:PORT]", help="The origin; the port is 443 if not given.")
_ca_file = click.option("--ca-file", type=click.Path(), help="PEM of the authority to trust.")
_resolve = click.option(
    "--resolve", multiple=True, metavar="NAME=ADDRESS", help="Use this address for the name, no DNS. May be repeated."
)
_keylog = click.option("--keylog-file", type=click.Path(), help="Write TLS secrets there, to read captures.")
_key = click.option("--key", "key_file", type=click.Path(), help="This end's private key; `client key` makes one.")
_peer_key = click.option(
    "--peer-key", metavar="KEY", help="The other end's public key: what `client key` printed there."
)
_state = click.option(
    "--state", "state_file", type=click.Path(), help="Keep what is under way there, to go on after a crash."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def client() -> None:
    """Run the test messenger: an origin, a sender, a receiver."""


client.add_command(proxies)


@client.command()
@click.option("--file", type=click.Path(), help="Where it is; default: ~/.config/sidedoor/client.key.")
def key(file: str | None) -> None:
    """Print this end's public key, for --peer-key at the other end; make the private one if there is none."""
    path = file or str(default_key_file())
    made = make_key(path)
    click.echo(public_key(read_key(path)))
    _say(f"{'made' if made else 'using'} the private key {path}; this end has it as --key {path}")


@client.command()
@_config
@_events
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen. May be repeated.")
@click.option("--certificate", type=click.Path(), help="PEM file with the certificate chain.")
@click.option("--key", type=click.Path(), help="PEM file with its key.")
@click.option(
    "--self-signed",
    type=click.Path(),
    metavar="DIR",
    help="Use ca.pem, leaf.pem and leaf.key in DIR; make them if none of them is there.",
)
@click.option("--host-name", multiple=True, help="With --self-signed: a name or address for the certificate.")
@click.option("--proxy-list", type=click.Path(), help="A signed list of proxies for the clients; see `proxies`.")
def origin(
    config: str | None,
    events: str | None,
    listen: tuple[str, ...],
    certificate: str | None,
    key: str | None,
    self_signed: str | None,
    host_name: tuple[str, ...],
    proxy_list: str | None,
) -> None:
    """Serve the origin until interrupted."""
    files = None
    if self_signed is not None:
        files = CertificateFiles.within(self_signed)
        certificate, key = str(files.certificate), str(files.key)
    elif host_name:
        raise UsageError("--host-name names what --self-signed makes: give both or none")
    settings = make_settings(
        config,
        OriginSettings,
        {"listen": listen or None, "certificate": certificate, "key": key, "proxy_list": proxy_list},
        hint="" if files else "; --self-signed DIR makes a certificate and its key",
    )
    with contextlib.ExitStack() as stack:
        # Before any file is made: a busy port leaves everything as it is.
        listeners = [stack.enter_context(sock) for sock in bind_all(settings.listen)]
        if files is not None:
            _have_certificate(files, host_name or ("localhost", "127.0.0.1", "::1"))
        emit = _announcing(stack.enter_context(_emitting("origin", events)))
        _run(serve_origin(settings, emit, listeners=listeners), until_interrupted=True)


@client.command()
@_config
@_events
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen. May be repeated.")
@click.option(
    "--key",
    envvar="SIDEDOOR_BRIDGE_KEY",
    show_envvar=True,
    help="64 hexadecimal digits (openssl rand -hex 32), which clients have, too. Others see options: better a file.",
)
@click.option("--target", metavar="HOST[:PORT]", help="The origin; the port is 443 if not given.")
def bridge(
    config: str | None, events: str | None, listen: tuple[str, ...], key: str | None, target: str | None
) -> None:
    """Serve a bridge of obfuscated routes to one origin until interrupted."""
    where = None if target is None else origin_address(target)
    settings = make_settings(config, BridgeSettings, {"listen": listen or None, "key": key, "target": where})
    with _emitting("bridge", events) as emit:
        _run(serve_bridge(settings, _announcing(emit)), until_interrupted=True)


@client.command()
@_config
@click.option(
    "--events",
    type=click.Path(),
    help="Write events as JSON lines to this file, `-`: stderr, since the messages are on stdout.",
)
@_name
@_origin
@_ca_file
@_resolve
@_keylog
@_key
@_peer_key
@_state
@click.option(
    "--attachments",
    "attachments_folder",
    type=click.Path(),
    metavar="DIR",
    help="Take attachments, and put them there.",
)
def receive(config: str | None, events: str | None, resolve: tuple[str, ...], **options: str | None) -> None:
    """Receive until interrupted: each message a line on stdout.

    With --state nothing is shown twice after a crash, but for the one message that was being written then.
    """

    def show(delivery: Delivery) -> None:
        sys.stdout.buffer.write(delivery.body + b"\n")
        sys.stdout.buffer.flush()

    settings = make_settings(config, ReceiverSettings, end_options(resolve, options))
    with _emitting("receiver", events, to=sys.stderr) as emit:
        narrator = Narrator(settings.origin, emit, _say)
        receiving = run_receiver(settings, narrator, show=show, connected=narrator.connected)
        _run(receiving, until_interrupted=True)


@client.command()
@_config
@_events
@_name
@_origin
@_ca_file
@_resolve
@_keylog
@_key
@_peer_key
@_state
@click.option(
    "--attach", multiple=True, type=click.Path(), metavar="FILE", help="Send this file, too. May be repeated."
)
@click.option("--peer", help="The receiver's name.")
@click.option(
    "--proxy", multiple=True, metavar="NAME=[USER:PASSWORD@]HOST:PORT", help="A SOCKS5 proxy. May be repeated."
)
@click.option(
    "--proxy-list", metavar="KEY=FILE", help="More proxies, of a list signed by this public key, kept in FILE."
)
@click.option("--memory-file", type=click.Path(), help="Keep there what worked on which network.")
@click.option(
    "--route",
    multiple=True,
    metavar="[NAME=]KIND:...",
    help=f"A way to the origin, in order of preference; no direct one if it is not named. "
    f"May be repeated. {'; '.join(ROUTE_FORMS.values())}.",
)
@click.option("--count", type=click.IntRange(min=1), help="Send so many made-up messages instead of stdin's lines.")
@click.option("--interval", type=click.FloatRange(min=0), default=0.1, show_default=True, help="Seconds between them.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for the last acks.")
def send(
    config: str | None,
    events: str | None,
    resolve: tuple[str, ...],
    proxy: tuple[str, ...],
    proxy_list: str | None,
    route: tuple[str, ...],
    attach: tuple[str, ...],
    count: int | None,
    interval: float,
    timeout: float,
    **options: str | None,
) -> None:
    """Send the lines of stdin, or --count messages, and --attach files; exit 0 when all was acknowledged, else 1.

    With --state what was not goes out by the next call with the same file.
    """
    given = end_options(resolve, options)
    if proxy_list is not None:
        given["proxy_list"] = listed_proxies(proxy_list)
    if routes := route_options(route, proxy):
        given["routes"] = routes
    settings = make_settings(config, SenderSettings, given)
    with _emitting("client", events) as emit:
        narrator = Narrator(settings.origin, emit, _say)
        missing = _run(_send(Sender(settings, narrator), attach, count, interval, timeout))
    if missing is None:
        sys.exit(1)  # Terminated before everything was acknowledged.
    if missing:
        answerless = f"the origin was reached, {settings.peer} did not answer; is it receiving?"
        why = answerless if narrator.reached else "; ".join(narrator.failures) or "no route was dialed yet"
        _say(f"{missing.of(settings.peer)} not acknowledged after {timeout:g} s: {why}")
    if missing or narrator.failed_attachments:
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class _Missing:
    """What has no ack."""

    messages: int
    attachments: int

    def __bool__(self) -> bool:
        return bool(self.messages or self.attachments)

    def of(self, peer: str) -> str:
        """ "2 messages and 1 attachment to bob are"."""
        counts = ((self.messages, "message"), (self.attachments, "attachment"))
        words = [f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count]
        return f"{' and '.join(words)} to {peer} {'is' if self.messages + self.attachments == 1 else 'are'}"


async def _send(
    sender: Sender, attach: tuple[str, ...], count: int | None, interval: float, timeout: float
) -> _Missing:
    """Submit everything and wait for the acks; how many are missing in the end."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sender.run(), name="sender")
        for path in attach:
            await sender.attach(path)
        if count is None:
            async for line in lines():
                await _submit(sender, line)
        else:
            for number in range(1, count + 1):
                await _submit(sender, f"message {number}".encode())
                await asyncio.sleep(interval)
        await sender.drain(timeout)
        missing = _Missing(sender.unacknowledged, sender.unsent_attachments)
        running.cancel()
    return missing


async def _submit(sender: Sender, body: bytes) -> None:
    if len(body) > LIMIT_BYTES // 2:
        raise UsageError(f"a message of {len(body)} bytes; the limit is {LIMIT_BYTES // 2}")
    await sender.room()
    sender.submit(body)


def _run(work: Coroutine[Any, Any, T], *, until_interrupted: bool = False) -> T | None:
    """Run to the end, or until SIGINT or SIGTERM (then None); mistakes of the user come out alone, not in a group.

    Raises click.Abort after a SIGINT that is not how `work` is meant to end (`until_interrupted`).
    """
    came: list[int] = []

    async def main() -> T | None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name="client")

            def stop(number: int) -> None:
                came.append(number)
                task.cancel()

            # SIGINT, too: a shell starts what it puts into the background of a script with SIGINT ignored.
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    try:
        result = asyncio.run(main())
    except BaseExceptionGroup as group:
        usage, rest = group.split(UsageError)
        if usage is None or rest is not None:
            raise
        raise _first(usage) from None
    if result is None and signal.SIGINT in came and not until_interrupted:
        raise click.Abort
    return result


def _first(group: BaseExceptionGroup[UsageError]) -> UsageError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _say(line: str) -> None:
    click.echo(f"sidedoor: {line}", err=True)


def _announcing(emit: Emit) -> Emit:
    def announce(event: str, /, **fields: Any) -> None:
        emit(event, **fields)
        if event in ("origin_listening", "bridge_listening"):
            _say(f"{event.partition('_')[0]}: listening on {', '.join(fields['addresses'])}")

    return announce


@contextlib.contextmanager
def _emitting(source: str, path: str | None, *, to: TextIO | None = None) -> Iterator[Emit]:
    """`-` is stdout, or `to`."""
    if path is None:
        yield discard
    elif path == "-":
        yield EventWriter(source, (to or sys.stdout).buffer)
    else:
        try:
            stream = open(path, "ab")  # noqa: SIM115 - closed below; only the opening is the user's mistake.
        except OSError as error:
            raise UsageError(f"--events {path}: cannot be written: {error.strerror}") from error
        with stream:
            yield EventWriter(source, stream)


def _have_certificate(files: CertificateFiles, names: tuple[str, ...]) -> None:
    """Use the files if they are there and good for `names`, make them if none is there. Raises UsageError."""
    folder = files.ca.parent
    if existing := files.existing:
        try:
            check_self_signed(files, names)
        except (OSError, ValueError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"--self-signed {folder}: cannot use what is there: {reason}; to have new files made, "
                f"name another folder or remove {', '.join(path.name for path in existing)}"
            ) from error
    else:
        try:
            write_self_signed(folder, names)
        except (OSError, ValueError) as error:
            raise UsageError(f"--self-signed {folder}: certificates cannot be made: {error}") from error
    _say(f"origin: {'using' if existing else 'made'} the certificate for {', '.join(names)}; clients trust {files.ca}")
