"""Names to socket addresses: the system's getaddrinfo, on daemon threads.

A look-up that hangs in the C library cannot be interrupted. asyncio's own executor has few threads on a small machine
(a few dead names would hold up everybody), and the interpreter waits for them at exit; these it does not wait for.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from proxy.resolver.lookup import SocketAddress

THREADS_MOST = 64

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[list[SocketAddress]]", str, int]


class SystemResolver:
    """`Resolver`, off the loop. Threads are started when they are needed, at most THREADS_MOST."""

    def __init__(self, getaddrinfo: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._pending = 0

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """See `Resolver`; the order is the system's (RFC 6724)."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[SocketAddress]] = loop.create_future()
        self._jobs.put((loop, future, host, port))
        self._pending += 1
        try:
            if self._pending > self._threads < THREADS_MOST:
                threading.Thread(target=self._work, name="resolver", daemon=True).start()
                self._threads += 1
            return await future
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Let the threads go; those in a look-up go when it ends."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, host, port = job
            answer: list[SocketAddress] | Exception
            try:
                found = self._getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer = [(family, address) for family, _, _, _, address in found]
            except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot encode
                answer = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error))
            try:
                loop.call_soon_threadsafe(_settle, future, answer)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more


def _settle(future: asyncio.Future[list[SocketAddress]], answer: list[SocketAddress] | Exception) -> None:
    if future.done():
        return  # given up
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
