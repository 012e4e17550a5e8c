"""`sidedoor client chat`: puts a chat together, and says in the end what is not acknowledged."""

from __future__ import annotations

import os
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
from client.messenger import Messenger, Missing
from client.narration import Narrator, afterwards
from client.option_names import Command
from client.options import make_settings
from client.settings import ChatSettings
from client.status import Status
from sidedoor.events import Emit
from sidedoor.settings import UsageError


@click.command(cls=Command, epilog=ROUTES, short_help="Talk with the other end in a terminal.")
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

    Without a terminal: lines from stdin, what was said on stdout, notices on stderr. With --state what is not
    acknowledged at the end goes out in the next chat; exit 0 if there is nothing of that kind, else 1.
    """
    settings = make_settings(config, ChatSettings, routed(**options))
    if not (os.isatty(0) and os.isatty(1)):
        plain = True
    elif events == "-" and os.isatty(2) and not plain:
        plain = True
        say("--events - writes to this terminal, so the chat is plain lines, as with --plain")
    with emitting("client", events, to=sys.stderr) as emit:
        talk = _Talk(settings, emit, plain=plain)
        missing = run(talk.run(timeout), until_interrupted=True, stop=talk.stop)
    if missing is None:
        sys.exit(1)
    if missing:
        fate = afterwards(settings.state_file, "chat", was_reached=talk.was_reached)
        say(f"{missing.of(settings.peer)} not acknowledged: {fate}")
    if talk.failure is not None:
        raise talk.failure
    if missing:
        sys.exit(1)


class _Talk:
    """Puts a chat together, within its event loop."""

    def __init__(self, settings: ChatSettings, emit: Emit, *, plain: bool) -> None:
        self._settings = settings
        self._emit = emit
        self._plain = plain
        self._chat: Chat | None = None
        self._narrator: Narrator | None = None

    @property
    def was_reached(self) -> bool:
        """Whether the origin was, by any route."""
        return self._narrator is not None and self._narrator.was_reached

    @property
    def failure(self) -> UsageError | None:
        """As `Chat.failure`."""
        return None if self._chat is None else self._chat.failure

    def stop(self) -> bool:
        """As `Chat.quit`."""
        return self._chat is not None and self._chat.quit()

    async def run(self, timeout: float) -> Missing:
        """The chat; what is not acknowledged. Raises SettingsError, UsageError."""
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

        self._narrator = Narrator(settings.origin, listen_in, notice, greet=True)
        screen = self._screen(conversation, lambda: messenger.sender.status)
        messenger = Messenger(settings, self._narrator, show)
        self._chat = Chat(messenger, conversation, screen, timeout)
        if messenger.missing:
            notice(f"{messenger.missing.of(settings.peer)} under way from an earlier chat")
        return await self._chat.run()

    def _screen(self, conversation: Conversation, status: Callable[[], Status]) -> Screen:
        if self._plain:
            return PlainScreen(conversation)
        from client.chat.terminal import TerminalScreen  # Only who needs it waits for prompt_toolkit.

        return TerminalScreen(conversation, status)
