"""Waiting for sockets beside the asyncio loop, which would spend more on it than the relay on its bytes.

A `Poller` tells a `Watcher` what its socket is ready for, by edges: each readiness is reported once, and a watcher that
leaves something behind has to remember it. A socket is watched from its accept or connect to its close, by one watcher
after the other. `EpollPoller` is Linux's, `LoopPoller` that of systems without epoll, for handshakes only.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
from collections import deque
from collections.abc import Callable
from contextvars import Context
from socket import SocketType
from time import monotonic
from typing import Protocol, TypeVarTuple

from proxy.relay.courtesy import Courtesy

# The numbers are epoll's, on every system: a mask never comes from anywhere else but from here.
READ, PRIORITY, WRITE, ERROR, HANGUP, READ_HANGUP = 0x1, 0x2, 0x4, 0x8, 0x10, 0x2000
EDGES = 1 << 31

DRAIN_SECONDS = 0.002
"""How long the poller keeps the loop to itself."""
POLL_EVENTS = 256
SELECT_SECONDS, _SELECT_MOST = 0.001, 1024
"""An epoll counts in milliseconds: for less than one, select waits for it (of descriptors below 1024)."""
FEW_EVENTS = 1
"""After so many the next look is the loop's: most likely there is nothing yet, and it looks again anyway."""


Ts = TypeVarTuple("Ts")


class Watcher(Protocol):
    """What a socket's events go to."""

    pending: int
    """What has been reported and is not dealt with; a later watcher of the socket takes it over."""

    @property
    def reading(self) -> bool:
        """Whether it reads what is there when it is told. (Without edges, it alone may be told again and again.)"""

    def ready(self, mask: int) -> None:
        """The socket is ready for `mask`."""


class Turn(Protocol):
    """Work that is put off until everything that is ready has been looked at."""

    def turn(self) -> None:
        """Do a share of it; put the rest off again."""


class Poller(Protocol):
    """Watches sockets. One thread: call it from the loop."""

    def watch(self, sock: SocketType, watcher: Watcher) -> None:
        """Tell `watcher` what `sock` is ready for now and later. Raises OSError where the system's limits are met."""

    def forget(self, sock: SocketType) -> None:
        """`sock` is about to be closed."""


class EpollPoller:
    """One epoll for all sockets, nested in the asyncio loop's, or that one in it (`FlowLoop`). All sockets are
    registered once, edge-triggered, for everything; no epoll_ctl follows, and a blocked source that hangs up cannot
    spin the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self.watchers: dict[int, Watcher] = {}
        self.now = monotonic()
        """When the events that are being handled were seen, in monotonic seconds."""
        self._turns: deque[Turn] = deque()
        self._draining = False
        self._forgotten: set[int] = set()
        self.courtesy = Courtesy()
        self._outer = -1  # the descriptor of the loop's own selector, where that is in this epoll
        self._outer_ready = False
        if isinstance(self._loop, FlowLoop):
            self._loop.flow_selector.poller = self
            self._outer = self._loop.flow_selector.fileno()
            self._epoll.register(self._outer, READ)
        else:
            self._loop.add_reader(self._epoll.fileno(), self.drain)

    def moment(self) -> float:
        """The time now, where there were no events that would have updated `now`."""
        self.now = monotonic()
        return self.now

    def put_off(self, work: Turn) -> None:
        """Give `work` a share of the time, behind everything that is ready."""
        if not self._turns and not self._draining and not isinstance(self._loop, FlowLoop):
            self._loop.call_soon(self.drain)
        self._turns.append(work)

    def close(self) -> None:
        """Stop watching. The sockets stay open."""
        if isinstance(self._loop, FlowLoop):
            self._loop.flow_selector.poller = None
        else:
            self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def watch(self, sock: SocketType, watcher: Watcher) -> None:
        """See `Poller.watch`."""
        fd = sock.fileno()
        before = self.watchers.get(fd)
        self.watchers[fd] = watcher
        if before is None:
            self._epoll.register(fd, READ | WRITE | READ_HANGUP | PRIORITY | EDGES)
        elif before.pending:
            watcher.ready(before.pending)

    def forget(self, sock: SocketType) -> None:
        """See `Poller.forget`. Closing takes it out of the epoll."""
        fd = sock.fileno()
        self.watchers.pop(fd, None)
        # The number may be in use again before the events that were fetched with it are through.
        self._forgotten.add(fd)

    def drain(self) -> None:
        """Handle what is ready, small things first, for DRAIN_SECONDS at most and a turn."""
        if self._epoll.closed:
            return  # called late: the poller was closed meanwhile
        turns = self._turns
        now = self.now = monotonic()
        deadline = now + DRAIN_SECONDS
        self._draining = True
        while now < deadline:
            events = self._handle(0)
            if turns and not self.courtesy.rest_seconds(now):
                self._work()
            elif len(events) <= FEW_EVENTS:
                break
            now = self.now = monotonic()
        self._draining = False
        if turns:
            self._loop.call_later(self.courtesy.rest_seconds(monotonic()), self.drain)

    def run(self, loop: FlowLoop, seconds: float | None) -> bool:
        """In the place of the loop's own waiting: handle what is ready until the loop has something to do, or `seconds`
        are over. False where none of the loop's own descriptors is ready."""
        turns, left = self._turns, seconds
        until = math.inf if seconds is None else monotonic() + seconds
        loop.asked = self._outer_ready = False
        while True:
            if turns:
                rest = self.courtesy.rest_seconds(monotonic())
                left = rest if left is None else min(left, rest)
            events = self._handle(left)
            if turns:
                self._work()
            elif not events:
                break
            if loop.asked or self._outer_ready or self.now >= until:
                break
            left = None if seconds is None else max(0.0, until - self.now)
        return self._outer_ready

    def _handle(self, seconds: float | None) -> list[tuple[int, int]]:
        """Wait for events for so long, and give them to their watchers."""
        watchers, forgotten = self.watchers, self._forgotten
        if seconds and seconds < SELECT_SECONDS and self._epoll.fileno() < _SELECT_MOST:
            select.select((self._epoll,), (), (), seconds)
            seconds = 0
        events = self._epoll.poll(seconds, POLL_EVENTS)
        forgotten.clear()
        self.now = monotonic()
        for fd, mask in events:
            watcher = watchers.get(fd)
            if watcher is not None and fd not in forgotten:
                try:
                    watcher.ready(mask)
                except Exception as error:
                    # Edges come once: those behind this one must not be lost with it.
                    self._failed(error)
            elif fd == self._outer:
                self._outer_ready = True
        return events

    def _work(self) -> None:
        """Turns until the next look at the epoll: one while others chat, none while bulk rests for them; else all there
        are (a look between any two cost a third more CPU per byte)."""
        began = monotonic()
        if self.courtesy.asked(began):
            if not self.courtesy.rest_seconds(began):
                self._turn()
                self.courtesy.took(began, monotonic())
            return
        for done in range(len(self._turns)):
            if done and monotonic() - began > DRAIN_SECONDS:
                return
            self._turn()

    def _turn(self) -> None:
        try:
            self._turns.popleft().turn()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a watched connection failed", "exception": error})


class FlowSelector(selectors.DefaultSelector):
    """The selector of a `FlowLoop`: waits on the poller's epoll, in which its own is registered."""

    poller: EpollPoller | None = None
    loop: FlowLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors`."""
        if self.poller is None:
            return super().select(timeout)
        if timeout is not None:
            # As selectors does it: epoll counts in milliseconds, and waking up early would spin.
            timeout = max(0.0, math.ceil(timeout * 1e3) * 1e-3)
        assert self.loop is not None
        return super().select(0) if self.poller.run(self.loop, timeout) else []


class FlowLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that does nothing at all for a message on a flow: the poller has it before the loop wakes up."""

    def __init__(self) -> None:
        self.flow_selector = FlowSelector()
        self.flow_selector.loop = self
        self.asked = False
        """Whether it was given something to do since the poller began to wait."""
        super().__init__(self.flow_selector)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio`."""
        self.asked = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio`; `call_later` ends up here, too."""
        self.asked = True
        return super().call_at(when, callback, *args, context=context)


class LoopPoller:
    """`Poller` on the asyncio loop's own readers and writers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def watch(self, sock: SocketType, watcher: Watcher) -> None:
        """See `Poller.watch`: a watcher that reads is told about reading, any other once, that its connect is over."""
        if watcher.reading:
            self._loop.add_reader(sock.fileno(), self._readable, sock, watcher)
        else:
            self._loop.add_writer(sock.fileno(), self._connected, sock, watcher)

    def forget(self, sock: SocketType) -> None:
        """See `Poller.forget`."""
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())

    def _readable(self, sock: SocketType, watcher: Watcher) -> None:
        watcher.ready(READ)
        if not watcher.reading and sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())

    def _connected(self, sock: SocketType, watcher: Watcher) -> None:
        self._loop.remove_writer(sock.fileno())
        # Whether there was an error is only to be had by taking it, which is for the watcher to do.
        watcher.ready(WRITE | ERROR)
