"""The socket between a censor and one of its workers: whole messages in and out, without blocking the loop.

The censor never waits for a worker to read; a worker that has said more than it was asked to hold back waits for the
censor, so that a flood of events is held up where it begins.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

from censor.lines.messages import Frames

_READ_BYTES = 1 << 18


class Channel:
    """One end. `on_body` gets the body of each message, `on_end` is called once, when the other end is gone.

    limit_bytes: what may wait to be sent before `send` blocks; None: anything.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_body: Callable[[bytes], None],
        on_end: Callable[[], None],
        *,
        limit_bytes: int | None = None,
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._on_body = on_body
        self._on_end = on_end
        self._limit = limit_bytes
        self._frames = Frames()
        self._waiting = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended = False
        """The other end is gone; what is sent to it vanishes."""

    def attach(self) -> None:
        """Have the running loop read and write from now on."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self.read)

    def detach(self) -> None:
        """Leave the loop; `read` and `write` are called by hand."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None

    def close(self) -> None:
        self.detach()
        self.ended = True
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting)

    def read(self) -> None:
        """Hand over what has come."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        for body in self._frames.feed(data):
            self._on_body(body)
        if not data and not self.ended:
            self.detach()
            self.ended = True
            self._on_end()

    def send(self, data: bytes) -> None:
        """Send, or keep for later what cannot be sent now."""
        if self.ended:
            return
        self._waiting += data
        self.write()
        while self._limit is not None and len(self._waiting) > self._limit and not self.ended:
            select.select([], [self._socket], [])
            self.write()

    def write(self) -> None:
        """Send as much of what waits as goes."""
        try:
            while self._waiting and not self.ended:
                del self._waiting[: self._socket.send(memoryview(self._waiting)[:_READ_BYTES])]
        except BlockingIOError:
            pass
        except ConnectionError:  # reading finds out, too, and tells
            self._waiting.clear()
        self._watch()

    def _watch(self) -> None:
        if self._loop is None:
            return
        if self._waiting:
            self._loop.add_writer(self._socket.fileno(), self.write)
        else:
            self._loop.remove_writer(self._socket.fileno())
