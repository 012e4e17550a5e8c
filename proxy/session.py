"""One client, from accept until its flow is handed to the relay or its request is refused.

No task, no future: the relay's poller calls `ready` and the deadlines call `expired`; a connection costs the system
calls that it needs and few objects. Only a target that is a name has a task, since its look-up takes a thread anyway.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from enum import Enum
from itertools import count
from socket import SocketType
from typing import Protocol

from proxy import log
from proxy.auth import Users
from proxy.dial import Dial, DialFailed, dial, local_address
from proxy.handshake import CredentialsPresented, Handshake, Refused, Requested
from proxy.listeners import name_of
from proxy.relay import Ended, Relay
from proxy.relay.deadlines import Deadlines
from proxy.relay.flow import close_orderly
from proxy.relay.poller import READ, WRITE
from proxy.relay.wheel import UNSET
from proxy.resolver import Resolver
from proxy.settings import ProxySettings
from proxy.wire import Address, AddressType, Command, ReplyCode
from sidedoor.events import Emit

RECEIVE_BYTES = 4096
"""More than all messages of a handshake: a read that is not full has emptied the socket. Also the most early data that
is taken before the connection to the target stands."""
LINGER_SECONDS = 1.0
"""How long a refused client may go on sending: closing on unread bytes is a reset, which may overtake the answer."""
LINGER_READS = 16


class Services(Protocol):
    """What all sessions of a server share."""

    settings: ProxySettings
    emit: Emit | None
    users: Users
    resolver: Resolver
    relay: Relay
    deadlines: Deadlines[Session]
    names: asyncio.TaskGroup
    flow_numbers: count[int]

    def negotiated(self, session: Session) -> None:
        """`session` no longer waits for what its client wants, and counts as a handshake no more."""

    def over(self, session: Session) -> None:
        """`session` has handed its sockets on or closed them."""


class Stage(Enum):
    """What a session waits for."""

    REQUEST = "request"
    TARGET = "target"
    LAST_READ = "last read"
    OVER = "over"


class Session:
    """A `Watcher` of the client's socket. Sees to it that the socket is closed, or the relay's."""

    __slots__ = ("_dial", "_handshake", "_services", "_sock", "_stage", "_task", "_wanted", "peer", "pending", "tick")

    def __init__(self, services: Services, sock: SocketType, peer: tuple[object, ...]) -> None:
        self.peer = peer
        self.pending = 0
        self.tick = UNSET
        self._services = services
        self._sock = sock
        self._handshake = Handshake(authenticate=bool(services.users), protocols=("socks5",))
        self._stage = Stage.REQUEST
        self._wanted: Address | None = None
        self._dial: Dial | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Wait for the client's greeting."""
        services = self._services
        services.deadlines.set(self, time.monotonic() + services.settings.handshake_seconds)
        try:
            services.relay.poller.watch(self._sock, self)
        except OSError as error:  # fs.epoll.max_user_watches
            log.warning("client_dropped", client=self.name, error=error.strerror)
            self.close()

    @property
    def name(self) -> str:
        """The client's "HOST:PORT"."""
        return name_of(self.peer)

    @property
    def reading(self) -> bool:
        """See `Watcher`."""
        return self._stage in (Stage.REQUEST, Stage.LAST_READ)

    def ready(self, mask: int) -> None:
        """See `Watcher`. Whatever happens to one client stays here."""
        try:
            if self._stage is Stage.REQUEST:
                self._negotiate(mask)
            elif self._stage is Stage.LAST_READ:
                self._read_last()
            else:
                self.pending |= mask
        except Exception as error:
            self._failed(error)

    def expired(self) -> None:
        """The deadline has come: of the handshake, of the dial, or of the client's last words."""
        try:
            if self._stage is Stage.TARGET:
                self._refuse(ReplyCode.HOST_UNREACHABLE)
            else:
                self._lost("deadline")
        except Exception as error:
            self._failed(error)

    def close(self) -> None:
        """Close what the session still has."""
        if self._stage is Stage.OVER:
            return
        self._over()
        self._services.relay.poller.forget(self._sock)
        close_orderly(self._sock)
        if self._dial is not None:
            self._services.relay.poller.forget(self._dial.sock)
            self._dial.sock.close()
        if self._task is not None:
            self._task.cancel()

    def _over(self) -> None:
        self._stage = Stage.OVER
        self._services.deadlines.clear(self)
        self._services.over(self)

    def _failed(self, error: Exception) -> None:
        """An OSError is the client's doing, anything else a mistake of ours."""
        if isinstance(error, OSError):
            self._lost(str(error))
        else:
            log.exception("session_failed", client=self.name)
            self.close()

    def _lost(self, why: str) -> None:
        """The client went away, or took longer than its deadline."""
        log.debug("client_lost", client=self.name, error=why)
        self.close()

    def _negotiate(self, mask: int) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.close()  # it hung up before it wanted anything
            return
        handshake = self._handshake
        handshake.receive(data)
        event = handshake.next_event()
        if isinstance(event, CredentialsPresented):
            source = str(self.peer[0])
            # Answers that come later (hashed passwords) are a no here.
            right = self._services.users.verify(event.user, event.password, source, bool)
            event = handshake.verdict(right is True)
            event = event or handshake.next_event()
        if event is None or isinstance(event, Requested):
            if answer := handshake.data_to_send():
                self._sock.send(answer)  # a few bytes into an empty buffer: they fit
            if event is not None:
                # An end or an error was reported with the bytes in front of it, and will not be again.
                self.pending = mask & ~(READ | WRITE) if len(data) < RECEIVE_BYTES else mask
                self._serve(event)
        elif isinstance(event, Refused):
            self._services.negotiated(self)
            if event.reply is None:
                log.info("client_refused", client=self.name, reason=event.reason)
            else:
                self._wanted = event.target
                self._emit_refused(event.reply)
            self._say_last()

    def _serve(self, request: Requested) -> None:
        if request.command is Command.CONNECT:
            self._connect(request.target)
        else:
            self._services.negotiated(self)
            self._wanted = request.target
            self._refuse(ReplyCode.COMMAND_NOT_SUPPORTED)

    def _connect(self, target: Address) -> None:
        """Dial `target`: at once where it is an address, in a task where it is a name."""
        services = self._services
        services.negotiated(self)
        self._stage = Stage.TARGET
        self._wanted = target
        services.deadlines.set(self, time.monotonic() + services.settings.connect_seconds)
        if target.type is AddressType.DOMAIN:
            services.deadlines.clear(self)  # the dial has its own
            self._task = services.names.create_task(self._dial_name(target), name=f"dial for {self.name}")
            return
        try:
            self._dial = Dial(target, self._dialed)
            services.relay.poller.watch(self._dial.sock, self._dial)
        except DialFailed as failed:
            self._refuse(failed.code)

    def _dialed(self, failed: ReplyCode | None) -> None:
        """The connect of `_dial` is over."""
        assert self._dial is not None
        try:
            if failed is None:
                self._hand_over(self._dial.sock)
            else:
                self._refuse(failed)
        except Exception as error:
            self._failed(error)

    async def _dial_name(self, target: Address) -> None:
        services = self._services
        try:
            sock = await dial(target, services.resolver, connect_seconds=services.settings.connect_seconds)
            self._task = None  # from here on nothing waits: there is nothing to cancel
            try:
                self._hand_over(sock)
            finally:
                if self._stage is not Stage.OVER:
                    sock.close()
        except DialFailed as failed:
            self._task = None
            self._refuse(failed.code)
        except Exception as error:
            self._failed(error)

    def _hand_over(self, target: SocketType) -> None:
        """The connection to the target stands: tell the client, and let the relay have both."""
        services, handshake = self._services, self._handshake
        handshake.succeed(local_address(target))
        self._sock.send(handshake.data_to_send())
        ended: Callable[[Ended], object] = _ignore
        if services.emit is not None:
            flow = next(services.flow_numbers)
            services.emit("flow_opened", flow=flow, client=self.name, target=str(self._wanted))
            ended = FlowEnd(services.emit, flow)
        self._over()
        services.relay.add(self._sock, target, handshake.early_data(), ended)

    def _refuse(self, code: ReplyCode) -> None:
        """Answer the request with `code`."""
        if self._dial is not None:
            self._services.relay.poller.forget(self._dial.sock)
            self._dial.sock.close()
            self._dial = None
        self._handshake.fail(code)
        self._emit_refused(code)
        self._say_last()

    def _emit_refused(self, reply: ReplyCode) -> None:
        if self._services.emit is not None:
            target = None if self._wanted is None else str(self._wanted)
            self._services.emit("flow_refused", client=self.name, target=target, reply=reply.name)

    def _say_last(self) -> None:
        """Send what the handshake has left to say and a FIN, then read until the client closes too."""
        services = self._services
        self._stage = Stage.LAST_READ
        services.deadlines.set(self, time.monotonic() + LINGER_SECONDS)
        self._sock.send(self._handshake.data_to_send())
        self._sock.shutdown(socket.SHUT_WR)
        self._read_last()
        if self._stage is Stage.LAST_READ:
            self.pending = 0
            services.relay.poller.watch(self._sock, self)

    def _read_last(self) -> None:
        try:
            for _ in range(LINGER_READS):
                if not self._sock.recv(RECEIVE_BYTES):
                    break
        except BlockingIOError:
            return
        self.close()


class FlowEnd:
    """Reports the end of a flow. (A class, for it is one per flow: smaller than a partial or a closure.)"""

    __slots__ = ("_emit", "_flow", "_started")

    def __init__(self, emit: Emit, flow: int) -> None:
        self._emit = emit
        self._flow = flow
        self._started = time.monotonic()

    def __call__(self, ended: Ended) -> None:
        self._emit(
            "flow_closed",
            flow=self._flow,
            bytes_up=ended.bytes_up,
            bytes_down=ended.bytes_down,
            reason=ended.reason.value,
            seconds=round(time.monotonic() - self._started, 6),
        )


def _ignore(ended: Ended) -> None:
    """Nobody wants to know."""
