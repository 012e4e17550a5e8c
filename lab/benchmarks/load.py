"""The load generator for machines without a compiler: the same calls, workloads and output as `load.c`.

Slower than the C one, and on small messages and connects slower than some proxies: a run with it says so. It is run as
a file and needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sys
import time
from dataclasses import dataclass, field

BUFFER_BYTES = 256 * 1024
AT_ONCE = 64
MOST_FAILURES = 1000
_BLOCK = b"x" * BUFFER_BYTES


class GiveUp(Exception):
    """The load cannot be made; says why."""


def stdin_ended() -> asyncio.Event:
    """Set when standard input, a pipe, ends; never for a file."""
    ended = asyncio.Event()
    with contextlib.suppress(OSError):
        asyncio.get_running_loop().add_reader(0, ended.set)
    return ended


async def target() -> None:
    """Listen, print the port, do what each connection's first byte says; until standard input ends."""
    ended = stdin_ended()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        async with asyncio.TaskGroup() as tasks:
            serving: set[asyncio.Task[None]] = set()
            accepting = tasks.create_task(_accept(listener, tasks, serving), name="accept")
            await ended.wait()
            accepting.cancel()
            for task in serving:
                task.cancel()


async def _accept(listener: socket.socket, tasks: asyncio.TaskGroup, serving: set[asyncio.Task[None]]) -> None:
    while True:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        task = tasks.create_task(_serve(sock), name=f"serve {sock.fileno()}")
        serving.add(task)
        task.add_done_callback(serving.discard)


async def _serve(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, contextlib.suppress(OSError):  # the client has what it came for
        match await loop.sock_recv(sock, 1):
            case b"c":
                await loop.sock_sendall(sock, b"c")
            case b"p" | b"i":
                while data := await loop.sock_recv(sock, BUFFER_BYTES):
                    await loop.sock_sendall(sock, data)
            case b"d":
                await _send_for_ever(sock)
            case b"u":
                await _discard(sock)
            case b"b":
                await asyncio.gather(_send_for_ever(sock), _discard(sock))


async def _send_for_ever(sock: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, _BLOCK)


async def _discard(sock: socket.socket) -> None:
    loop, buffer = asyncio.get_running_loop(), bytearray(BUFFER_BYTES)
    while await loop.sock_recv_into(sock, buffer):
        pass


@dataclass(slots=True)
class Counts:
    """What all clients have done since the start line."""

    bytes: int = 0
    messages: int = 0
    connects: int = 0
    failures: int = 0
    latencies: list[float] = field(default_factory=list)

    def line(self, seconds: float, standing: int) -> str:
        """The end line."""
        ranked = sorted(self.latencies) or [0.0]
        return json.dumps(
            {
                "event": "end",
                "seconds": seconds,
                "bytes": self.bytes,
                "messages": self.messages,
                "connects": self.connects,
                "failures": self.failures,
                "standing": standing,
                "p50_seconds": ranked[len(ranked) // 2],
                "p99_seconds": ranked[len(ranked) * 99 // 100],
                "longest_seconds": ranked[-1],
            }
        )


class Clients:
    """All clients of a call, a task each. `interval` 0: the next message follows the answer."""

    def __init__(self, mode: str, ports: tuple[int, int], connections: int, message_bytes: int, interval: float):
        self._mode, (self._proxy_port, self._target_port), self._connections = mode, ports, connections
        self._message, self._interval = _BLOCK[:message_bytes], interval
        self._counts = Counts()
        self._standing = 0
        self._failed = 0
        self._changed = asyncio.Event()
        self._opening = asyncio.Semaphore(AT_ONCE)

    async def run(self, seconds: float) -> None:
        """Print the start and the end line around the load; `seconds` 0: until standard input ends. Raises GiveUp."""
        ended, patience = stdin_ended(), 10 + self._connections / 250
        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(self._client(n), name=f"client {n}") for n in range(self._connections)]
            try:
                await asyncio.wait_for(self._all_stand(), patience)
            except TimeoutError:
                standing = f"{self._standing} of {self._connections} connections stand after {patience:.0f} s"
                raise GiveUp(f"{standing}, {self._failed} failed") from None
            await asyncio.sleep(seconds / 10)
            self._counts, started = Counts(), time.monotonic()
            print(json.dumps({"event": "start"}), flush=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), seconds or None)
            print(self._counts.line(time.monotonic() - started, self._standing), flush=True)
            for client in clients:
                client.cancel()

    async def _all_stand(self) -> None:
        while self._standing < self._connections and not self._counts.connects:
            if self._failed > MOST_FAILURES:
                raise GiveUp(f"more than {MOST_FAILURES} connections failed")
            self._changed.clear()
            await self._changed.wait()

    async def _client(self, number: int) -> None:
        while True:
            try:
                async with self._opening:
                    sock = await self._connect()
                with sock:
                    await self._load(sock, number)
            except OSError:
                self._counts.failures += 1
                self._failed += 1
            self._changed.set()

    async def _load(self, sock: socket.socket, number: int) -> None:
        if self._mode == "c":
            await _discard(sock)
            self._counts.connects += 1
            return
        if self._mode in "pi":
            await self._exchange(sock)
        self._standing += 1
        self._changed.set()
        try:
            match self._mode:
                case "d":
                    await self._receive(sock)
                case "u":
                    await self._send(sock)
                case "b":
                    await asyncio.gather(self._receive(sock), self._send(sock))
                case "i":
                    await _discard(sock)
                case "s":
                    await self._sip(sock)
                case _:
                    await self._chat(sock, number)
            raise OSError("the connection ended")
        finally:
            self._standing -= 1

    async def _receive(self, sock: socket.socket) -> None:
        loop, buffer = asyncio.get_running_loop(), bytearray(BUFFER_BYTES)
        while received := await loop.sock_recv_into(sock, buffer):
            self._counts.bytes += received

    async def _sip(self, sock: socket.socket) -> None:
        loop, buffer = asyncio.get_running_loop(), bytearray(len(self._message))
        while received := await loop.sock_recv_into(sock, buffer):
            self._counts.bytes += received
            await asyncio.sleep(self._interval)

    async def _send(self, sock: socket.socket) -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, _BLOCK)
            self._counts.bytes += BUFFER_BYTES

    async def _chat(self, sock: socket.socket, number: int) -> None:
        due = time.monotonic() + self._interval * number / self._connections
        while True:
            if self._interval:
                await asyncio.sleep(due - time.monotonic())
            else:
                due = time.monotonic()
            await self._exchange(sock)
            self._counts.messages += 1
            self._counts.bytes += len(self._message)
            self._counts.latencies.append(time.monotonic() - due)
            due += self._interval

    async def _exchange(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, self._message)
        await _receive_exactly(sock, len(self._message))

    async def _connect(self) -> socket.socket:
        """A connection that stands, its first byte sent. Raises OSError."""
        loop, sock = asyncio.get_running_loop(), socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, ("127.0.0.1", self._proxy_port or self._target_port))
            if self._proxy_port:
                await loop.sock_sendall(sock, b"\x05\x01\x00")
                choice = await _receive_exactly(sock, 2)
                await loop.sock_sendall(
                    sock, b"\x05\x01\x00\x01\x7f\x00\x00\x01" + self._target_port.to_bytes(2, "big")
                )
                if choice != b"\x05\x00" or (await _receive_exactly(sock, 10))[:2] != b"\x05\x00":
                    raise OSError("the proxy refused")
            await loop.sock_sendall(sock, b"d" if self._mode == "s" else self._mode.encode())
        except BaseException:
            sock.close()
            raise
        return sock


async def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not more:
            raise ConnectionResetError("the connection ended")
        data += more
    return data


async def _main(arguments: list[str]) -> None:
    if arguments == ["target"]:
        return await target()
    mode, proxy_port, target_port, connections, seconds, message_bytes, interval = arguments
    ports = int(proxy_port), int(target_port)
    clients = Clients(mode, ports, int(connections), int(message_bytes), float(interval))
    return await clients.run(float(seconds))


def main(arguments: list[str]) -> None:
    """`target`, or MODE PROXY_PORT TARGET_PORT CONNECTIONS SECONDS MESSAGE_BYTES INTERVAL_SECONDS."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    try:
        asyncio.run(_main(arguments))
    except* GiveUp as group:
        sys.exit(f"load: {group.exceptions[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
