"""One client, from accept until its flow is handed to the relay or its request is refused.

No task, no future: the relay's poller calls `ready` and the deadlines call `expired`; a connection costs the system
calls that it needs and few objects. What a request asks for is done by its command: `connect`, `bind`, `associate`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from enum import Enum
from socket import SocketType
from typing import Protocol

from proxy import log
from proxy.accounts import Account
from proxy.auth import log_failure
from proxy.flows import Flow, Services
from proxy.handshake import CredentialsPresented, Event, Handshake, Machine, Refused, Requested
from proxy.listeners import name_of
from proxy.metrics import Failure
from proxy.relay.flow import close_orderly
from proxy.relay.poller import READ, WRITE
from proxy.relay.wheel import UNSET
from proxy.tls import TlsFront
from proxy.wire import Address, Command, ProtocolError, ReplyCode
from proxy.wire.proxy_protocol import ProxyHeader, read_proxy_header

RECEIVE_BYTES = 4096
"""More than all messages of a SOCKS handshake: a read that is not full has emptied the socket. Also the most early data
that is taken before the connection to the target stands."""
LINGER_SECONDS = 1.0
"""How long a refused client may go on sending: closing on unread bytes is a reset, which may overtake the answer."""
LINGER_READS = 16


class Stage(Enum):
    """What a session waits for."""

    HEADER = "header"
    """The PROXY protocol's."""
    REQUEST = "request"
    VERDICT = "verdict"
    """Whether the password is right."""
    COMMAND = "command"
    LAST_READ = "last read"
    OVER = "over"


class Errand(Protocol):
    """A request that is being served: what its command does until the session is over."""

    reading: bool
    """Whether it wants to know what the client's connection is ready for (`ready`)."""

    def begin(self) -> None:
        """Do what can be done at once. An OSError that nobody else has answered is refused as it deserves."""

    def ready(self, mask: int) -> None:
        """The client's connection is ready for `mask`."""

    def expired(self) -> None:
        """The deadline that was set last has come."""

    def close(self) -> None:
        """Give up."""


class Session:
    """A `Watcher` of the client's socket. Sees to it that the socket is closed, or the relay's."""

    __slots__ = (
        "_entered",
        "_errand",
        "_failure",
        "_handshake",
        "_preamble",
        "_stage",
        "account",
        "asked",
        "front",
        "listener",
        "peer",
        "pending",
        "request",
        "services",
        "sock",
        "tick",
    )

    def __init__(
        self,
        services: Services,
        sock: SocketType,
        peer: tuple[object, ...],
        front: TlsFront | None = None,
        *,
        listener: str = "",
        header: bool = False,
    ) -> None:
        """`listener` is the address in the settings that the client came to. `header`: the connection begins with one
        of the PROXY protocol (of a `front`, which reads that itself, too)."""
        settings = services.settings
        self.services = services
        self.sock = sock
        self.peer = peer
        self.front = front
        self.listener = listener
        self.pending = 0
        self.tick = UNSET
        self.request: Requested | None = None
        self.account: Account | None = None
        self.asked = 0.0
        """When its request was there, in monotonic seconds."""
        self._handshake: Handshake | Machine = Handshake(
            authenticate=bool(services.users), protocols=settings.protocols
        )
        self._stage = Stage.HEADER if header and front is None else Stage.REQUEST
        self._preamble: bytearray | None = bytearray() if self._stage is Stage.HEADER else None
        self._errand: Errand | None = None
        self._entered = False  # the account has counted its flow
        self._failure: Failure | None = None

    def start(self) -> None:
        """Wait for the client's first bytes."""
        services = self.services
        services.deadlines.set(self, time.monotonic() + services.settings.handshake_seconds)
        try:
            services.relay.poller.watch(self.sock, self)
        except OSError as error:  # fs.epoll.max_user_watches
            log.warning("client_dropped", client=self.name, error=error.strerror)
            self.close()

    @property
    def name(self) -> str:
        """The client's "HOST:PORT"."""
        return name_of(self.peer)

    @property
    def source(self) -> str:
        """The client's address."""
        return str(self.peer[0])

    @property
    def user(self) -> str:
        """The client's user; empty without authentication."""
        return self.account.name if self.account is not None else ""

    @property
    def silent(self) -> bool:
        """Whether the client has not said a word yet."""
        return self._stage is Stage.HEADER or (self._stage is Stage.REQUEST and not self._handshake.protocol)

    @property
    def outer(self) -> SocketType:
        """The client's connection itself, TLS or not."""
        return self.sock if self.front is None else self.front.sock

    @property
    def reading(self) -> bool:
        """See `Watcher`."""
        stage = self._stage
        if stage is Stage.COMMAND:
            return self._errand is not None and self._errand.reading
        return stage in (Stage.REQUEST, Stage.HEADER, Stage.LAST_READ)

    def ready(self, mask: int) -> None:
        """See `Watcher`. Whatever happens to one client stays here."""
        try:
            stage = self._stage
            if stage is Stage.REQUEST:
                self._negotiate(mask)
            elif stage is Stage.LAST_READ:
                self._read_last()
            elif stage is Stage.HEADER:
                self._read_header(mask)
            elif self._errand is not None and self._errand.reading:
                self._errand.ready(mask)
            else:
                self.pending |= mask
        except Exception as error:
            self.failed(error)

    def expired(self) -> None:
        """The deadline has come: of the handshake, of the command, or of the client's last words."""
        try:
            if self._errand is not None and self._stage is Stage.COMMAND:
                self._errand.expired()
            else:
                if self._stage is not Stage.LAST_READ:
                    self.services.row.failed(Failure.DEADLINE)
                self._lost("deadline")
        except Exception as error:
            self.failed(error)

    def close(self, *, reset: bool = False) -> None:
        """Close what the session still has."""
        if self._stage is Stage.OVER:
            return
        self._over()
        self.services.relay.poller.forget(self.sock)
        (SocketType.close if reset else close_orderly)(self.sock)
        if self.front is not None:
            self.front.over(reset=reset)

    def _over(self) -> None:
        self._stage = Stage.OVER
        self.services.deadlines.clear(self)
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.close()
        if self._entered and self.account is not None:
            self.account.leave()
        self.account = None
        self.services.over(self)

    def failed(self, error: Exception) -> None:
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

    # Until the request is there.

    def header_read(self, header: ProxyHeader) -> None:
        """Who the client is, by a load balancer's word."""
        if header.source is not None:
            self.peer = (header.source.host, header.source.port)

    def _read_header(self, mask: int) -> None:
        assert self._preamble is not None
        self.pending = 0
        data = self._receive()
        if data is None:
            return
        self._preamble += data
        emptied = len(data) < RECEIVE_BYTES
        try:
            header = read_proxy_header(self._preamble)
        except ProtocolError as error:
            self.services.row.failed(Failure.PROXY_HEADER)
            log.info("client_refused", client=self.name, reason=str(error))
            self.close()
            return
        if header is not None:
            self.header_read(header)
            self._stage = Stage.REQUEST
            rest, self._preamble = bytes(self._preamble), None
            if rest:
                self._heard(rest, mask, emptied=emptied)
                return
        if pending := (mask & ~(READ | WRITE) if emptied else mask):  # as in `_heard`
            self.pending = pending
            self.services.relay.poller.watch(self.sock, self)

    def _receive(self) -> bytes | None:
        """What the client says; None: nothing now, or it hung up before it wanted anything."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self.close()
            return None
        return data

    def _negotiate(self, mask: int) -> None:
        self.pending = 0
        try:
            data = self.sock.recv(RECEIVE_BYTES)  # as `_receive`
        except BlockingIOError:
            return
        if data:
            self._heard(data, mask, emptied=len(data) < RECEIVE_BYTES)
        else:
            self.close()

    def _heard(self, data: bytes, mask: int, *, emptied: bool) -> None:
        handshake = self._handshake
        if isinstance(handshake, Machine):
            handshake.receive(data)
        elif data:  # there is none behind a header of the PROXY protocol alone
            handshake = self._handshake = handshake.begin(data)
        event = handshake.next_event()
        # An end or an error was reported with the bytes in front of it, and will not be again.
        self.pending = mask & ~(READ | WRITE) if emptied else mask
        if event is None or isinstance(event, Requested):
            if answer := handshake.data_to_send():
                self.sock.send(answer)  # a few bytes into an empty buffer: they fit
            if event is not None:
                self._serve(event)
        else:
            self._go_on(event)
        if self.pending and self._stage is Stage.REQUEST:
            self.services.relay.poller.watch(self.sock, self)  # the rest, or that there is none, was reported, too

    def _authenticate(self, presented: CredentialsPresented) -> None:
        def judged(right: bool) -> None:
            if self._stage is not Stage.VERDICT:
                return  # the client did not wait
            try:
                if self.services.users is users:
                    self._judged(presented, right)
                else:
                    self._authenticate(presented)  # users were changed meanwhile: ask the new ones
            except Exception as error:
                self.failed(error)

        if answer := self._handshake.data_to_send():
            self.sock.send(answer)
        self._stage = Stage.VERDICT
        users = self.services.users
        blocked = users.blocked
        right = users.verify(presented.user, presented.password, self.source, judged)
        if right is not None:
            if users.blocked > blocked:
                self._failure = Failure.BACKED_OFF
            self._judged(presented, right)

    def _judged(self, presented: CredentialsPresented, right: bool) -> None:
        services = self.services
        self._stage = Stage.REQUEST
        refused = self._handshake.verdict(right)
        if right:
            self.account = services.account(presented.user.decode())
            services.row.logged_in()
        else:
            self._failure = self._failure or Failure.WRONG_PASSWORD
            log_failure(self.source, self.name, presented.user, self._failure)
        self._go_on(refused or self._handshake.next_event())
        if self._stage is Stage.REQUEST:  # there may be more to read that was reported meanwhile
            services.relay.poller.watch(self.sock, self)

    def _go_on(self, event: Event | None) -> None:
        """Answer what there is to answer, and do what is asked for."""
        if event is None:
            if answer := self._handshake.data_to_send():
                self.sock.send(answer)
        elif isinstance(event, Requested):
            if answer := self._handshake.data_to_send():
                self.sock.send(answer)
            self._serve(event)
        elif isinstance(event, Refused):
            self.services.negotiated(self)
            if event.reply is None:
                self.services.row.failed(self._failure or self._failure_of(event))
                if self._failure is None:  # else it is in the log already
                    log.info("client_refused", client=self.name, reason=event.reason)
            else:
                self.services.refused(self, event.target, event.reply, event.reason)
            self._say_last()
        else:
            self._authenticate(event)

    def _failure_of(self, refused: Refused) -> Failure:
        """What the metrics call a handshake that ended before its request."""
        if not self._handshake.protocol:
            return Failure.BAD_VERSION
        return Failure.NO_METHOD if refused.anonymous else Failure.MALFORMED

    # The request.

    def _serve(self, request: Requested) -> None:
        services = self.services
        services.negotiated(self)
        self.request = request
        self.asked = time.monotonic()
        self._stage = Stage.COMMAND
        if self.account is None:
            self.account = services.account("")
        if (why := self.account.enter()) is not None:
            self.refuse(ReplyCode.NOT_ALLOWED, why)
            return
        self._entered = True
        self._errand = services.errands[request.command](self)
        self._errand.begin()

    def wait(self, seconds: float) -> None:
        """Set the deadline that `Errand.expired` is about."""
        self.services.deadlines.set(self, time.monotonic() + seconds)

    def no_deadline(self) -> None:
        """The errand has one of its own."""
        self.services.deadlines.clear(self)

    def listening(self, bound: Address) -> None:
        """BIND's first reply."""
        self._handshake.listening(bound)
        self.sock.send(self._handshake.data_to_send())

    def succeed(self, bound: Address) -> None:
        """The reply that what was asked for stands."""
        self._handshake.succeed(bound)
        self.sock.send(self._handshake.data_to_send())

    @property
    def said_more(self) -> bool:
        """Whether the client's request came with bytes behind it."""
        return self._handshake.has_early_data

    def watch(self) -> None:
        """Tell the errand, which is reading from now on, what happens to the client's connection."""
        self.services.relay.poller.watch(self.sock, self)

    def hand_over(self, target: SocketType, bound: Address, flow: Flow) -> None:
        """The connection to the target stands: tell the client, and let the relay have both. `flow` has been told all
        there is to know but how it ends."""
        handshake = self._handshake
        handshake.succeed(bound)  # as `succeed`
        self.sock.send(handshake.data_to_send())
        flow.opened()
        self.account = self._errand = None  # the flow has the account now
        self._over()
        flow.carry(self.services.relay, self.sock, target, handshake.early_data())

    def refuse(self, code: ReplyCode, reason: str = "", rule: str = "", flow: Flow | None = None) -> None:
        """Answer the request with `code`. `reason` and `rule` are for the logs; empty: the code says it. `flow` is what
        it would have become, and has been told so far."""
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.close()
        self._handshake.fail(code)
        assert self.request is not None
        self.services.refused(self, self.request.target, code, reason, rule, flow)
        try:
            self._say_last()
        except OSError as error:  # it did not wait for an answer
            self.failed(error)

    # The end of a client that is refused.

    def _say_last(self) -> None:
        """Send what the handshake has left to say and a FIN, then read until the client closes too."""
        services = self.services
        self._stage = Stage.LAST_READ
        services.deadlines.set(self, time.monotonic() + LINGER_SECONDS)
        self.sock.send(self._handshake.data_to_send())
        self.sock.shutdown(socket.SHUT_WR)
        self._read_last()
        if self._stage is Stage.LAST_READ:
            self.pending = 0
            services.relay.poller.watch(self.sock, self)

    def _read_last(self) -> None:
        try:
            for _ in range(LINGER_READS):
                if not self.sock.recv(RECEIVE_BYTES):
                    break
        except BlockingIOError:
            return
        self.close()


Errands = dict[Command, Callable[[Session], Errand]]
