"""The lines of standard input, without holding up the loop, and without a reader that cannot be interrupted."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65536


async def lines(descriptor: int = 0) -> AsyncIterator[bytes]:
    """Each line without its end (LF or CRLF); the last may lack it.

    read(2) on a terminal or a pipe blocks, and epoll takes no regular file: so a thread reads. It is a daemon since
    nothing can interrupt it, and reads the descriptor since `sys.stdin` would lock the interpreter's end.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(1)

    def read() -> None:
        chunk = b"start"
        while chunk:
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except OSError:
                chunk = b""
            putting = chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(putting, loop).result()
            except (RuntimeError, asyncio.CancelledError):  # The loop has ended.
                putting.close()
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
    if rest:
        yield rest.removesuffix(b"\r")
