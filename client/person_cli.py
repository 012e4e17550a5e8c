"""`sidedoor client send | listen | chat | probe`: what a person uses. Messages on stdout, the connection on stderr."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from client.chat.conversation import Conversation
from client.chat.plain import PlainScreen
from client.chat.session import Chat, Screen
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
from client.narration import Narrator
from client.options import make_settings
from client.policies.catalogue import dial_settings
from client.probe import probe_routes
from client.route_table import RouteTable
from client.sender import Sender
from client.settings import ChatSettings, ListenerSettings, ProbeSettings, SenderSettings
from client.standard_input import lines
from client.status import Status
from client.surroundings import Surroundings
from client.verdicts import RouteVerdict, as_data, chosen, in_sentences, table
from sidedoor.events import Emit, discard
from sidedoor.settings import UsageError

PATIENCE_SECONDS = 5.0
"""A sender that waits for longer than this says so: a change of routes takes less."""


@click.command(epilog=ROUTES, short_help="Send lines, and files.")
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

    With --state what was not goes out by the next call with the same file.
    """
    settings = make_settings(config, SenderSettings, routed(**options))
    with emitting("client", events) as emit:
        narrator = Narrator(settings.origin, emit, say)
        sender = Sender(settings, narrator)
        if resumed := _missing(sender):
            say(f"resuming {resumed} to {settings.peer}, kept in {settings.state_file}")

        def waiting(seconds: float) -> None:
            if narrator.reached:
                say(f"connected, waiting for {settings.peer} to take {_missing(sender)} ({seconds:g} s more)")

        missing = run(_send(sender, attach, count, interval, timeout, waiting))
    if missing is None:
        sys.exit(1)  # Terminated before everything was acknowledged.
    if missing:
        answerless = f"the origin was reached, {settings.peer} did not answer; is it receiving, {_key_hint(settings)}?"
        why = answerless if narrator.reached else "; ".join(narrator.failures) or "no route was dialed yet"
        say(f"{missing.of(settings.peer)} not acknowledged after {timeout:g} s: {why}")
    if missing or narrator.failed_attachments:
        sys.exit(1)


def _missing(sender: Sender) -> Missing:
    return Missing(sender.unacknowledged, sender.unsent_attachments)


def _key_hint(settings: SenderSettings) -> str:
    """What the other end needs for messages to be taken there: one whose keys do not fit acknowledges nothing."""
    return "and without --key, as this end" if settings.peer_key is None else "and with the key of --peer-key"


async def _send(
    sender: Sender,
    attach: tuple[str, ...],
    count: int | None,
    interval: float,
    timeout: float,
    waiting: Callable[[float], None],
) -> Missing:
    """Submit everything and wait for the acks; how many are missing in the end. `waiting` is called once when that
    takes long, with the seconds that are left."""
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


@click.command(epilog=ROUTES, short_help="Receive: each message a line on stdout.")
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
    after a crash, but for the one message that was being written then.
    """

    def show(delivery: Delivery) -> None:
        sys.stdout.buffer.write(delivery.body + b"\n")
        sys.stdout.buffer.flush()

    settings = make_settings(config, ListenerSettings, routed(**options))
    with emitting("receiver", events, to=sys.stderr) as emit:
        narrator = Narrator(settings.origin, emit, say, greet=True)
        run(Messenger(settings, narrator, show).run(), until_interrupted=True)


@click.command(epilog=ROUTES, short_help="Talk with the other end in a terminal.")
@config_option
@events_beside_option
@name_option
@peer_option
@origin_options
@key_options
@state_option
@attachments_option
@route_arguments
@click.option(
    "--timeout", type=Seconds(endless=True), default=5.0, show_default=True, help="Seconds to wait at the end."
)
@click.option("--plain", is_flag=True, help="Plain lines in a terminal, too.")
def chat(config: str | None, events: str | None, timeout: float, plain: bool, **options: Any) -> None:
    """Talk with the other end: type lines, see its lines, and how the connection is. /help says what else there is.

    Without a terminal: lines from stdin, what was said on stdout, notices on stderr. With --state what is not delivered
    at the end goes out in the next chat; exit 0 if there is nothing of that kind, else 1.
    """
    settings = make_settings(config, ChatSettings, routed(**options))
    with emitting("client", events, to=sys.stderr) as emit:
        session = _Talk(settings, emit, plain=plain or not (sys.stdin.isatty() and sys.stdout.isatty()))
        missing = run(session.run(timeout), until_interrupted=True, stop=session.stop)
    if missing is None:
        sys.exit(1)
    if missing:
        kept = f"kept in {settings.state_file} for the next chat"
        lost = "lost; with --state FILE it would go out in the next chat"
        say(f"{missing.of(settings.peer)} not delivered: {lost if settings.state_file is None else kept}")
        sys.exit(1)


class _Talk:
    """Puts a chat together, within its event loop."""

    def __init__(self, settings: ChatSettings, emit: Emit, *, plain: bool) -> None:
        self._settings = settings
        self._emit = emit
        self._plain = plain
        self._chat: Chat | None = None

    def stop(self) -> None:
        """End the chat in order."""
        if self._chat is not None:
            self._chat.quit()

    async def run(self, timeout: float) -> Missing:
        """The chat; what is not delivered. Raises SettingsError, UsageError."""
        settings = self._settings
        conversation = Conversation(settings.name, lambda: time.strftime("%H:%M:%S"))

        def notice(text: str) -> None:
            conversation.notice(text)
            screen.changed()

        def show(delivery: Delivery) -> None:
            conversation.heard(delivery.sender, delivery.body)
            screen.changed()

        def listen_in(event: str, /, **fields: Any) -> None:
            self._emit(event, **fields)
            conversation(event, **fields)
            screen.changed()

        narrator = Narrator(settings.origin, listen_in, notice, greet=True)
        screen = self._screen(conversation, lambda: messenger.sender.status)
        messenger = Messenger(settings, narrator, show)
        self._chat = Chat(messenger, conversation, screen, timeout)
        if messenger.missing:
            notice(f"{messenger.missing.of(settings.peer)} under way from an earlier chat")
        return await self._chat.run()

    def _screen(self, conversation: Conversation, status: Callable[[], Status]) -> Screen:
        if self._plain:
            return PlainScreen(conversation)
        from client.chat.terminal import TerminalScreen  # Only who needs it waits for prompt_toolkit.

        return TerminalScreen(conversation, status)


@click.command(epilog=ROUTES, short_help="Try every route, and say what is wrong.")
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
