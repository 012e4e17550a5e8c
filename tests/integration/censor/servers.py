"""Servers to be probed: proxies of other people's making, and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.proxy.test_upstream import danted, free_port, once_it_listens
from tests.integration.proxy.world import receive_all, send


async def silent(sock: socket.socket) -> None:
    await receive_all(sock)


async def hang_up(sock: socket.socket) -> None:
    """Wait for the first bytes, then close; nothing unread is left, so that it is a FIN."""
    await asyncio.get_running_loop().sock_recv(sock, 65536)


async def reset(sock: socket.socket) -> None:
    await hang_up(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def web(sock: socket.socket) -> None:
    """What a web server says to what is no request that it takes."""
    await hang_up(sock)
    await send(sock, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextlib.asynccontextmanager
async def microsocks(*options: str) -> AsyncIterator[int]:
    port = free_port()
    async with _program("microsocks", port, "-i", "127.0.0.1", "-p", str(port), *options):
        yield port


@contextlib.asynccontextmanager
async def dante(folder: Path) -> AsyncIterator[int]:
    port = free_port()
    async with _program("danted", port, *danted(port, folder)):
        yield port


@contextlib.asynccontextmanager
async def _program(name: str, port: int, *arguments: str) -> AsyncIterator[None]:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed (apt install microsocks dante-server)")
    process = await asyncio.create_subprocess_exec(path, *arguments, stdout=-3, stderr=-3)
    try:
        await once_it_listens(process, port)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
