"""The direct route: the origin's own addresses, as the resolver gives them."""

from __future__ import annotations

from client.policies import DIRECT
from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.stream import Stream, open_stream


class Direct:
    """Implements `client.routes.Route`."""

    name = DIRECT

    def __init__(self, dial: DialContext) -> None:
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        addresses = await _look_up(self._dial, attempt)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, self._dial.origin.port, self._dial.settings, attempt)
        return await open_connection(sock, self._dial, attempt)


async def direct_stream(dial: DialContext, attempt: Attempt) -> Stream:
    """The stages `dns` and `tcp` to the origin's own addresses, for routes that change TLS. Raises DialError."""
    addresses = await _look_up(dial, attempt)
    async with attempt.stage("tcp"):
        return await open_stream(await tcp.connect(addresses, dial.origin.port, dial.settings, attempt))


async def _look_up(dial: DialContext, attempt: Attempt) -> list[str]:
    async with attempt.stage("dns"):
        addresses = await dial.resolver.resolve(dial.origin.host)
    if dial.resolver.asks(dial.origin.host):  # What this host knows by itself is no forgery.
        attempt.addresses = tuple(addresses)
    return addresses
