"""The direct route with the ClientHello in two TCP segments: for censors that read single segments.

TCP_NODELAY and two calls of send(2) make two segments, but a kernel merges what waits in its queue: behind a busy
device (tcp_autocorking), and when it sends a lost segment again (tcp_retrans_collapse). So the second part goes out
when the first was acknowledged.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import termios

from client.routes import Attempt
from client.routes.client_hello import begins_application_data, cut_in_two
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.direct import direct_stream
from client.routes.layer import Layer
from client.routes.settings import TcpSegmentRoute

POLL_SECONDS = 0.002
"""How often it is looked whether the first part was acknowledged: nothing tells, and a round trip is longer."""


class TcpSegment:
    """Implements `client.routes.Route`."""

    def __init__(self, route: TcpSegmentRoute, dial: DialContext) -> None:
        self.name = route.name
        self._wait_seconds = route.wait_seconds
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        stream = await direct_stream(self._dial, attempt)
        return await open_connection(_Segmenter(stream.transport, self._wait_seconds), self._dial, attempt)


class _Segmenter(Layer):
    """Holds back what comes behind the cut until what is before it was acknowledged, or for `wait_seconds`."""

    def __init__(self, below: asyncio.Transport, wait_seconds: float) -> None:
        super().__init__(below)
        self._wait_seconds = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._closing = False
        self._over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._timer is not None:
            self._held += data
            return
        if not self._over:
            data = bytes(data)
            self._over = begins_application_data(data)
            data, rest = cut_in_two(data)
            if rest:
                self._held += rest
                self._deadline = self._loop.time() + self._wait_seconds
                self._timer = self._loop.call_later(POLL_SECONDS, self._look)
        super().write(data)

    def close(self) -> None:
        if self._timer is None:
            super().close()
        self._closing = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self._unacknowledged_bytes() and self._loop.time() < self._deadline:
            self._timer = self._loop.call_later(POLL_SECONDS, self._look)
            return
        self._timer = None
        super().write(bytes(self._held))
        self._held.clear()
        if self._closing:
            super().close()

    def _unacknowledged_bytes(self) -> int:
        """What the kernel has sent without an answer, or not yet sent (tcp(7), SIOCOUTQ); 1 where it does not tell."""
        count = array.array("i", [1])
        with contextlib.suppress(OSError):  # Not Linux: then the wait is as long as it may be.
            fcntl.ioctl(self.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
        return count[0]
