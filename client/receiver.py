"""The receiving end: takes messages from the origin, shows each once and in order, acknowledges what it has shown.

What exactly once means here: each delivery has a position, and with a `state_file` the receiver goes on after its
death. It hands out again, with `Delivery.again`, only what it was handing out when it died: the application may have
taken that or not. One that stores the position together with what it does with the message (in one transaction, one
write, one file) and passes the last one stored as `taken` has each message exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from client.attachments.incoming import IncomingAttachments
from client.inboxes import Inboxes, Show
from client.keys import make_encryption
from client.messages import Message, Ping, Replaced
from client.routes import Attempt, DialError, Route
from client.routes.catalogue import make_routes
from client.routes.connection import Connection
from client.settings import DirectRoute, ReceiverSettings
from client.state.receiving import ReceivingState
from sidedoor.events import Emit


async def run_receiver(
    settings: ReceiverSettings,
    emit: Emit,
    *,
    show: Show = lambda delivery: None,
    connected: Callable[[], None] = lambda: None,
    taken: int = 0,
) -> None:
    """Receive until cancelled; `show` gets each message once, in order; `connected` is called for each connection.

    `taken`: the highest position that the application knows it has. Raises SettingsError for a bad CA file or key,
    UsageError for a state file or a folder that cannot be used, or when another receiver has taken the name.
    """
    (route,) = make_routes(settings, (DirectRoute(),)).values()
    encryption = make_encryption(settings)
    state = ReceivingState(settings.state_file, name=settings.name)
    try:
        folder, limit_bytes = settings.attachments_folder, settings.attachment_limit_bytes
        attachments = IncomingAttachments(folder, limit_bytes, state, emit)
        inboxes = Inboxes(settings.name, state, encryption, attachments, emit, show)
        inboxes.resume(taken)
        await _run(settings, route, inboxes, emit, connected)
    finally:
        state.close()


async def _run(
    settings: ReceiverSettings, route: Route, inboxes: Inboxes, emit: Emit, connected: Callable[[], None]
) -> None:
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


async def _receive(connection: Connection, settings: ReceiverSettings, inboxes: Inboxes) -> bool:
    """Until the connection ends, or is silent in spite of a ping; whether it carried anything."""
    heard = False
    pinged = 0
    try:
        await connection.send(inboxes.hello)
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
            if isinstance(record, Message | Replaced):
                for ack in inboxes.receive(record):
                    await connection.send(ack)
    except ConnectionError:
        return heard
