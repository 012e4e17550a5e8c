"""A flow's two ends, and how bytes get from one to the other: copy, upgraded to splice. Linux.

- An `End` is a socket, and the direction that it is the source of. What is readable and what is blocked is remembered
  here, because the poller reports edges.
- `_copy` moves with recv/send through one buffer that all flows share, at once; after `UPGRADE_READS` large reads in a
  row the direction is bulk: `_splice` moves it, a pipe at a time, behind everything small that is ready.
- A pipe is taken from the pool for the length of a turn. Only a direction whose sink is full keeps bytes (a pipe, or
  the unsent rest) beyond its turn.
- SPLICE_F_MORE is never set: it acts like a cork and holds the tail of a message back for 200 ms.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from socket import SocketType
from typing import Protocol

from proxy.relay.flow import Ended, Meter, Reason, close_orderly
from proxy.relay.pipes import Pipe, PipePool
from proxy.relay.poller import ERROR, HANGUP, PRIORITY, READ, READ_HANGUP, WRITE, EpollPoller
from proxy.relay.wheel import UNSET

BUFFER_BYTES = 64 * 1024
LARGE_BYTES = 16 * 1024
"""A read of so many bytes counts towards going over to splice, or towards staying with it."""
UPGRADE_READS = 3
TURN_READS = 4
TURN_SPLICES = 8
TURN_BYTES = 1 << 23
"""The share of a bulk direction. Smaller ones cost more CPU, for its bytes are in the cache; larger make chat wait."""
CHAT_TURN_BYTES = 1 << 17
"""The same while others chat."""

_MESSAGE = READ | WRITE
"""Bytes arrived, nothing else happened (an edge tells of all that is so; there is nearly always room to send)."""
_READABLE = READ | READ_HANGUP | HANGUP | ERROR
# After these a short read does not mean that the socket is empty: an end, an error or an urgent mark is behind it.
_READ_ON = READ_HANGUP | HANGUP | ERROR | PRIORITY

_SPLICE_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Carrier(Protocol):
    """What flows need of their relay."""

    poller: EpollPoller
    pipes: PipePool
    view: memoryview
    """The buffer that all copies go through."""

    def over(self, flow: Flow) -> None:
        """Both sockets of `flow` are closed."""

    def pause(self, source: End, seconds: float) -> None:
        """Let `source.resume()` be called in so many seconds."""


class Flow:
    """Two ends and what is known about them together."""

    __slots__ = ("client", "closed", "ended", "last_active", "relay", "target", "tick")

    def __init__(
        self, relay: Carrier, client: SocketType, target: SocketType, ended: Callable[[Ended], object]
    ) -> None:
        self.relay = relay
        self.client = End(client, self)
        self.target = End(target, self)
        self.client.other, self.target.other = self.target, self.client
        self.ended = ended
        self.last_active = relay.poller.moment()
        self.closed = False
        self.tick = UNSET

    @property
    def half_closed(self) -> bool:
        """Whether one direction has ended."""
        return self.client.sent_eof or self.target.sent_eof

    @property
    def moved(self) -> tuple[int, int]:
        """See `Carried`."""
        return self.client.moved, self.target.moved

    def stop(self, reason: Reason) -> None:
        """See `Carried`."""
        self.end(reason)

    def end(self, reason: Reason, close: Callable[[SocketType], None] = SocketType.close) -> None:
        """Close both sockets, by a reset unless `close` does otherwise, and say so. Once."""
        if self.closed:
            return
        self.closed = True
        relay = self.relay
        for end in (self.client, self.target):
            relay.poller.forget(end.sock)
            close(end.sock)
            if end.pipe is not None:
                (relay.pipes.discard if end.piped else relay.pipes.give_back)(end.pipe)
                end.pipe = None
        ended = Ended(self.client.moved, self.target.moved, reason, self.client.spliced or self.target.spliced)
        relay.over(self)
        # No cycle is left for the garbage collector, which looks at all flows there are.
        del self.client.other, self.target.other, self.client, self.target
        self.ended(ended)


class End:
    """One socket of a flow, and the direction that flows from it to the other end. A `Watcher`, and a `Turn`."""

    __slots__ = (
        "blocked",
        "drained",
        "flow",
        "large_reads",
        "meter",
        "moved",
        "other",
        "pipe",
        "piped",
        "queued",
        "read_on",
        "readable",
        "sent_eof",
        "sock",
        "spliced",
        "tick",
        "unsent",
    )
    other: End
    pending = 0
    reading = True

    def __init__(self, sock: SocketType, flow: Flow) -> None:
        self.sock = sock
        self.flow = flow
        self.moved = 0  # bytes delivered to the other end
        self.drained = 0  # of them, when there was last nothing left to splice
        self.readable = False
        self.read_on = False  # read until the kernel says "nothing there"
        self.blocked = False  # the other end takes no more for now
        self.large_reads = 0
        self.unsent = b""  # copied, not yet delivered
        self.pipe: Pipe | None = None  # held only while it has bytes in it
        self.piped = 0
        self.sent_eof = False  # this end's FIN has been passed on
        self.spliced = False
        self.queued = False  # for its next turn, or until its meter lets bytes go again
        self.meter: Meter | None = None
        self.tick = UNSET

    def ready(self, mask: int) -> None:
        """The poller's word: note it, and move at once what is small."""
        flow = self.flow
        relay = flow.relay
        now = flow.last_active = relay.poller.now
        other = self.other
        if mask == _MESSAGE and not (
            self.large_reads or self.blocked or other.blocked or self.queued or self.meter or self.sent_eof
        ):
            # One small message, as `_copy` would move it: without the calls a tenth less CPU.
            view = relay.view
            try:
                size = self.sock.recv_into(view, LARGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._fail()
                return
            if not size:
                self._pass_eof()
                return
            try:
                sent = other.sock.send(view[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                other._fail()
                return
            self.moved += sent
            if sent < size:
                self.unsent = bytes(view[sent:size])
                self.blocked = True
            if size < LARGE_BYTES:
                if other.large_reads < UPGRADE_READS:  # else it is about the bulk that comes the other way
                    courtesy = relay.poller.courtesy
                    courtesy.chatted, courtesy.chatter = now, flow
                return
        if mask & WRITE and other.blocked:
            other.blocked = False
            other._go_on()
            if flow.closed:
                return
        if mask & _READABLE:
            self.readable = True
            if mask & _READ_ON:
                self.read_on = True
            if not self.blocked:
                # A direction that is not blocked keeps no bytes: what is small goes straight through.
                if self.large_reads < UPGRADE_READS and self.meter is None and not (self.queued or self.sent_eof):
                    try:
                        self._copy(TURN_READS, BUFFER_BYTES)
                    except OSError:
                        self._fail()
                else:
                    self._go_on()
            if mask & ERROR and self.sent_eof and not flow.closed:
                self._fail()  # nothing is left to read: nobody else would find out

    def turn(self) -> None:
        """Move this direction's share, up to a pipe."""
        self.queued = False
        if not self.flow.closed:
            self.flow.last_active = self.flow.relay.poller.now
            self._pump()

    def resume(self) -> None:
        """The meter may let bytes go again, by the loop's timer."""
        self.flow.relay.poller.moment()
        self.turn()

    def deliver(self, data: bytes) -> None:
        """Send `data` to the other end before anything that is read."""
        self.unsent = data
        self._pump()

    def _go_on(self) -> None:
        if self.queued:
            return
        if self.large_reads < UPGRADE_READS and self.meter is None:
            self._pump()
        else:
            self._queue()

    def _queue(self) -> None:
        self.queued = True
        self.flow.relay.poller.put_off(self)

    def _pump(self) -> None:
        """Move what this end has to the other end, as far as both will, up to one turn's share."""
        try:
            if self.pipe is not None:
                if not self._flush_pipe(self.pipe):
                    return
                self._release(self.pipe)
            elif self.unsent and not self._flush_unsent():
                return
            if self.sent_eof or not self.readable:
                return
            if self.meter is not None:
                self._measured(self.meter)
            elif self.large_reads >= UPGRADE_READS and (pipe := self.flow.relay.pipes.take()) is not None:
                poller = self.flow.relay.poller
                self._splice(pipe, CHAT_TURN_BYTES if poller.courtesy.asked(poller.now) else TURN_BYTES)
            else:
                self._copy(TURN_READS, BUFFER_BYTES)
        except OSError:
            self._fail()  # the sink's errors are caught where they arise

    def _measured(self, meter: Meter) -> None:
        """One turn as far as the meter reaches; it is told what was read."""
        now = self.flow.relay.poller.now
        limit = meter.available(now)
        if limit <= 0:
            seconds = meter.wait_seconds()
            if seconds is None:
                self.flow.end(Reason.QUOTA)
                return
            self.queued = True
            self.flow.relay.pause(self, seconds)
            return
        before = self.moved
        if self.large_reads >= UPGRADE_READS and (pipe := self.flow.relay.pipes.take()) is not None:
            self._splice(pipe, min(limit, pipe.size_bytes))
        else:
            self._copy(1, min(limit, BUFFER_BYTES))
        meter.spend(self.moved - before + self.piped + len(self.unsent))

    def _flush_unsent(self) -> bool:
        """Deliver the copied rest; False when the sink is full."""
        try:
            sent = self.other.sock.send(self.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.other._fail()
            return False
        self.moved += sent
        self.unsent = self.unsent[sent:]
        self.blocked = bool(self.unsent)
        return not self.blocked

    def _copy(self, reads: int, limit: int) -> None:
        """At most `reads` times `limit` bytes, with recv and send."""
        relay = self.flow.relay
        view = relay.view
        source, sink = self.sock, self.other.sock
        for _ in range(reads):
            try:
                size = source.recv_into(view, limit)
            except BlockingIOError:
                self.readable = self.read_on = False
                return
            if not size:
                self._pass_eof()
                return
            try:
                sent = sink.send(view[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                self.other._fail()
                return
            self.moved += sent
            if sent < size:
                self.unsent = bytes(view[sent:size])
                self.blocked = True
            if size >= LARGE_BYTES:
                self.large_reads += 1
                if self.large_reads >= UPGRADE_READS:
                    relay.poller.courtesy.is_bulk(self.flow)
                    break
            elif size < limit:
                self.large_reads = 0
                if self.other.large_reads < UPGRADE_READS:
                    courtesy = relay.poller.courtesy
                    courtesy.chatted, courtesy.chatter = self.flow.last_active, self.flow
            if size < limit and not self.read_on:
                self.readable = False  # a short read has emptied the socket; the next byte is a new edge
                return
            if self.blocked:
                return
        if not self.blocked:
            self._queue()

    def _splice(self, pipe: Pipe, limit: int) -> None:
        """At most `limit` bytes, through the empty `pipe`, which goes back to the pool unless the sink is full."""
        self.pipe = pipe
        self.spliced = True
        for _ in range(TURN_SPLICES):
            try:
                size = os.splice(self.sock.fileno(), pipe.write_fd, limit, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                self.readable = self.read_on = False
                self._release(pipe)
                if self.moved - self.drained < LARGE_BYTES:
                    self.large_reads = 0
                self.drained = self.moved
                return
            if not size:
                self._release(pipe)
                self._pass_eof()
                return
            self.piped = size
            if not self._flush_pipe(pipe):
                return
            limit -= size
            if limit <= 0:
                break
        self._release(pipe)
        self._queue()

    def _flush_pipe(self, pipe: Pipe) -> bool:
        """Deliver what is in the pipe; False when the sink is full (the pipe stays here) or gone."""
        sink_fd, left = self.other.sock.fileno(), self.piped
        try:
            while left:
                sent = os.splice(pipe.read_fd, sink_fd, left, flags=_SPLICE_FLAGS)
                left -= sent
                self.moved += sent
        except BlockingIOError:
            self.piped = left
            self.blocked = True
            return False
        except OSError:
            self.piped = left
            self.other._fail()
            return False
        self.piped = 0
        return True

    def _release(self, pipe: Pipe) -> None:
        """Give the empty pipe back."""
        self.flow.relay.pipes.give_back(pipe)
        self.pipe = None

    def _pass_eof(self) -> None:
        """This end has ended, all its bytes are delivered: pass the FIN on; after the second one the flow is over."""
        self.sent_eof = True
        if self.other.sent_eof:
            self.flow.end(Reason.EOF, close_orderly)  # closing sends the FIN
            return
        try:
            self.other.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.other._fail()

    def _fail(self) -> None:
        """This end's connection was reset (or timed out): pass that on."""
        flow = self.flow
        if not flow.closed:
            flow.end(Reason.CLIENT_RESET if self is flow.client else Reason.TARGET_RESET)
