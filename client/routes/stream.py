"""A connection that is talked on before it carries TLS to the origin: what a proxy is told and answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast


class Stream(asyncio.Protocol):
    """Collects what arrives until somebody reads it. One reader at a time; `transport` is there once it is connected.

    Reads raise asyncio.IncompleteReadError at the end of the stream and OSError when it was lost.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._arrived = bytearray()
        self._ended = False
        self._lost: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read_exactly(self, length: int) -> bytes:
        """The next `length` bytes."""
        while len(self._arrived) < length:
            await self._more()
        return self._take(length)

    async def read_until(self, end: bytes, limit_bytes: int) -> bytes:
        """Up to and with the next `end`. Raises ValueError when `limit_bytes` have come without it."""
        while (at := self._arrived.find(end)) < 0:
            if len(self._arrived) >= limit_bytes:
                raise ValueError(f"no end of the answer within {limit_bytes} bytes")
            await self._more()
        return self._take(at + len(end))

    def write(self, data: bytes) -> None:
        """Send; nothing said to a proxy is so long that it would have to wait."""
        self.transport.write(data)

    def check_empty(self) -> None:
        """Raises ValueError when more has come than was read: what comes next has to be the origin's."""
        if self._arrived:
            raise ValueError(f"{len(self._arrived)} bytes too many in the proxy's answer")

    def _take(self, length: int) -> bytes:
        data = bytes(self._arrived[:length])
        del self._arrived[:length]
        return data

    async def _more(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._ended:
            raise asyncio.IncompleteReadError(bytes(self._arrived), None)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._lost = True, exc
        self._wake()


async def open_stream(sock: socket.socket) -> Stream:
    """A stream on a connected socket, which is the stream's from now on."""
    try:
        _, stream = await asyncio.get_running_loop().create_connection(Stream, sock=sock)
    except BaseException:
        sock.close()
        raise
    return stream


async def open_tls_stream(sock: socket.socket, context: ssl.SSLContext, server_name: str) -> Stream:
    """The same inside TLS. Raises OSError (ssl.SSLError is one)."""
    try:
        _, stream = await asyncio.get_running_loop().create_connection(
            Stream, sock=sock, ssl=context, server_hostname=server_name
        )
    except BaseException:
        sock.close()
        raise
    return stream
