"""The direct route: the origin's own addresses, as the resolver gives them."""

from __future__ import annotations

import ssl

from client.policies import DIRECT
from client.routes import Attempt, tcp
from client.routes.connection import Connection, open_connection
from client.routes.resolver import Resolver
from client.settings import DialSettings, OriginAddress


class Direct:
    """Implements `client.routes.Route`."""

    name = DIRECT

    def __init__(
        self, origin: OriginAddress, context: ssl.SSLContext, resolver: Resolver, settings: DialSettings
    ) -> None:
        self._origin = origin
        self._context = context
        self._resolver = resolver
        self._settings = settings

    async def dial(self, attempt: Attempt) -> Connection:
        async with attempt.stage("dns"):
            addresses = await self._resolver.resolve(self._origin.host)
        attempt.addresses = tuple(addresses)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, self._origin.port, self._settings, attempt)
        return await open_connection(sock, self._origin, self._context, self._settings, attempt)
