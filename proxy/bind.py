"""BIND (RFC 1928 section 4): a listening socket for one connection, from the peer that the request names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from socket import SocketType
from typing import TYPE_CHECKING

from proxy import log
from proxy.dial import by_family, family_of, reply_of
from proxy.flows import Flow
from proxy.relay.flow import prepare
from proxy.relay.poller import Poller
from proxy.wire import Address, AddressType, Command, ReplyCode

if TYPE_CHECKING:
    from proxy.session import Session

BACKLOG = 4
UNSPECIFIED = frozenset({"0.0.0.0", "::"})
"""As DST.ADDR: the client does not say who will come."""


class Bind:
    """An `Errand`. It reads while it waits for the peer, to learn that the client has gone."""

    __slots__ = ("_flow", "_incoming", "_peers", "_session", "_task", "reading")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._incoming: Incoming | None = None
        self._flow: Flow | None = None
        self._peers: list[str] = []  # who may come; empty: anybody whom the rules allow
        self.reading = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """See `Errand`."""
        session = self._session
        services, request = session.services, session.request
        assert request is not None
        target = request.target
        if services.settings.via:
            session.refuse(ReplyCode.COMMAND_NOT_SUPPORTED, "BIND does not go through an upstream")
            return
        judged = services.policy.judge_command(session.user, session.source, Command.BIND)
        if not judged.allowed:
            session.refuse(ReplyCode.NOT_ALLOWED, rule=judged.rule)
        elif target.host in UNSPECIFIED:
            self._listen(session.outer.getsockname()[0], judged.rule, judged.egress)
        elif target.type is AddressType.DOMAIN:
            session.no_deadline()
            self._task = services.tasks.create_task(self._resolve(target), name=f"BIND for {session.name}")
        else:
            self._for_peers([target.host], target)

    def ready(self, mask: int) -> None:
        """See `Errand`. Whoever ends without a word does not wait any more; words are for the peer, and are left."""
        session = self._session
        session.pending |= mask
        try:
            gone = not session.sock.recv(1, socket.MSG_PEEK) and not session.said_more
        except BlockingIOError:
            return
        self.reading = False
        if gone:
            session.close()

    def expired(self) -> None:
        """See `Errand`."""
        self._session.refuse(ReplyCode.HOST_UNREACHABLE, "nobody came")

    def close(self) -> None:
        """See `Errand`."""
        if self._incoming is not None:
            self._incoming.close()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _resolve(self, target: Address) -> None:
        session = self._session
        services = session.services
        try:
            async with asyncio.timeout(services.settings.connect_seconds):
                found = await services.resolver.resolve(target.host, target.port)
            self._task = None
            self._for_peers([str(address[0]) for _, address in found], target)
        except OSError as error:  # gaierror and TimeoutError among them
            self._task = None
            session.refuse(ReplyCode.HOST_UNREACHABLE, f"no address: {error}")
        except Exception as error:
            self._task = None
            session.failed(error)

    def _for_peers(self, addresses: list[str], target: Address) -> None:
        """Listen where those of `addresses` that may come would come to."""
        session = self._session
        policy = session.services.policy
        name = target.host if target.type is AddressType.DOMAIN else ""
        rule, egress = "no address", session.services.settings.egress
        for address in addresses:
            judged = policy.judge_address(session.user, session.source, Command.BIND, name, address, target.port)
            if judged.allowed:
                self._peers.append(address)
                egress = judged.egress
            if judged.allowed or not self._peers:
                rule = judged.rule
        if not self._peers:
            session.refuse(ReplyCode.NOT_ALLOWED, rule=rule)
            return
        try:
            local = local_towards(Address.of(self._peers[0], target.port))
        except OSError as error:
            session.refuse(reply_of(error), error.strerror or "")
            return
        self._listen(local, rule, egress)

    def _listen(self, local: str, rule: str, egress: tuple[str, ...]) -> None:
        session = self._session
        local = by_family(egress).get(family_of(Address.of(local, 0)), local)
        self._flow = Flow(session, rule=rule)
        try:
            poller = session.services.relay.poller
            self._incoming = Incoming(poller, local, self._admits, self._connected, self._refused)
        except OSError as error:
            session.refuse(reply_of(error), error.strerror or "")
            return
        session.wait(session.services.settings.bind_seconds)
        session.listening(self._incoming.bound)
        self.reading = True
        session.watch()

    def _admits(self, peer: Address) -> bool:
        """Whether `peer` may come. If the client left open who that is, the rules have not been asked about it yet."""
        session = self._session
        if self._peers:
            return ip_address(peer.host) in {ip_address(one) for one in self._peers}
        assert session.request is not None
        port = session.request.target.port  # that of the rules: the peer's own is any
        policy = session.services.policy
        return policy.judge_address(session.user, session.source, Command.BIND, "", peer.host, port).allowed

    def _connected(self, sock: SocketType, peer: Address) -> None:
        session = self._session
        try:
            assert self._flow is not None
            self._flow.address = str(peer)
            session.hand_over(sock, peer, self._flow)
        except Exception as error:
            sock.close()
            session.failed(error)

    def _refused(self, peer: Address) -> None:
        log.info("bind_peer_refused", client=self._session.name, peer=str(peer))


class Incoming:
    """Waits for the peer. A `Watcher` of its listening socket; raises OSError where there can be none.

    Whom `admits` lets in is the peer: `connected` is called once, with the connection, which is the caller's, and the
    peer's address. Others are closed by a reset and `refused` is told who they were.
    """

    pending = 0
    reading = True

    def __init__(
        self,
        poller: Poller,
        local: str,
        admits: Callable[[Address], bool],
        connected: Callable[[SocketType, Address], object],
        refused: Callable[[Address], object],
    ) -> None:
        self._poller = poller
        self._admits = admits
        self._connected = connected
        self._refused = refused
        self._closed = False
        self._family = socket.AF_INET6 if ":" in local else socket.AF_INET
        self._sock = SocketType(self._family, socket.SOCK_STREAM)
        try:
            self._sock.setblocking(False)
            prepare(self._sock, local)
            self._sock.bind((local, 0))
            self._sock.listen(BACKLOG)
            self.bound = Address.of(local, self._sock.getsockname()[1])
            """BND.ADDR of the first reply: where the peer is to connect to."""
            poller.watch(self._sock, self)
        except OSError:
            self._sock.close()
            raise

    def close(self) -> None:
        """Stop waiting."""
        if not self._closed:
            self._closed = True
            self._poller.forget(self._sock)
            self._sock.close()

    def ready(self, mask: int) -> None:
        """See `Watcher`."""
        while not self._closed:
            try:
                fd, peer = self._sock._accept()  # type: ignore[attr-defined]  # as in `listeners`
            except BlockingIOError:
                return
            except OSError:
                return  # this one connection failed, or there is no descriptor for it: the deadline decides
            sock = SocketType(self._family, socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            address = Address.of(str(peer[0]).partition("%")[0], peer[1])
            if not self._admits(address):
                sock.close()
                self._refused(address)
                continue
            self.close()
            self._connected(sock, address)


def local_towards(target: Address) -> str:
    """The address of this host that a route to `target`, an IP address, begins at. Raises OSError where there is none.

    Connecting a UDP socket asks the routing table and sends nothing.
    """
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target.host, target.port or 9))
        name: str = probe.getsockname()[0]
        return name
