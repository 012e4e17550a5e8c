"""The relay of systems without epoll or splice: the same behaviour, on plain asyncio.

One difference: a reset that comes from an end whose FIN was passed on already is noticed only when something is sent
to it, or by the half-close limit.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from socket import SocketType
from time import monotonic
from typing import Self

from proxy.relay.bucket import Bucket, Narrowest
from proxy.relay.flow import Carried, Ended, Limits, Meter, Reason, close_orderly
from proxy.relay.poller import LoopPoller

BUFFER_BYTES = 64 * 1024


class Flow:
    """The counters and the state that the two directions of a flow share."""

    __slots__ = ("carried", "directions", "failed", "last_active", "meters", "over_limit", "task")
    task: asyncio.Task[Reason]

    def __init__(self, rate_bytes_per_second: float, meters: tuple[Meter, Meter] | None) -> None:
        rate, now = rate_bytes_per_second, monotonic()
        self.meters: dict[str, Meter] = dict(zip(("up", "down"), meters, strict=True)) if meters else {}
        if rate:
            for way in ("up", "down"):
                bucket = Bucket(rate, now)
                self.meters[way] = Narrowest(bucket, self.meters[way]) if meters else bucket
        self.carried = {"up": 0, "down": 0}
        self.last_active = monotonic()
        self.directions: tuple[asyncio.Task[None], ...] = ()
        self.failed = False
        self.over_limit: Reason | None = None

    @property
    def half_closed(self) -> bool:
        return any(task.done() for task in self.directions)

    @property
    def moved(self) -> tuple[int, int]:
        """See `Carried`."""
        return self.carried["up"], self.carried["down"]

    def stop(self, reason: Reason) -> None:
        """See `Carried`."""
        self.over_limit = reason
        self.task.cancel()


class EndFailed(Exception):
    """One end's connection was reset or timed out."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock


class PortableRelay:
    """`Relay` on asyncio's socket calls."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._flows: dict[Flow, asyncio.Task[Reason]] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.poller = LoopPoller()
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._sweeper = self._loop.call_later(self.limits.sweep_seconds, self._sweep)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._sweeper.cancel()
        for task in self._flows.values():
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def __len__(self) -> int:
        return len(self._flows)

    def add(
        self,
        client: SocketType,
        target: SocketType,
        early_data: bytes,
        ended: Callable[[Ended], object],
        meters: tuple[Meter, Meter] | None = None,
    ) -> Carried:
        """See `Relay.add`."""
        for sock in (client, target):
            self.poller.forget(sock)
        flow = Flow(self.limits.rate_bytes_per_second, meters)
        self._carry(
            flow, socket.socket(fileno=client.detach()), socket.socket(fileno=target.detach()), early_data, ended
        )
        return flow

    def _carry(
        self,
        flow: Flow,
        client: socket.socket,
        target: socket.socket,
        early_data: bytes,
        ended: Callable[[Ended], object],
    ) -> None:
        for sock in (client, target):
            sock.setblocking(False)
        task = self._group.create_task(self._both(flow, client, target, early_data), name="flow")
        self._flows[flow] = flow.task = task
        # A task that is cancelled before its first step never runs: what must happen happens in the callback.
        task.add_done_callback(partial(self._end, flow, client, target, ended))

    async def _both(self, flow: Flow, client: socket.socket, target: socket.socket, early_data: bytes) -> Reason:
        """Both directions until both have ended or one end has failed."""
        reason = Reason.EOF
        try:
            async with asyncio.TaskGroup() as group:
                up = self._copy(flow, "up", client, target, early_data)
                down = self._copy(flow, "down", target, client, b"")
                flow.directions = (
                    group.create_task(up, name="flow up"),
                    group.create_task(down, name="flow down"),
                )
        except* EndFailed as failures:
            failure = failures.exceptions[0]
            assert isinstance(failure, EndFailed)
            reason = Reason.CLIENT_RESET if failure.sock is client else Reason.TARGET_RESET
        return reason

    async def _copy(self, flow: Flow, direction: str, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        try:
            await self._move(flow, direction, source, sink, data)
        except EndFailed:
            flow.failed = True
            raise

    async def _move(self, flow: Flow, direction: str, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        """One direction: `data`, then what comes from `source`, then its FIN."""
        while True:
            view = memoryview(data)
            while view:
                sent = await self._send(sink, view)
                flow.carried[direction] += sent
                flow.last_active = monotonic()
                view = view[sent:]
            size = BUFFER_BYTES
            if meter := flow.meters.get(direction):
                await self._readable(source)  # nothing is reserved while there is nothing
                size = min(size, await _allowed(flow, meter))
            try:
                data = await self._loop.sock_recv(source, size)
            except OSError as error:
                raise EndFailed(source) from error
            if meter:
                meter.spend(len(data))
            flow.last_active = monotonic()
            if not data:
                break
        if flow.failed:
            return  # the other direction has met the reset, which looks like an end here: no FIN in front of it
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise EndFailed(sink) from error

    async def _readable(self, source: socket.socket) -> None:
        readable = self._loop.create_future()
        self._loop.add_reader(source, _wake, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(source)

    async def _send(self, sink: socket.socket, view: memoryview) -> int:
        """Send what the socket takes, at least a byte. (`sock_sendall` does not say how far it came.)"""
        while True:
            try:
                return sink.send(view)
            except BlockingIOError:
                writable = self._loop.create_future()
                self._loop.add_writer(sink, _wake, writable)
                try:
                    await writable
                finally:
                    self._loop.remove_writer(sink)
            except OSError as error:
                raise EndFailed(sink) from error

    def _end(
        self,
        flow: Flow,
        client: socket.socket,
        target: socket.socket,
        ended: Callable[[Ended], object],
        task: asyncio.Task[Reason],
    ) -> None:
        del self._flows[flow]
        reason = (flow.over_limit or Reason.STOPPED) if task.cancelled() else task.result()
        for sock in (client, target):
            (close_orderly if reason is Reason.EOF else socket.socket.close)(sock)
        ended(Ended(*flow.moved, reason))

    def _sweep(self) -> None:
        """Cancel the flows that are over their limit."""
        now = monotonic()
        for flow, task in self._flows.items():
            half_closed = flow.half_closed
            limit = self.limits.half_close_seconds if half_closed else self.limits.idle_seconds
            if now - flow.last_active > limit:
                flow.over_limit = Reason.HALF_CLOSED if half_closed else Reason.IDLE
                task.cancel()
        self._sweeper = self._loop.call_later(self.limits.sweep_seconds, self._sweep)


async def _allowed(flow: Flow, meter: Meter) -> int:
    """How many bytes may go, waited for until there are any; a flow that cannot get any more is ended."""
    while (size := meter.available(monotonic())) <= 0:
        if (seconds := meter.wait_seconds()) is None:
            flow.stop(Reason.QUOTA)
            seconds = 3600.0  # it is cancelled here
        await asyncio.sleep(seconds)
    return size


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
