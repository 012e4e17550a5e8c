"""One client, from accept until its flow is handed to the relay or its request is refused."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Protocol

from proxy import log
from proxy.auth import Users
from proxy.dial import DialFailed, dial, local_address
from proxy.handshake import ConnectRequested, CredentialsPresented, Handshake, Refused
from proxy.relay import Ended, Relay
from proxy.resolver import Resolver
from proxy.settings import ProxySettings
from proxy.wire import Address
from sidedoor.events import Emit

RECEIVE_BYTES = 4096
"""Also the most early data that is taken before the connection to the target stands."""
LINGER_SECONDS = 1.0
"""How long a refused client may go on sending: closing on unread bytes is a reset, which may overtake the answer."""


class Services(Protocol):
    """What all sessions of a server share."""

    settings: ProxySettings
    emit: Emit
    users: Users
    resolver: Resolver
    relay: Relay
    flow_numbers: count[int]


class Session:
    """Runs as a task of its own. `negotiated` is called once the handshake no longer waits for the client.

    `close` must be called when the task is done, even if it was cancelled before it began.
    """

    def __init__(
        self, services: Services, sock: socket.socket, peer: str, negotiated: Callable[[Session], object]
    ) -> None:
        self.peer = peer
        self._services = services
        self._sock: socket.socket | None = sock
        self._negotiated = negotiated

    def close(self) -> None:
        """Close the client's connection, unless the relay has it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def run(self) -> None:
        """The whole session. Whatever happens to one client stays here."""
        sock = self._sock
        assert sock is not None
        try:
            await self._run(sock)
        except OSError as error:  # the client went away, or took longer than its deadline
            log.debug("client_lost", client=self.peer, error=str(error) or type(error).__name__)
        except Exception:
            log.exception("session_failed", client=self.peer)

    async def _run(self, sock: socket.socket) -> None:
        handshake = Handshake(authenticate=bool(self._services.users))
        async with asyncio.timeout(self._services.settings.handshake_seconds):
            event = await self._negotiate(sock, handshake)
        self._negotiated(self)
        match event:
            case ConnectRequested(target):
                await self._connect(sock, handshake, target)
            case Refused(reason, reply, wanted):
                if reply is None:
                    log.info("client_refused", client=self.peer, reason=reason)
                else:
                    self._emit_refused(reply.name, wanted)
                await _send_last(sock, handshake.data_to_send())

    async def _negotiate(self, sock: socket.socket, handshake: Handshake) -> ConnectRequested | Refused | None:
        """What the client wants; None where it hung up first."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, RECEIVE_BYTES):
            handshake.receive(data)
            event = handshake.next_event()
            if isinstance(event, CredentialsPresented):
                event = handshake.verdict(self._services.users.verify(event.user, event.password))
                event = event or handshake.next_event()
            if isinstance(event, Refused):
                return event
            if answer := handshake.data_to_send():
                await loop.sock_sendall(sock, answer)
            if isinstance(event, ConnectRequested):
                return event
        return None

    async def _connect(self, sock: socket.socket, handshake: Handshake, target: Address) -> None:
        services = self._services
        try:
            target_sock = await dial(target, services.resolver, connect_seconds=services.settings.connect_seconds)
        except DialFailed as failed:
            handshake.fail(failed.code)
            self._emit_refused(failed.code.name, target)
            await _send_last(sock, handshake.data_to_send())
            return
        try:
            handshake.succeed(local_address(target_sock))
            await asyncio.get_running_loop().sock_sendall(sock, handshake.data_to_send())
            flow = next(services.flow_numbers)
            services.emit("flow_opened", flow=flow, client=self.peer, target=str(target))
            ended = partial(_flow_ended, services.emit, flow, time.monotonic())
            services.relay.add(sock, target_sock, handshake.early_data(), ended)
            self._sock = None
        except BaseException:
            target_sock.close()
            raise

    def _emit_refused(self, reply: str, target: Address | None) -> None:
        self._services.emit(
            "flow_refused", client=self.peer, target=None if target is None else str(target), reply=reply
        )


def _flow_ended(emit: Emit, flow: int, started: float, ended: Ended) -> None:
    emit(
        "flow_closed",
        flow=flow,
        bytes_up=ended.bytes_up,
        bytes_down=ended.bytes_down,
        reason=ended.reason.value,
        seconds=round(time.monotonic() - started, 6),
    )


async def _send_last(sock: socket.socket, answer: bytes) -> None:
    """Send `answer` and a FIN, then read until the client closes too, for LINGER_SECONDS at most."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LINGER_SECONDS):
        await loop.sock_sendall(sock, answer)
        sock.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(sock, RECEIVE_BYTES):
            pass
