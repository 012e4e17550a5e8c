"""`sidedoor client send | listen | probe`: what a person uses (`client.chat.cli`: chat). Messages on stdout, the
connection on stderr."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import click

from client.command_line import (
    ROUTES,
    Seconds,
    attachments_option,
    config_option,
    emitting,
    events_beside_option,
    events_option,
    key_options,
    name_option,
    origin_options,
    peer_option,
    route_arguments,
    routed,
    run,
    say,
    state_option,
)
from client.delivery import Delivery
from client.messages import LIMIT_BYTES
from client.messenger import Messenger, Missing
from client.narration import Narrator, afterwards
from client.option_names import Command
from client.options import make_settings
from client.policies.catalogue import dial_settings
from client.printable import printable
from client.probe import probe_routes
from client.route_table import RouteTable
from client.sender import Sender
from client.settings import ListenerSettings, ProbeSettings, SenderSettings
from client.standard_input import lines
from client.surroundings import Surroundings
from client.verdicts import RouteVerdict, as_data, chosen, in_sentences, table
from sidedoor.events import discard
from sidedoor.settings import UsageError

PATIENCE_SECONDS = 5.0
"""A sender that waits for longer than this says so: a change of routes takes less."""


@click.command(cls=Command, epilog=ROUTES, short_help="Send lines, and files.")
@config_option
@events_option
@name_option
@peer_option
@origin_options
@key_options
@state_option
@route_arguments
@click.option(
    "--attach", multiple=True, type=click.Path(), metavar="FILE", help="Send this file, too. May be repeated."
)
@click.option("--count", type=click.IntRange(min=1), help="Send so many made-up messages instead of stdin's lines.")
@click.option("--interval", type=Seconds(), default=0.1, show_default=True, help="Seconds between them.")
@click.option(
    "--timeout", type=Seconds(endless=True), default=30.0, show_default=True, help="Seconds to wait for the last acks."
)
def send(
    config: str | None,
    events: str | None,
    attach: tuple[str, ...],
    count: int | None,
    interval: float,
    timeout: float,
    **options: Any,
) -> None:
    """Send the lines of stdin, or --count messages, and --attach files; exit 0 when all was acknowledged, else 1.

    With --attach a terminal is not read. With --state what was not acknowledged goes out by the next call with the same
    file.
    """
    settings = make_settings(config, SenderSettings, routed(**options))
    with emitting("client", events) as emit:
        narrator = Narrator(settings.origin, emit, say)
        sender = Sender(settings, narrator)
        if resumed := _missing(sender):
            say(f"resuming {resumed} to {settings.peer}, kept in {settings.state_file}")
        if count is not None or (attach and os.isatty(0)):
            bodies = _made_up(count or 0, interval)
        else:
            bodies = lines()
            if os.isatty(0):
                say("type lines; Ctrl-D ends")

        def waiting(seconds: float) -> None:
            if narrator.reached:
                say(f"connected, waiting for {settings.peer} to take {_missing(sender)} ({seconds:g} s more)")

        missing = None
        try:
            missing = run(_send(sender, attach, bodies, timeout, waiting))
        finally:
            if missing is None and (left := _missing(sender)):  # Interrupted, or one line was too long.
                fate = afterwards(settings.state_file, "call", was_reached=narrator.was_reached)
                say(f"{left.of(settings.peer)} not acknowledged: {fate}")
    if missing is None:
        sys.exit(1)  # Terminated before everything was acknowledged.
    if missing:
        answerless = f"the origin was reached, {settings.peer} did not answer; is it receiving, {_key_hint(settings)}?"
        why = answerless if narrator.reached else "; ".join(narrator.failures) or "no route was dialed yet"
        say(f"{missing.of(settings.peer)} not acknowledged after {timeout:g} s: {why}")
        say(afterwards(settings.state_file, "call", was_reached=narrator.was_reached))
    if missing or narrator.failed_attachments:
        sys.exit(1)


async def _made_up(count: int, interval: float) -> AsyncIterator[bytes]:
    for number in range(1, count + 1):
        yield f"message {number}".encode()
        await asyncio.sleep(interval)


def _missing(sender: Sender) -> Missing:
    return Missing(sender.unacknowledged, sender.unsent_attachments)


def _key_hint(settings: SenderSettings) -> str:
    """What the other end needs for messages to be taken there: one whose keys do not fit acknowledges nothing."""
    return "and without --key, as this end" if settings.peer_key is None else "and with the key of --peer-key"


async def _send(
    sender: Sender,
    attach: tuple[str, ...],
    bodies: AsyncIterator[bytes],
    timeout: float,
    waiting: Callable[[float], None],
) -> Missing:
    """Submit everything and wait for the acks; how many are missing in the end. `waiting` is called once when that
    takes long, with the seconds that are left."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sender.run(), name="sender")
        for path in attach:
            await sender.attach(path)
        async for body in bodies:
            await _submit(sender, body)
        patience = min(timeout, PATIENCE_SECONDS)
        if not await sender.drain(patience) and patience < timeout:
            waiting(timeout - patience)
            await sender.drain(timeout - patience)
        missing = _missing(sender)
        running.cancel()
    return missing


async def _submit(sender: Sender, body: bytes) -> None:
    if len(body) > LIMIT_BYTES // 2:
        raise UsageError(f"a message of {len(body)} bytes; the limit is {LIMIT_BYTES // 2}")
    await sender.room()
    sender.submit(body)


@click.command(cls=Command, epilog=ROUTES, short_help="Receive: each message a line on stdout.")
@config_option
@events_beside_option
@name_option
@origin_options
@key_options
@state_option
@attachments_option
@route_arguments
def listen(config: str | None, events: str | None, **options: Any) -> None:
    """Receive until interrupted: each message a line on stdout. (`receive` is the same.)

    It goes on by another route when the one in use is blocked, as `send` does. With --state nothing is shown twice
    after a crash, but for the one message that was being written then. What a terminal would obey (control characters)
    is replaced in a terminal; a file or pipe gets the bytes as they came.
    """
    in_terminal = os.isatty(1)

    def show(delivery: Delivery) -> None:
        body = printable(delivery.body.decode(errors="replace")).encode() if in_terminal else delivery.body
        sys.stdout.buffer.write(body + b"\n")
        sys.stdout.buffer.flush()

    settings = make_settings(config, ListenerSettings, routed(**options))
    with emitting("receiver", events, to=sys.stderr) as emit:
        narrator = Narrator(settings.origin, emit, say, greet=True)
        run(Messenger(settings, narrator, show).run(), until_interrupted=True)


@click.command(cls=Command, epilog=ROUTES, short_help="Try every route, and say what is wrong.")
@config_option
@origin_options
@route_arguments
@click.option("--at-once", type=click.IntRange(min=1), default=4, show_default=True, help="Routes tried at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def probe(config: str | None, at_once: int, as_json: bool, **options: Any) -> None:
    """Try every route to the origin, and say what each stage took, what is wrong, and what would be used.

    Exit 0 if any route works, 1 if none does. Who watches this host sees every proxy that is tried: to keep one
    hidden, do not name it here. Any origin will do that takes the WebSocket upgrade and answers pings.
    """
    settings = make_settings(config, ProbeSettings, routed(**options))
    notices = Narrator(settings.origin, discard, say)
    routes = RouteTable(settings, notices)
    count = len(routes.facts)
    say(f"probe: {count} route{'s' * (count > 1)} to {settings.origin}, {at_once} at a time")

    def done(verdict: RouteVerdict) -> None:
        say(f"probe: {verdict.route}: {'works' if verdict.works else f'fails in the stage {verdict.reached}'}")

    ping_seconds = dial_settings(settings.policy, settings.dial).upgrade_seconds
    verdicts = run(probe_routes(routes, at_once=at_once, ping_seconds=ping_seconds, done=done))
    if verdicts is None:
        sys.exit(1)  # Terminated.
    surroundings = Surroundings(settings.memory_file, settings.network_poll_seconds, notices)
    route = chosen(verdicts, routes.facts, surroundings.recollection(routes.names))
    if as_json:
        click.echo(json.dumps(as_data(str(settings.origin), verdicts, route), indent=2))
    else:
        click.echo("\n".join([*table(verdicts), "", *in_sentences(verdicts, route)]))
    sys.exit(0 if route is not None else 1)
