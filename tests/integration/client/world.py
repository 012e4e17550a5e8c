"""A messenger's world on loopback: an origin over TLS, gates in front of it, SOCKS5 proxies, and a log of all events.

The origin's name is `localhost`, since any proxy resolves that: to 127.0.0.1 or ::1, where the origin listens. For the
sender's own resolver it is 127.0.0.2, where the gate of the direct path listens on the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from client.certificates import CertificateFiles, write_self_signed
from client.origin import serve_origin
from client.receiver import run_receiver
from client.sender import Sender
from client.settings import (
    DirectRoute,
    OriginAddress,
    OriginSettings,
    ReceiverSettings,
    ResolverSettings,
    SenderSettings,
    Socks5Route,
)
from proxy.server import serve
from proxy.settings import Listener, ProxySettings

NAME = "localhost"
DIRECT_ADDRESS = "127.0.0.2"
_RST = struct.pack("ii", 1, 0)


class Log:
    """An Emit that keeps everything and wakes who waits."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, {"t": time.monotonic()} | fields))
        self._changed.set()

    def of(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        return [found for name, found in self.events if name == event and fields.items() <= found.items()]

    async def until(self, event: str, count: int = 1, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The `count`-th such event, past ones included."""
        async with asyncio.timeout(timeout):
            while len(self.of(event, **fields)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(event, **fields)[count - 1]


class Gate:
    """A TCP relay in front of one address, with `delay_seconds` one way; can be stalled, reset or shut."""

    def __init__(self, listen: tuple[str, int], port: int, delay_seconds: float) -> None:
        self._listen = listen
        self._port = port
        self.delay_seconds = delay_seconds
        self._writers: set[asyncio.StreamWriter] = set()
        self.stalled = False
        self.shut = False
        self.port = 0
        self.accepted = 0
        self._arrival = asyncio.Event()
        self._dropped = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    async def serve(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            server = await asyncio.start_server(self._accepted, *self._listen)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
                self.shut = True  # also for a flow that was accepted this moment, and is announced in the next
                self.reset()
                await asyncio.sleep(0.01)

    async def until_accepted(self, count: int) -> None:
        """Wait for the `count`-th flow."""
        async with asyncio.timeout(10):
            while self.accepted < count:
                self._arrival.clear()
                await self._arrival.wait()

    async def until_dropped(self) -> None:
        """Wait until a stalled flow has lost something."""
        async with asyncio.timeout(10):
            await self._dropped.wait()

    def reset(self) -> None:
        """An RST on every flow that exists."""
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._arrival.set()
        self._writers.add(writer)
        if self.shut:
            self.reset()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(far_writer)
        if self.shut:
            self.reset()
            return
        self._tasks.create_task(self._relay(reader, far_writer), name="gate up")
        self._tasks.create_task(self._relay(far_reader, writer), name="gate down")

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await reader.read(65536):
                loop.call_later(self.delay_seconds, self._pass, writer, chunk)
        except ConnectionError:
            pass
        loop.call_later(self.delay_seconds, self._end, writer)

    def _pass(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if self.stalled:
            self._dropped.set()
        elif not writer.transport.is_closing():
            writer.write(chunk)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        if not self.stalled:
            writer.transport.close()
        else:
            writer.transport.abort()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def own_proxy(*, files: CertificateFiles | None = None, **users: str) -> AsyncIterator[int]:
    """This project's proxy, with these `files` inside TLS; yields its port."""
    started: asyncio.Queue[list[str]] = asyncio.Queue()
    listener = Listener(address="127.0.0.1:0")
    if files is not None:
        listener = Listener(address="127.0.0.1:0", certificate=str(files.certificate), key=str(files.key))
    settings = ProxySettings(listen=(listener,), users={**users})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(settings, ready=started.put_nowait), name="proxy")
        yield int((await started.get())[0].rpartition(":")[2])
        task.cancel()


@contextlib.asynccontextmanager
async def microsocks(*options: str) -> AsyncIterator[int]:
    """A real SOCKS5 proxy of other people's making; yields its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "microsocks", "-i", "127.0.0.1", "-p", str(port), *options, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(port)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return


class World:
    """Origin, receiver and log; `gate` makes ways to the origin, `sender` an end that uses them."""

    def __init__(self, group: asyncio.TaskGroup, files: CertificateFiles) -> None:
        self._group = group
        self.files = files
        self.log = Log()
        self.shown: list[int] = []
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._group.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def start_origin(self, **more: Any) -> None:
        """The origin; started anew it has the same port."""
        self.port = self.port or free_port()
        listen = (f"127.0.0.1:{self.port}", f"[::1]:{self.port}")
        certificate, key = str(self.files.certificate), str(self.files.key)
        settings = OriginSettings(listen=listen, certificate=certificate, key=key, **more)
        ready = asyncio.Event()
        self._origin = self.start(serve_origin(settings, self.log, ready=ready), "origin")
        await ready.wait()

    async def restart_origin(self) -> None:
        """The origin loses all it knows."""
        await self.stop_origin()
        await self.start_origin()

    async def stop_origin(self) -> None:
        self._origin.cancel()
        await asyncio.wait([self._origin])

    async def stop_receiver(self) -> None:
        self._receiver.cancel()
        await asyncio.wait([self._receiver])
        await self.log.until("peer_left", peer="bob")

    @staticmethod
    def proxy_route(name: str, port: int, **login: str) -> Socks5Route:
        return Socks5Route(name=name, host="127.0.0.1", port=port, **login)

    def start_receiver(self, **more: Any) -> None:
        defaults: dict[str, Any] = {"resolver": ResolverSettings(hosts={NAME: ("127.0.0.1",)})}
        settings = ReceiverSettings(
            name="bob", origin=OriginAddress(NAME, self.port), ca_file=str(self.files.ca), **(defaults | more)
        )
        receiving = run_receiver(settings, self.log, show=lambda message: self.shown.append(message.id))
        self._receiver = self.start(receiving, "bob")

    async def gate(self, delay_seconds: float = 0.0, proxy_port: int | None = None) -> Gate:
        """A gate on the direct path, or in front of a proxy."""
        if proxy_port is None:
            gate = Gate((DIRECT_ADDRESS, self.port), self.port, delay_seconds)
        else:
            gate = Gate(("127.0.0.1", 0), proxy_port, delay_seconds)
        ready = asyncio.Event()
        self.start(gate.serve(ready), "gate")
        await ready.wait()
        return gate

    def settings(self, proxies: dict[str, int], **more: Any) -> SenderSettings:
        """A sender's settings; `proxies`: name and port of each."""
        routes = (DirectRoute(), *(self.proxy_route(name, port) for name, port in proxies.items()))
        defaults: dict[str, Any] = {
            "origin": OriginAddress(NAME, self.port),
            "ca_file": str(self.files.ca),
            "resolver": ResolverSettings(hosts={NAME: (DIRECT_ADDRESS,)}),
            "routes": routes,
        }
        return SenderSettings(name="alice", peer="bob", **(defaults | more))

    def start_sender(self, settings: SenderSettings) -> Sender:
        sender = Sender(settings, self.log)
        self.start(sender.run(), "alice")
        return sender

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def send_steadily(sender: Sender, while_: Callable[[], bool], interval: float = 0.02) -> int:
    """A message each `interval` seconds while the condition holds; the last id."""
    last = 0
    while while_():
        last = sender.submit(b"x" * 200)
        await asyncio.sleep(interval)
    return last


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A world with origin and receiver up, and nothing left of it afterwards."""
    async with asyncio.TaskGroup() as group:
        made = World(group, write_self_signed(folder, [NAME, "127.0.0.1"]))
        try:
            await made.start_origin()
            made.start_receiver()
            yield made
        finally:
            made.stop()
