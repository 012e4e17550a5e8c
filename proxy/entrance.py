"""What a client meets first on one listening address: a load balancer's header, TLS, then its session."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import SocketType
from typing import Protocol

from proxy import log
from proxy.flows import Services
from proxy.listeners import name_of
from proxy.metrics import Failure
from proxy.relay.flow import close_orderly
from proxy.session import Session
from proxy.settings import Listener, parse_network
from proxy.tls import TlsFront, server_context

Networks = Sequence[IPv4Network | IPv6Network]


class Host(Services, Protocol):
    """The server, as far as an entrance is concerned."""

    def admit(self, session: Session) -> None:
        """Start the session of a new client."""

    def fronted(self, front: TlsFront) -> None:
        """A client that speaks TLS is there."""

    def front_gone(self, front: TlsFront) -> None:
        """Its connection is closed."""

    def exhausted(self, error: OSError) -> None:
        """Out of descriptors or memory: a client was refused."""


class Entrance:
    """One listening address. What it asks of clients can be changed while it is open."""

    def __init__(self, host: Host, listener: Listener) -> None:
        self._host = host
        self.use(*self.prepared(listener))

    @staticmethod
    def check(listener: Listener) -> None:
        """Raise SettingsError for a certificate that does not serve."""
        _prepare(listener)

    @staticmethod
    def prepared(listener: Listener) -> tuple[Listener, ssl.SSLContext | None]:
        """What `use` takes. Raises SettingsError."""
        return listener, _prepare(listener)

    def use(self, listener: Listener, context: ssl.SSLContext | None) -> None:
        """Receive clients that come from now on so."""
        self.listener = listener
        self._context = context
        self._trusted: Networks = [
            parse_network("proxy_protocol_from", network) for network in listener.proxy_protocol_from
        ]

    def accepted(self, sock: SocketType, peer: tuple[object, ...]) -> None:
        """A client has connected."""
        host, address = self._host, self.listener.address
        if self._context is None and not self._trusted:
            host.admit(Session(host, sock, peer, listener=address))
            return
        if self._trusted and not self._trusts(str(peer[0])):
            host.row.failed(Failure.PROXY_HEADER)
            log.info("client_refused", client=name_of(peer), reason="is not in proxy_protocol_from")
            close_orderly(sock)
            return
        if self._context is None:
            host.admit(Session(host, sock, peer, listener=address, header=True))
            return

        def failed(why: str) -> None:
            host.row.failed(Failure.TLS if front.header is None else Failure.PROXY_HEADER)
            log.info("client_refused", client=session.name, reason=why)

        try:
            front = TlsFront(sock, self._context, failed=failed, gone=host.front_gone)
        except OSError as error:  # it takes two descriptors more
            host.exhausted(error)
            close_orderly(sock)
            return
        session = Session(host, front.inner, peer, front, listener=address)
        if self._trusted:
            front.header = session.header_read
        host.fronted(front)
        host.admit(session)

    def _trusts(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)


def _prepare(listener: Listener) -> ssl.SSLContext | None:
    if not listener.certificate:
        return None
    return server_context(listener.certificate, listener.key, listener.address)
