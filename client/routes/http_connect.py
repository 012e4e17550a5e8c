"""The route through an HTTP proxy: CONNECT. The proxy resolves the origin's name: no DNS here."""

from __future__ import annotations

import asyncio

from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.http_messages import HEAD_END, HEAD_LIMIT_BYTES, check_reply, connect_request
from client.routes.settings import HttpConnectRoute
from client.routes.socks5 import dropping
from client.routes.stream import open_stream


class HttpConnect:
    """Implements `client.routes.Route`."""

    def __init__(self, route: HttpConnectRoute, dial: DialContext) -> None:
        self.name = route.name
        self._route = route
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        route, origin, settings = self._route, self._dial.origin, self._dial.settings
        async with attempt.stage("dns"):
            addresses = await self._dial.resolver.resolve(route.host)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, route.port, settings, attempt)
            stream = await open_stream(sock)
        async with dropping(stream), attempt.stage("http_connect"), asyncio.timeout(settings.socks_seconds):
            stream.write(connect_request(origin.host, origin.port, route.username, route.password))
            check_reply(await stream.read_until(HEAD_END, HEAD_LIMIT_BYTES))
            stream.check_empty()
        return await open_connection(stream.transport, self._dial, attempt)
