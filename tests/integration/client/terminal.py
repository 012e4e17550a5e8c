"""A program in a terminal: its keyboard and what it has written, without what moves the cursor and sets colours."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|\x07|\r")


class Terminal:
    def __init__(self, descriptor: int, process: Process) -> None:
        self._descriptor = descriptor
        self.process = process
        self._raw = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._raw.decode(errors="replace"))

    @property
    def end_of_file(self) -> bytes:
        """The key that the terminal's driver takes for the end of a file; NUL: none is."""
        key: bytes = termios.tcgetattr(self._descriptor)[6][termios.VEOF]
        return key

    async def until(self, *words: str) -> None:
        """Wait until all these have been written, wherever."""
        try:
            async with asyncio.timeout(20):
                while not all(word in self.text for word in words):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{words} not in:\n{self.text}") from None

    def forget(self) -> None:
        """What was written so far is of no interest any more."""
        self._raw = b""

    async def end(self) -> int:
        """The status."""
        return await asyncio.wait_for(self.process.wait(), 20)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # EIO: nobody has the terminal open any more.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._raw += data
        self._more.set()


@contextlib.asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    """`sidedoor ...` in a terminal of 120 columns, which does not tell where its cursor is."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
    command = [sys.executable, "-m", "sidedoor", *arguments]
    # Its controlling terminal, as a shell's: Ctrl-C while a line is being printed is a signal, else a key.
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    made = Terminal(ours, process)
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
