"""What a resolver is, and the way of those that ask DNS by themselves: which names, both families, which error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from proxy.resolver.answers import Answer, RecordType, Status, combine
from proxy.resolver.names import known_addresses, query_name

RESOLUTION_DELAY_SECONDS = 0.05
"""How long addresses of one family wait for the other's (RFC 8305 section 3)."""

SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]
"""What a socket is made for, and what its connect() takes."""


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """The TCP addresses of `host`, the preferred one first. Raises OSError; socket.gaierror says why: EAI_NONAME
        for a name that does not exist, or has no address."""

    def close(self) -> None:
        """Give up what is under way, and what is kept open."""


class Source(Protocol):
    """Where a `CachingResolver` gets its answers."""

    async def look_up(self, name: str) -> Answer:
        """The addresses of `name`, which is as `names.query_name` gives it. FAILED rather than an exception."""

    def close(self) -> None:
        """Give up what is kept open."""


async def resolve_by(look_up: Callable[[str], Awaitable[Answer]], host: str, port: int) -> list[SocketAddress]:
    """`Resolver.resolve` on top of `look_up`, which is asked only where it has to be."""
    addresses = known_addresses(host)
    if not addresses:
        name = query_name(host)
        if name is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name: not written as one")
        answer = await look_up(name)
        if answer.status is Status.FAILED:
            raise socket.gaierror(socket.EAI_AGAIN, answer.error)
        if not answer.addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"DNS: {answer.status.value}")
        addresses = answer.addresses
    return [socket_address(address, port) for address in addresses]


def socket_address(address: str, port: int) -> SocketAddress:
    """The socket address of an IP address."""
    if ":" in address:
        return socket.AF_INET6, (address, port, 0, 0)
    return socket.AF_INET, (address, port)


async def ask_both(ask: Callable[[str, RecordType], Coroutine[Any, Any, Answer]], name: str) -> Answer:
    """`ask` for AAAA and A side by side. Once one has brought addresses, the other has RESOLUTION_DELAY_SECONDS left:
    a server that answers for one type only does not hold up the connection."""
    async with asyncio.TaskGroup() as group:
        asking = [
            group.create_task(ask(name, type_), name=f"{type_.name} of {name}")
            for type_ in (RecordType.AAAA, RecordType.A)
        ]
        done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            enough = any(task.result().addresses for task in done)
            await asyncio.wait(waiting, timeout=RESOLUTION_DELAY_SECONDS if enough else None)
        for task in asking:
            task.cancel()
    return combine([task.result() for task in asking if not task.cancelled()])
