"""The route through a SOCKS5 proxy (RFC 1928), by python-socks. The proxy resolves the origin's name: no DNS here."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from python_socks import ProxyType
from python_socks.async_.asyncio import Proxy

from client.routes import Attempt, tcp
from client.routes.connection import Connection, open_connection
from client.routes.resolver import Resolver
from client.settings import DialSettings, OriginAddress, Socks5Route


class _Connected(Proxy):
    """Stands in for the hop before the proxy: the TCP connection to it exists already (it was timed on its own)."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(ProxyType.SOCKS5, "", 0)
        self._sock = sock

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None = None, **_: Any) -> socket.socket:
        return self._sock


class Socks5:
    """Implements `client.routes.Route`."""

    def __init__(
        self,
        route: Socks5Route,
        origin: OriginAddress,
        context: ssl.SSLContext,
        resolver: Resolver,
        settings: DialSettings,
    ) -> None:
        self.name = route.name
        self._route = route
        self._origin = origin
        self._context = context
        self._resolver = resolver
        self._settings = settings

    async def dial(self, attempt: Attempt) -> Connection:
        async with attempt.stage("dns"):
            addresses = await self._resolver.resolve(self._route.host)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, self._route.port, self._settings, attempt)
        try:
            async with attempt.stage("socks"), asyncio.timeout(self._settings.socks_seconds):
                await self._proxy(sock).connect(self._origin.host, self._origin.port)
        except BaseException:
            sock.close()
            raise
        return await open_connection(sock, self._origin, self._context, self._settings, attempt)

    def _proxy(self, sock: socket.socket) -> Proxy:
        route = self._route
        return Proxy(
            ProxyType.SOCKS5,
            route.host,
            route.port,
            username=route.username,
            password=route.password,
            rdns=True,
            forward=_Connected(sock),
        )
