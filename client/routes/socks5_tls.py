"""The route through a SOCKS5 proxy inside TLS: the SOCKS bytes, and TLS to the origin, in TLS to the proxy."""

from __future__ import annotations

import asyncio

from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection, tls_context
from client.routes.settings import Socks5TlsRoute
from client.routes.socks5 import dropping, negotiate
from client.routes.stream import open_tls_stream


class Socks5Tls:
    """Implements `client.routes.Route`. Raises SettingsError for a bad `ca_file`."""

    def __init__(self, route: Socks5TlsRoute, dial: DialContext) -> None:
        self.name = route.name
        self._route = route
        self._dial = dial
        self._context = tls_context(dial.end, route.ca_file, http=False)

    async def dial(self, attempt: Attempt) -> Connection:
        route, settings = self._route, self._dial.settings
        async with attempt.stage("dns"):
            addresses = await self._dial.resolver.resolve(route.host)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, route.port, settings, attempt)
        async with attempt.stage("proxy_tls"), asyncio.timeout(settings.tls_seconds):
            stream = await open_tls_stream(sock, self._context, route.server_name or route.host)
        async with dropping(stream):
            await negotiate(stream, route, self._dial.origin, settings.socks_seconds, attempt)
        return await open_connection(stream.transport, self._dial, attempt)
