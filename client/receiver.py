"""The receiving end: takes messages from the origin, shows each once and in order, acknowledges what it has shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from client.delivery import Inbox
from client.messages import Ack, Hello, Message, Ping
from client.routes import Attempt, DialError, Route
from client.routes.catalogue import make_routes
from client.routes.connection import Connection
from client.settings import DirectRoute, ReceiverSettings
from sidedoor.events import Emit

SESSION_LIMIT = 256
"""Sender sessions remembered; the one unused for longest is forgotten first."""

Show = Callable[[Message], None]


async def run_receiver(
    settings: ReceiverSettings,
    emit: Emit,
    *,
    show: Show = lambda message: None,
    connected: Callable[[], None] = lambda: None,
) -> None:
    """Receive until cancelled; `show` gets each message once, in order; `connected` is called for each connection.

    Raises SettingsError for a bad CA file.
    """
    (route,) = make_routes(settings, (DirectRoute(),)).values()
    inboxes = _Inboxes(settings.name, emit, show)
    backoff_seconds = settings.backoff_seconds
    while True:
        connection = await _dial(route, emit)
        if connection is not None:
            connected()
            try:
                if await _receive(connection, settings, inboxes):
                    backoff_seconds = settings.backoff_seconds
            finally:
                await connection.close()
        await asyncio.sleep(backoff_seconds)
        backoff_seconds = min(2 * backoff_seconds, settings.most_backoff_seconds)


async def _dial(route: Route, emit: Emit) -> Connection | None:
    try:
        return await route.dial(Attempt())
    except DialError as error:
        emit("route_failed", route=route.name, stage=error.stage, failure=error.failure)
        return None


async def _receive(connection: Connection, settings: ReceiverSettings, inboxes: _Inboxes) -> bool:
    """Until the connection ends, or is silent in spite of a ping; whether it carried anything."""
    heard = False
    pinged = 0
    try:
        await connection.send(Hello(settings.name))
        while True:
            try:
                async with asyncio.timeout(settings.keepalive_seconds):
                    record = await connection.receive()
            except TimeoutError:
                if pinged:
                    connection.abort()
                    return heard
                pinged += 1
                await connection.send(Ping(pinged))
                continue
            if record is None:
                return heard
            heard, pinged = True, 0
            if isinstance(record, Message):
                for ack in inboxes.receive(record):
                    await connection.send(ack)
    except ConnectionError:
        return heard


class _Inboxes:
    """The inbox of each sender session, and the events of what arrives."""

    def __init__(self, name: str, emit: Emit, show: Show) -> None:
        self._name = name
        self._emit = emit
        self._show = show
        self._inboxes: dict[tuple[str, int], Inbox] = {}
        self._shown: dict[tuple[str, int], int] = {}  # The highest id shown; kept apart from the inbox to check on it.

    def receive(self, message: Message) -> list[Ack]:
        """Take one copy; returns the acks to send."""
        key = (message.sender, message.session)
        inbox = self._inboxes.pop(key) if key in self._inboxes else Inbox()
        self._inboxes[key] = inbox
        if len(self._inboxes) > SESSION_LIMIT:
            forgotten = next(iter(self._inboxes))
            del self._inboxes[forgotten]
            self._shown.pop(forgotten, None)
        arrival = inbox.receive(message)
        if arrival.duplicate:
            self._emit("message_duplicate", id=message.id, sender=message.sender)
        for shown, reordered in arrival.shown:
            self._deliver(key, shown, reordered)
        acked = [shown for shown, _ in arrival.shown] + ([message] if arrival.ack_again else [])
        return [Ack(shown.sender, self._name, shown.session, shown.id) for shown in acked]

    def _deliver(self, key: tuple[str, int], message: Message, reordered: bool) -> None:
        if message.id <= self._shown.get(key, 0):
            self._emit("message_shown_twice", id=message.id, sender=message.sender)
        self._shown[key] = message.id
        self._show(message)
        self._emit(
            "message_delivered",
            t=time.monotonic(),
            id=message.id,
            sender=message.sender,
            bytes=len(message.body),
            reordered=reordered,
        )
