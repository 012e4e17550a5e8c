"""The proxy as a whole: listens, gives each client a session, runs until it is cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import count

from proxy import log
from proxy.auth import Users
from proxy.listeners import Acceptor, bind, name_of
from proxy.relay import Limits, Relay, open_relay
from proxy.resolver import Resolver
from proxy.session import Session
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
    listeners = bind(settings.listen)
    addresses = [name_of(listener.getsockname()) for listener in listeners]
    resolver = Resolver()
    limits = Limits(settings.idle_seconds, settings.half_close_seconds)
    try:
        # The group is the inner one: no session may be left that could hand a flow to a relay that is closed.
        async with open_relay(limits) as relay, asyncio.TaskGroup() as sessions:
            server = Server(settings, emit, relay, resolver, sessions)
            acceptors = [Acceptor(listener, server.accepted, server.exhausted) for listener in listeners]
            try:
                emit("proxy_listening", addresses=addresses)
                if ready is not None:
                    ready(addresses)
                await asyncio.get_running_loop().create_future()
            finally:
                for acceptor in acceptors:
                    acceptor.close()
    finally:
        resolver.close()
        for listener in listeners:
            listener.close()


class Server:
    """What the sessions share, and how many of them are still in their handshake."""

    def __init__(
        self, settings: ProxySettings, emit: Emit, relay: Relay, resolver: Resolver, sessions: asyncio.TaskGroup
    ) -> None:
        self.settings = settings
        self.emit = emit
        self.relay = relay
        self.resolver = resolver
        self.users = Users(settings.users)
        self.flow_numbers = count(1)
        self._sessions = sessions
        self._handshakes: dict[Session, asyncio.Task[None]] = {}  # oldest first

    def accepted(self, sock: socket.socket, peer: tuple[object, ...]) -> None:
        """Start the session of a new client. At the cap the oldest open handshake makes room: a client that means
        it is through in a round trip or two, those that hold places are not."""
        if len(self._handshakes) >= self.settings.max_handshakes:
            oldest = next(iter(self._handshakes))
            self._handshakes.pop(oldest).cancel()
            log.warning("handshake_dropped", client=oldest.peer, open=self.settings.max_handshakes)
        session = Session(self, sock, name_of(peer), self._negotiated)
        task = self._sessions.create_task(session.run(), name=f"session {session.peer}")
        self._handshakes[session] = task

        def done(_: asyncio.Task[None]) -> None:
            self._negotiated(session)
            session.close()

        task.add_done_callback(done)

    def exhausted(self, error: OSError) -> None:
        """Out of descriptors or memory: a client was refused."""
        log.warning("accept_backs_off", error=error.strerror, flows=len(self.relay))

    def _negotiated(self, session: Session) -> None:
        self._handshakes.pop(session, None)
