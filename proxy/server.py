"""The proxy as a whole: listens, gives each client a session, runs until it is cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import count
from socket import SocketType

from proxy import log
from proxy.auth import Users
from proxy.listeners import Acceptor, bind, name_of
from proxy.relay import Limits, Relay, open_relay
from proxy.relay.deadlines import Deadlines
from proxy.resolver import Resolver
from proxy.session import LINGER_SECONDS, Session
from proxy.settings import ProxySettings
from sidedoor.events import Emit, discard


async def serve(
    settings: ProxySettings, emit: Emit = discard, *, ready: Callable[[list[str]], object] | None = None
) -> None:
    """Serve SOCKS5 until cancelled; then every connection is closed, flows by a reset.

    `emit` gets the events of docs/events.md. `ready` is called once, with the addresses that are listened on (real
    ports where 0 was asked for). Raises UsageError, with nothing bound, for settings that make no sense and addresses
    that cannot be bound.
    """
    settings.check()
    listeners = bind(one.address for one in settings.listeners)
    addresses = [name_of(listener.getsockname()) for listener in listeners]

    def listening() -> None:
        emit("proxy_listening", addresses=addresses)
        if ready is not None:
            ready(addresses)

    await serve_on(listeners, settings, emit, ready=listening)


async def serve_on(
    listeners: Sequence[socket.socket],
    settings: ProxySettings,
    emit: Emit,
    *,
    ready: Callable[[], object] | None = None,
    first_flow: int = 1,
) -> None:
    """The same on sockets that listen already, and which are closed at the end. Flows are numbered from
    `first_flow` on."""
    resolver = Resolver()
    limits = Limits(settings.idle_seconds, settings.half_close_seconds, settings.rate_bytes_per_second)
    try:
        # The group is the inner one: no name may be left that could hand a flow to a relay that is closed.
        async with open_relay(limits) as relay, asyncio.TaskGroup() as names:
            server = Server(settings, emit, relay, resolver, names, first_flow)
            acceptors = [Acceptor(listener, relay.poller, server.accepted, server.exhausted) for listener in listeners]
            try:
                if ready is not None:
                    ready()
                await asyncio.get_running_loop().create_future()
            finally:
                for acceptor in acceptors:
                    acceptor.close()
                server.close()
    finally:
        resolver.close()
        for listener in listeners:
            listener.close()


class Server:
    """What the sessions share, and which of them are there. (`Services`, for the sessions.)"""

    def __init__(
        self,
        settings: ProxySettings,
        emit: Emit,
        relay: Relay,
        resolver: Resolver,
        names: asyncio.TaskGroup,
        first_flow: int,
    ) -> None:
        self.settings = settings
        self.emit = None if emit is discard else emit
        self.relay = relay
        self.resolver = resolver
        self.users = Users(settings.accounts)
        self.flow_numbers = count(first_flow)
        self.names = names
        shortest = min(settings.handshake_seconds, settings.connect_seconds, LINGER_SECONDS)
        self.deadlines: Deadlines[Session] = Deadlines(shortest / 8, Session.expired)
        self._sessions: set[Session] = set()
        self._handshakes: dict[Session, None] = {}  # oldest first

    def close(self) -> None:
        """End all sessions."""
        for session in list(self._sessions):
            session.close()
        self.deadlines.close()

    def accepted(self, sock: SocketType, peer: tuple[object, ...]) -> None:
        """Start the session of a new client. At the cap the oldest open handshake makes room: a client that means it
        is through in a round trip or two, those that hold places are not."""
        if len(self._handshakes) >= self.settings.max_handshakes:
            oldest = next(iter(self._handshakes))
            oldest.close()
            log.warning("handshake_dropped", client=oldest.name, open=self.settings.max_handshakes)
        session = Session(self, sock, peer)
        self._sessions.add(session)
        self._handshakes[session] = None
        session.start()

    def exhausted(self, error: OSError) -> None:
        """Out of descriptors or memory: a client was refused."""
        log.warning("accept_backs_off", error=error.strerror, flows=len(self.relay))

    def negotiated(self, session: Session) -> None:
        """See `Services`."""
        self._handshakes.pop(session, None)

    def over(self, session: Session) -> None:
        """See `Services`."""
        self._handshakes.pop(session, None)
        self._sessions.discard(session)
