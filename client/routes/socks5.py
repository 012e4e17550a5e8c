"""The route through a SOCKS5 proxy (RFC 1928), in three stages. The proxy resolves the origin's name: no DNS here.

The messages are python-socks's, by its protocol layer, which does no I/O: its `Proxy.connect` says what went wrong, but
not at which step, and a policy has to know whether the proxy is gone, its password is wrong, or the origin is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_socks._protocols import socks5

from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.settings import Socks5Route, Socks5TlsRoute
from client.routes.stream import Stream, open_stream
from client.settings import OriginAddress

_ADDRESS_BYTES: dict[int, int] = {socks5.AddressType.IPV4: 4, socks5.AddressType.IPV6: 16}
_PORT_BYTES = 2


class NotSocks(Exception):
    """What listens at the proxy's address speaks something else."""


class _Login(socks5.AuthRequest):
    """In UTF-8: RFC 1929 names no charset, python-socks takes ASCII only."""

    def dumps(self) -> bytes:
        username, password = self.username.encode(), self.password.encode()
        return bytes((self.VER, len(username))) + username + bytes((len(password),)) + password


class Socks5:
    """Implements `client.routes.Route`."""

    def __init__(self, route: Socks5Route, dial: DialContext) -> None:
        self.name = route.name
        self._route = route
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        settings = self._dial.settings
        async with attempt.stage("dns"):
            addresses = await self._dial.resolver.resolve(self._route.host)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, self._route.port, settings, attempt)
            stream = await open_stream(sock)
        async with dropping(stream):
            await negotiate(stream, self._route, self._dial.origin, settings.socks_seconds, attempt)
        return await open_connection(stream.transport, self._dial, attempt)


@asynccontextmanager
async def dropping(stream: Stream) -> AsyncIterator[None]:
    """A failure inside is the end of the stream."""
    try:
        yield
    except BaseException:
        stream.transport.abort()
        raise


async def negotiate(
    stream: Stream, route: Socks5Route | Socks5TlsRoute, origin: OriginAddress, seconds: float, attempt: Attempt
) -> None:
    """The stages `socks_greeting`, `socks_auth` (if the proxy wants it) and `socks_request`, `seconds` for them all.

    Raises DialError.
    """
    session = socks5.Connection()
    deadline = asyncio.get_running_loop().time() + seconds
    async with attempt.stage("socks_greeting"), asyncio.timeout_at(deadline):
        stream.write(session.send(socks5.AuthMethodsRequest(route.username, route.password)))
        reply = await stream.read_exactly(socks5.AuthMethodReply.SIZE)
        if reply[0] != socks5.SOCKS_VER:
            raise NotSocks("it does not speak SOCKS5")
        session.receive(reply)
    if isinstance(session.state, socks5.StateServerWaitingForAuth):
        async with attempt.stage("socks_auth"), asyncio.timeout_at(deadline):
            stream.write(session.send(_Login(route.username or "", route.password or "")))
            session.receive(await stream.read_exactly(socks5.AuthReply.SIZE))
    async with attempt.stage("socks_request"), asyncio.timeout_at(deadline):
        stream.write(session.send(socks5.ConnectRequest(origin.host, origin.port)))
        session.receive(await _reply(stream))
        stream.check_empty()


async def _reply(stream: Stream) -> bytes:
    """The reply to a request, whole; of one that says no only what python-socks looks at: some proxies send no more."""
    head = await stream.read_exactly(2)
    if head != bytes((socks5.SOCKS_VER, socks5.ReplyCode.SUCCEEDED)):
        return head
    head += await stream.read_exactly(2)
    if head[3] == socks5.AddressType.DOMAIN:
        head += await stream.read_exactly(1)
        return head + await stream.read_exactly(head[4] + _PORT_BYTES)
    return head + await stream.read_exactly(_ADDRESS_BYTES.get(head[3], 0) + _PORT_BYTES)
