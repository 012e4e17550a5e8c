"""What the tests of the proxy run it in: real TCP on loopback, a target to connect to, a running proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from proxy.metrics import Family
from proxy.server import Server, serve
from proxy.settings import ProxySettings

SECONDS = 10.0
"""Nothing here takes so long unless it hangs."""


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection, non-blocking."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        near = socket.create_connection(listener.getsockname()[:2])
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
    return near, far


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(sock, data), SECONDS)


async def receive(sock: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer where the end comes first."""
    loop, data = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(SECONDS):
        while len(data) < size and (chunk := await loop.sock_recv(sock, min(size - len(data), 1 << 20))):
            data += chunk
    return bytes(data)


async def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end."""
    chunks = []
    async with asyncio.timeout(SECONDS * 3):
        while chunk := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
            chunks.append(chunk)
    return b"".join(chunks)


async def until(holds: Callable[[], object]) -> None:
    """Look, turn by turn of the loop, until it does."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110  # what the kernel does sets no event
            await asyncio.sleep(0)


class Proxy:
    """A proxy that runs in the test's own loop, and its events."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.server: Server
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.users: dict[str, str] = {}
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def port(self) -> int:
        return int(self.addresses[0].rpartition(":")[2])

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """The fields of the `number`th event of that name, waited for."""
        async with asyncio.timeout(SECONDS):
            while len(found := [fields for event, fields in self.events if event == name]) < number:
                future = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                await future
        return found[number - 1]

    def counted(self, family: Family, label: str = "") -> int:
        """How often, so far; of what `label` says."""
        return self.server.shared.counters.total(family.indices()[label] if label else family.first)

    async def connect(self) -> socket.socket:
        """A new connection to the proxy, before any handshake."""
        host, _, port = self.addresses[0].rpartition(":")
        host = host.strip("[]")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        return sock


@contextlib.asynccontextmanager
async def running_proxy(**settings: Any) -> AsyncIterator[Proxy]:
    """A proxy on a free port of 127.0.0.1 unless `listen` says otherwise."""
    proxy = Proxy()
    proxy.users = settings.get("users", {})
    ready = asyncio.Event()

    def listening(addresses: list[str]) -> None:
        proxy.addresses = addresses
        ready.set()

    def started(server: Server) -> None:
        proxy.server = server

    chosen = ProxySettings(**({"listen": ("127.0.0.1:0",)} | settings))
    task = asyncio.create_task(serve(chosen, proxy.emit, ready=listening, started=started), name="proxy")
    try:
        await asyncio.wait_for(ready.wait(), SECONDS)
        yield proxy
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


Serve = Callable[[socket.socket], Awaitable[None]]


@contextlib.asynccontextmanager
async def target(serve_one: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A TCP server whose connections are given to `serve_one`, then closed. Gives its port."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=512) as listener:
        listener.setblocking(False)

        async def one(sock: socket.socket) -> None:
            with sock, contextlib.suppress(ConnectionError):
                await serve_one(sock)

        def accept(group: asyncio.TaskGroup) -> None:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock, _ = listener.accept()
                sock.setblocking(False)
                accepted.append(sock)
                group.create_task(one(sock), name="target connection")

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                loop.add_reader(listener, accept, group)
                try:
                    await loop.create_future()
                finally:
                    loop.remove_reader(listener)

        accepted: list[socket.socket] = []
        task = asyncio.create_task(run(), name="target")
        try:
            yield listener.getsockname()[1]
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            for sock in accepted:
                sock.close()  # those whose task was ended before it began


async def echo(sock: socket.socket) -> None:
    """Send back what comes; at the end of it, end."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 1 << 16):
        await loop.sock_sendall(sock, data)
