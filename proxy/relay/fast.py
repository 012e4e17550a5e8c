"""The relay of Linux: one epoll for all flows, nested in the asyncio loop; copy, upgraded to splice.

How it works:

- Every socket is registered once, edge-triggered, for everything. No epoll_ctl follows: what is readable and what is
  blocked is remembered in the `End`s. A blocked source that hangs up cannot spin the loop, because an edge comes once.
- `_drain` runs when the nested epoll has something. It polls and pumps until nothing is ready or `DRAIN_SECONDS` are
  over, then lets asyncio have its turn. A direction that has moved its share (`TURN_*`) waits in `_unfinished`.
- An `End` is a socket, and the direction that it is the source of. `_copy` moves with recv/send through one buffer that
  all flows share; after `UPGRADE_READS` large reads in a row `_splice` takes over, with a pipe from the pool for the
  length of one turn. Only a direction whose sink is full keeps bytes (a pipe, or the unsent rest) beyond its turn.
- SPLICE_F_MORE is never set: it acts like a cork and holds the tail of a message back for 200 ms.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Self

from proxy.relay.flow import Ended, Limits, Reason, close_orderly, prepare
from proxy.relay.pipes import Pipe, PipePool

SUPPORTED = hasattr(select, "epoll") and hasattr(os, "splice")

BUFFER_BYTES = 64 * 1024
LARGE_BYTES = 16 * 1024
"""A read of so many bytes counts towards going over to splice, or towards staying with it."""
UPGRADE_READS = 3
TURN_READS = 16
TURN_SPLICES = 4
DRAIN_SECONDS = 0.002
POLL_EVENTS = 256

if SUPPORTED:
    _EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
    _READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    # After these a short read does not mean that the socket is empty: an end, an error or an urgent mark is behind it.
    _READ_ON = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
    _WRITE = select.EPOLLOUT
    _ERROR = select.EPOLLERR
    _SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class End:
    """One socket of a flow, and the direction that flows from it to the other end."""

    __slots__ = (
        "blocked",
        "fd",
        "flow",
        "large_reads",
        "moved",
        "other",
        "pipe",
        "piped",
        "read_on",
        "readable",
        "recv_into",
        "send",
        "sent_eof",
        "sock",
        "unsent",
        "waiting",
    )
    other: End

    def __init__(self, sock: socket.socket, flow: Flow) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.flow = flow
        self.recv_into = sock.recv_into
        self.send = sock.send
        self.moved = 0  # bytes delivered to the other end
        self.readable = False
        self.read_on = False  # read until the kernel says "nothing there"
        self.blocked = False  # the other end takes no more for now
        self.large_reads = 0
        self.unsent = b""  # copied, not yet delivered
        self.pipe: Pipe | None = None  # held only while it has bytes in it
        self.piped = 0
        self.sent_eof = False  # this end's FIN has been passed on
        self.waiting = False  # for its next turn, in `_unfinished`


class Flow:
    """Two ends and what is known about them together."""

    __slots__ = ("client", "ended", "last_active", "target")

    def __init__(self, client: socket.socket, target: socket.socket, ended: Callable[[Ended], object]) -> None:
        self.client = End(client, self)
        self.target = End(target, self)
        self.client.other, self.target.other = self.target, self.client
        self.ended = ended
        self.last_active = monotonic()


class FastRelay:
    """`Relay` on a nested epoll and splice. One thread, no locks: call it from the loop it was entered in."""

    def __init__(self, limits: Limits, *, pipes: PipePool | None = None) -> None:
        self._limits = limits
        self._pipes = pipes or PipePool()
        self._ends: dict[int, End] = {}
        self._unfinished: list[End] = []
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._drain)
        self._sweeper = self._loop.call_later(self._limits.sweep_seconds, self._sweep)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._sweeper.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        while self._ends:
            end = next(iter(self._ends.values()))
            self._end(end.flow, Reason.STOPPED, socket.socket.close)
        self._epoll.close()
        self._pipes.close()

    def __len__(self) -> int:
        return len(self._ends) // 2

    def add(
        self, client: socket.socket, target: socket.socket, early_data: bytes, ended: Callable[[Ended], object]
    ) -> None:
        """See `Relay.add`."""
        prepare(client)
        prepare(target)
        flow = Flow(client, target, ended)
        self._ends[flow.client.fd], self._ends[flow.target.fd] = flow.client, flow.target
        try:
            # Registering reports what is ready already: bytes that came before are not missed.
            self._epoll.register(flow.client.fd, _EVENTS)
            self._epoll.register(flow.target.fd, _EVENTS)
        except OSError:  # fs.epoll.max_user_watches
            self._end(flow, Reason.STOPPED, socket.socket.close)
            return
        if early_data:
            flow.client.unsent = early_data
            self._pump(flow.client)

    def _drain(self) -> None:
        """Work on what is ready, for DRAIN_SECONDS at most and one turn."""
        if self._epoll.closed:
            return  # called late: the relay was left meanwhile
        poll, ends = self._epoll.poll, self._ends
        now = monotonic()
        deadline = now + DRAIN_SECONDS
        while now < deadline:
            unfinished, self._unfinished = self._unfinished, []
            events = poll(0, POLL_EVENTS)
            if not events and not unfinished:
                return
            for fd, mask in events:
                end = ends.get(fd)
                if end is not None:
                    # An edge is reported once: past the deadline it is still noted, and its work put off.
                    self._handle(end, mask, now, self._pump if now < deadline else self._put_off)
                    now = monotonic()
            for end in unfinished:
                end.waiting = False
                if ends.get(end.fd) is not end:
                    continue
                if now < deadline:
                    end.flow.last_active = now
                    self._pump(end)
                    now = monotonic()
                else:
                    self._put_off(end)
        if self._unfinished:
            self._loop.call_soon(self._drain)

    def _handle(self, end: End, mask: int, now: float, pump: Callable[[End], None]) -> None:
        end.flow.last_active = now
        source = end.other
        if source.blocked and mask & _WRITE:
            source.blocked = False
            pump(source)
            if self._ends.get(end.fd) is not end:
                return
        if mask & _READ:
            end.readable = True
            if mask & _READ_ON:
                end.read_on = True
            if not end.blocked:
                pump(end)
            if mask & _ERROR and end.sent_eof and self._ends.get(end.fd) is end:
                self._fail(end)  # nothing is left to read: nobody else would find out

    def _put_off(self, source: End) -> None:
        if not source.waiting:
            source.waiting = True
            self._unfinished.append(source)

    def _pump(self, source: End) -> None:
        """Move what `source` has to the other end, as far as both will, up to one turn's share."""
        try:
            if source.pipe is not None:
                if not self._flush_pipe(source, source.pipe):
                    return
                self._release(source)
            elif source.unsent and not self._flush_unsent(source):
                return
            if source.sent_eof or not source.readable:
                return
            if source.large_reads >= UPGRADE_READS and (pipe := self._pipes.take()) is not None:
                self._splice(source, pipe)
            else:
                self._copy(source)
        except OSError:
            self._fail(source)  # the sink's errors are caught where they arise

    def _flush_unsent(self, source: End) -> bool:
        """Deliver the copied rest; False when the sink is full."""
        try:
            sent = source.other.send(source.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._fail(source.other)
            return False
        source.moved += sent
        source.unsent = source.unsent[sent:]
        source.blocked = bool(source.unsent)
        return not source.blocked

    def _copy(self, source: End) -> None:
        view = self._view
        recv_into, send = source.recv_into, source.other.send
        for _ in range(TURN_READS):
            try:
                size = recv_into(view)
            except BlockingIOError:
                source.readable = source.read_on = False
                return
            if not size:
                self._pass_eof(source)
                return
            try:
                sent = send(view[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                self._fail(source.other)
                return
            source.moved += sent
            if sent < size:
                source.unsent = bytes(view[sent:size])
                source.blocked = True
            if size >= LARGE_BYTES:
                source.large_reads += 1
                if source.large_reads >= UPGRADE_READS:
                    break
            else:
                source.large_reads = 0
            if size < BUFFER_BYTES and not source.read_on:
                source.readable = False  # a short read has emptied the socket; the next byte is a new edge
                return
            if source.blocked:
                return
        if not source.blocked:
            self._put_off(source)

    def _splice(self, source: End, pipe: Pipe) -> None:
        """Like `_copy`, through the empty `pipe`, which goes back to the pool unless the sink is full."""
        source.pipe = pipe
        write_fd, size_bytes = pipe.write_fd, pipe.size_bytes
        for _ in range(TURN_SPLICES):
            try:
                size = os.splice(source.fd, write_fd, size_bytes, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                source.readable = source.read_on = False
                break
            if not size:
                self._release(source)
                self._pass_eof(source)
                return
            source.piped = size
            if size < LARGE_BYTES:
                source.large_reads = 0
            if not self._flush_pipe(source, pipe):
                return
        else:
            self._put_off(source)
        self._release(source)

    def _flush_pipe(self, source: End, pipe: Pipe) -> bool:
        """Deliver what is in the pipe; False when the sink is full (the pipe stays with `source`) or gone."""
        sink_fd, left = source.other.fd, source.piped
        try:
            while left:
                sent = os.splice(pipe.read_fd, sink_fd, left, flags=_SPLICE_FLAGS)
                left -= sent
                source.moved += sent
        except BlockingIOError:
            source.piped = left
            source.blocked = True
            return False
        except OSError:
            source.piped = left
            self._fail(source.other)
            return False
        source.piped = 0
        return True

    def _release(self, source: End) -> None:
        """Give the empty pipe of `source` back."""
        if source.pipe is not None:
            self._pipes.give_back(source.pipe)
            source.pipe = None

    def _pass_eof(self, source: End) -> None:
        """`source` has ended, all its bytes are delivered: pass the FIN on; after the second one the flow is over."""
        source.sent_eof = True
        try:
            source.other.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._fail(source.other)
            return
        if source.other.sent_eof:
            self._end(source.flow, Reason.EOF, close_orderly)

    def _fail(self, end: End) -> None:
        """The connection of `end` was reset (or timed out): pass that on."""
        flow = end.flow
        self._end(flow, Reason.CLIENT_RESET if end is flow.client else Reason.TARGET_RESET, socket.socket.close)

    def _end(self, flow: Flow, reason: Reason, close: Callable[[socket.socket], None]) -> None:
        for end in (flow.client, flow.target):
            # Closing also takes the descriptor out of the epoll.
            del self._ends[end.fd]
            close(end.sock)
            if end.pipe is not None:
                (self._pipes.discard if end.piped else self._pipes.give_back)(end.pipe)
                end.pipe = None
        flow.ended(Ended(flow.client.moved, flow.target.moved, reason))

    def _sweep(self) -> None:
        """Reset the flows that are over their limit."""
        now = monotonic()
        for end in list(self._ends.values()):
            flow = end.flow
            if end is not flow.client:
                continue
            half_closed = flow.client.sent_eof or flow.target.sent_eof
            if now - flow.last_active > (self._limits.half_close_seconds if half_closed else self._limits.idle_seconds):
                self._end(flow, Reason.HALF_CLOSED if half_closed else Reason.IDLE, socket.socket.close)
        self._sweeper = self._loop.call_later(self._limits.sweep_seconds, self._sweep)
