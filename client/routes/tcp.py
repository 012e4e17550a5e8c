"""The TCP stage: one socket to the first of several addresses that answers (Happy Eyeballs, RFC 8305 section 5)."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import errno
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from client.routes import Attempt
from client.settings import DialSettings

_LINGER_ABORT = struct.pack("ii", 1, 0)
_LINGER_DEFAULT = struct.pack("ii", 0, 0)

Endpoint = tuple[str, int]
"""An address and a port."""


def close_by_abort(sock: socket.socket | asyncio.trsock.TransportSocket, *, on: bool = True) -> None:
    """Make close() send an RST and drop what is unsent, so that the kernel retransmits nothing more (SO_LINGER 0 s).

    A closed socket is left alone.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ABORT if on else _LINGER_DEFAULT)
    except OSError:
        pass


async def connect(addresses: Sequence[str], port: int, settings: DialSettings, attempt: Attempt) -> socket.socket:
    """A connected, non-blocking socket with TCP_NODELAY. Raises OSError (the first address's) or TimeoutError.

    Until the dial is complete (`client.routes.connection`), closing the socket aborts it: a dial that is given up is
    not to go on in the kernel. The next address is tried when the one before has failed or `stagger_seconds` have
    passed; the losers are closed.
    """
    return await connect_any([(address, port) for address in addresses], settings, attempt)


async def connect_any(endpoints: Sequence[Endpoint], settings: DialSettings, attempt: Attempt) -> socket.socket:
    """The same for addresses that have each a port of their own."""
    async with asyncio.timeout(settings.connect_seconds):
        return await _race(endpoints, settings.stagger_seconds, attempt)


async def _race(endpoints: Sequence[Endpoint], stagger_seconds: float, attempt: Attempt) -> socket.socket:
    remaining = deque(endpoints)
    tasks: list[asyncio.Task[socket.socket | OSError]] = []
    winner: socket.socket | None = None
    try:
        async with asyncio.TaskGroup() as group:
            while winner is None and (remaining or not all(task.done() for task in tasks)):
                if remaining:
                    address, port = remaining.popleft()
                    tasks.append(group.create_task(_connect(address, port, attempt), name=f"connect {address}"))
                running = [task for task in tasks if not task.done()]
                timeout = stagger_seconds if remaining else None
                await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                winner = next((result for result in _results(tasks) if isinstance(result, socket.socket)), None)
            for task in tasks:
                task.cancel()
    except BaseException:
        winner = None
        raise
    finally:
        for result in _results(tasks):
            if isinstance(result, socket.socket) and result is not winner:
                result.close()
    if winner is None:
        raise next(result for result in _results(tasks) if isinstance(result, OSError))
    return winner


def _results(tasks: Sequence[asyncio.Task[socket.socket | OSError]]) -> list[socket.socket | OSError]:
    return [task.result() for task in tasks if task.done() and not task.cancelled()]


async def _connect(address: str, port: int, attempt: Attempt) -> socket.socket | OSError:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _take_port(sock)
        # The first call gives the socket its port, which is worth knowing even if no SYN is ever answered; the second,
        # in sock_connect, finds the connection in progress and waits for it (connect(2), EALREADY).
        if sock.connect_ex((address, port)) in (0, errno.EINPROGRESS):
            _note(sock, attempt)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
        close_by_abort(sock)
    except OSError as error:
        sock.close()
        return error
    except BaseException:
        sock.close()
        raise
    return sock


def _take_port(sock: socket.socket) -> None:
    """A port that no other socket shares, and that a listener may have beside this one (`client.routes.quiet`)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", 0))


def _note(sock: socket.socket, attempt: Attempt) -> None:
    attempt.locals.append(endpoint(sock.getsockname()))


def endpoint(address: tuple[Any, ...]) -> str:
    """A socket's address as "HOST:PORT", IPv6 hosts in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
