"""What the tests of routes share: how a dial ends, and servers that answer as told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from client.messages import Ping, Pong
from client.routes import Attempt, DialError, Route
from client.routes.catalogue import make_routes
from client.routes.settings import RouteSettings
from client.settings import DialSettings, ResolverSettings, SenderSettings
from tests.integration.client.world import World

QUICK = DialSettings(connect_seconds=0.3, stagger_seconds=0.05, socks_seconds=0.3, tls_seconds=0.3, upgrade_seconds=0.3)
NO_DNS = ResolverSettings(nameservers=("127.0.0.1:9",), hosts_file=None)


def of(world: World, route: RouteSettings, **more: Any) -> Route:
    """The route to the world's origin; no nameserver answers."""
    settings: SenderSettings = world.settings({}, **({"routes": (route,), "resolver": NO_DNS} | more))
    return make_routes(settings, settings.routes)[route.name]


async def stages(route: Route) -> list[str]:
    """Those of a dial that succeeds, and whose connection carries records."""
    connection = await route.dial(attempt := Attempt())
    try:
        await connection.send(Ping(5))
        assert await connection.receive() == Pong(5)
    finally:
        await connection.close()
    assert connection.failure == "eof_error"
    assert connection.local in attempt.locals
    return list(attempt.stages)


async def failing(route: Route) -> tuple[str, str]:
    """Stage and failure of a dial that fails."""
    attempt = Attempt()
    with pytest.raises(DialError) as caught:
        await route.dial(attempt)
    assert caught.value.stage in attempt.stages
    return caught.value.stage, caught.value.failure


@contextlib.asynccontextmanager
async def listener(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """A TCP server on loopback; yields its port."""
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def saying(data: bytes, after: int = 1) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A server that answers `data` to the first `after` bytes, and then waits for the end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(after)
            writer.write(data)
            await reader.read()
        writer.close()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept, read, say nothing."""
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
