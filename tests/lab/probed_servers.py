"""Servers on the tests' network that an active prober may meet: real proxies, and some that are none or hide it."""

from __future__ import annotations

import asyncio
import hmac
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.lab.censor_network import SERVER, Network
from tests.lab.censor_process import SIDEDOOR

_POLL_SECONDS = 0.02


@asynccontextmanager
async def program(network: Network, *command: str) -> AsyncIterator[None]:
    """A program on the server that writes a line when it is ready."""
    with network.on("server"):
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"listening" not in (line := await process.stderr.readline()):
                assert line, f"{command} ended"
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def microsocks(network: Network, port: int) -> AsyncIterator[None]:
    """It does not say when it is ready."""
    with network.on("server"):
        process = await asyncio.create_subprocess_exec("microsocks", "-p", str(port), stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    with network.socket("server", 4) as connection:
                        await asyncio.get_running_loop().sock_connect(connection, (SERVER[4], port))
                    break
                except ConnectionRefusedError:
                    assert process.returncode is None, "microsocks ended"
                    await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        process.kill()
        await process.wait()


def sidedoor_proxy(network: Network, *options: str) -> AbstractAsyncContextManager[None]:
    """A `sidedoor proxy` on the server."""
    return program(network, *SIDEDOOR, "proxy", *options)


@asynccontextmanager
async def answering(network: Network, serve: Callable[..., Awaitable[None]], port: int) -> AsyncIterator[None]:
    """A server of the test's own on the server."""
    listener = network.socket("server", 4)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SERVER[4], port))
    async with await asyncio.start_server(serve, sock=listener):
        yield


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says something to everybody."""
    await reader.read(1)
    writer.write(bytes(100))
    writer.close()


class Encrypted:
    """A proxy whose protocol looks like nothing: a nonce of 32 bytes, its MAC, and random bytes; it answers in kind.

    It says nothing to who does not know the key. careful: nor to a nonce that it has seen before.
    """

    _KEY = b"known to the client and to the server"

    def __init__(self, *, careful: bool) -> None:
        self._careful = careful
        self._seen: set[bytes] = set()
        self._random = random.Random(7)

    def first_payload(self) -> bytes:
        """What a client says first: 221 bytes."""
        nonce = self._random.randbytes(32)
        return nonce + self._mac(nonce) + self._random.randbytes(157)

    def _mac(self, nonce: bytes) -> bytes:
        return hmac.digest(self._KEY, nonce, "sha256")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce, mac = await reader.readexactly(32), await reader.readexactly(32)
        known = hmac.compare_digest(mac, self._mac(nonce)) and not (self._careful and nonce in self._seen)
        self._seen.add(nonce)
        if known:
            writer.write(self._random.randbytes(100))
        await reader.read()  # until the client goes
        writer.close()
