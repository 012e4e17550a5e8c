"""The route to other addresses of the origin, which are known beforehand: no DNS, and no address that is blocked."""

from __future__ import annotations

from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.settings import AlternateRoute


class Alternate:
    """Implements `client.routes.Route`."""

    def __init__(self, route: AlternateRoute, dial: DialContext) -> None:
        self.name = route.name
        self._endpoints = route.endpoints(dial.origin.port)
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        async with attempt.stage("tcp"):
            sock = await tcp.connect_any(self._endpoints, self._dial.settings, attempt)
        return await open_connection(sock, self._dial, attempt)
