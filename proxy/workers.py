"""The processes of a proxy: workers on one port, the admin endpoint, and the supervisor that starts them again. Linux.

Each worker has listening sockets of its own (SO_REUSEPORT: the kernel shares the connections out), which the supervisor
keeps open, too: connections that a dead worker had not accepted wait for its successor. Flows die with their worker, by
a reset. The supervisor has no loop and no threads, so that it can fork at any time; it waits for signals, which are
blocked meanwhile, and in its children until they know what to do with them (`let_in`). A process whose supervisor is
gone ends: the pipe between them closes.

Signals to the supervisor: SIGHUP reloads, SIGTERM drains (the second one does not wait), SIGINT ends at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from proxy import log
from proxy.listeners import Bound, bind, bind_again
from sidedoor.settings import UsageError

SUPPORTED = hasattr(signal, "sigtimedwait") and hasattr(socket, "SO_REUSEPORT")

STOP_SECONDS = 5.0
"""How long processes may take to end when they are asked to; then they are killed."""
SETTLED_SECONDS = 1.0
"""A process that lived shorter is started again only after PAUSE_SECONDS."""
PAUSE_SECONDS = 0.5

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP}

Listeners = Sequence[Bound]


def bind_all(addresses: Sequence[str], workers: int) -> list[Listeners]:
    """Listening sockets on all of `addresses`, for each worker. Raises UsageError."""
    if not SUPPORTED:
        raise UsageError("workers: more than one needs Linux; leave out --workers")
    _close([bind(addresses)])  # by somebody else's sockets nothing can be shared: find out
    first = bind(addresses, shared=True)
    sets: list[Listeners] = [first]
    try:
        sets += [bind_again(first) for _ in range(workers - 1)]
    except BaseException:
        _close(sets)
        raise
    return sets


@dataclass(frozen=True, slots=True)
class Place:
    """What a process and its successors have in common.

    `work` is given the number of the process (1, 2, ..., each once) and a descriptor that is at its end when the
    supervisor is gone; it calls `let_in` once it has handlers for the signals. `listeners` are closed in all other
    processes. `died` is called in the supervisor before a successor starts. `overdue` says that it is alive and does
    nothing any more. What is `last` ends after the others, without draining.
    """

    name: str
    work: Callable[[int, int], None]
    listeners: Listeners = ()
    died: Callable[[], object] = lambda: None
    overdue: Callable[[float], bool] = lambda since: False
    last: bool = False


def hold_back() -> None:
    """Let signals wait: their defaults would end this process, a reload's, too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def let_in() -> None:
    """Handlers are there: signals may come, those that have waited at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@dataclass(slots=True)
class _Child:
    place: Place
    started: float


def supervise(
    places: Sequence[Place],
    *,
    ready: Callable[[], object] = lambda: None,
    reload: Callable[[], bool] = lambda: False,
    stopping: Callable[[], object] = lambda: None,
    drain_seconds: Callable[[], float] = lambda: 0.0,
    tick: Callable[[], float | None] = lambda: None,
) -> None:
    """Run a process for each of `places` until SIGTERM or SIGINT; then end them all.

    `ready` is called when these signals do so, `reload` at SIGHUP (True: tell the processes, by the same signal),
    `stopping` before they are asked to end, for which they have `drain_seconds()`. `tick` is called now and then, and
    says in how many seconds it wants to be called again.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    alive, keep = os.pipe()
    supervisor = _Supervisor(places, alive, keep)
    try:
        ready()
        orderly = supervisor.run(reload, tick)
        stopping()
        supervisor.stop(drain_seconds() if orderly else 0.0)
    finally:
        supervisor.kill()
        os.close(alive)
        os.close(keep)
        _close([place.listeners for place in places])
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Supervisor:
    def __init__(self, places: Sequence[Place], alive: int, keep: int) -> None:
        self._places = places
        self._alive = alive
        self._keep = keep
        self._children: dict[int, _Child] = {}
        self._waiting: list[_Child] = []  # for their successors
        self._number = 0

    def run(self, reload: Callable[[], bool], tick: Callable[[], float | None]) -> bool:
        """True: end in order; False: at once."""
        for place in self._places:
            self._start(place)
        while True:
            seconds = PAUSE_SECONDS / 5 if self._waiting else 3600.0
            again = tick()
            caught = signal.sigtimedwait(_SIGNALS, seconds if again is None else min(seconds, again))
            number = None if caught is None else caught.si_signo
            if number in (signal.SIGTERM, signal.SIGINT):
                return number == signal.SIGTERM
            if number == signal.SIGHUP and reload():
                self._send(signal.SIGHUP)
            self._reap()
            now = time.monotonic()
            for child in list(self._waiting):
                if now - child.started >= PAUSE_SECONDS:
                    self._waiting.remove(child)
                    self._start(child.place)
            for pid, child in self._children.items():
                if child.place.overdue(child.started):
                    log.warning("worker_overdue", pid=pid, place=child.place.name)
                    os.kill(pid, signal.SIGKILL)

    def stop(self, drain_seconds: float) -> None:
        """Ask all to end: the workers within `drain_seconds`, or at once; then those that are to be the last."""
        # Here, too, nobody listens any more: a connection would wait for a worker that does not come.
        _close([place.listeners for place in self._places])
        workers = {pid for pid, child in self._children.items() if not child.place.last}
        if drain_seconds > 0:
            self._send(signal.SIGTERM, workers)
            self._wait(workers, drain_seconds + STOP_SECONDS, impatient=True)
        self._send(signal.SIGINT)
        self._wait(set(self._children), STOP_SECONDS)

    def _wait(self, pids: set[int], seconds: float, *, impatient: bool = False) -> None:
        """Until all of `pids` have ended; `impatient`: or another signal comes."""
        deadline = time.monotonic() + seconds
        while pids & set(self._children) and (left := deadline - time.monotonic()) > 0:
            caught = signal.sigtimedwait(_SIGNALS, min(left, 0.1))
            if impatient and caught is not None and caught.si_signo in (signal.SIGTERM, signal.SIGINT):
                return
            self._collect()

    def kill(self) -> None:
        """End whoever is left."""
        self._send(signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)
        self._children.clear()

    def _send(self, number: signal.Signals, pids: Collection[int] | None = None) -> None:
        for pid in self._children if pids is None else pids & self._children.keys():
            os.kill(pid, number)  # not reaped yet: it is still ours

    def _reap(self) -> None:
        """Start successors of those that died."""
        for pid, status, child in self._collect():
            child.place.died()
            settled = time.monotonic() - child.started >= SETTLED_SECONDS
            if settled:
                self._start(child.place)
            else:
                self._waiting.append(child)
            log.warning(
                f"{child.place.name}_died", pid=pid, status=os.waitstatus_to_exitcode(status), again_at_once=settled
            )

    def _collect(self) -> list[tuple[int, int, _Child]]:
        found = []
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if (child := self._children.pop(pid, None)) is not None:
                found.append((pid, status, child))
        return found

    def _start(self, place: Place) -> None:
        self._number += 1
        pid = os.fork()
        if not pid:
            self._be_child(place)
        self._children[pid] = _Child(place, time.monotonic())

    def _be_child(self, place: Place) -> NoReturn:
        status = 1
        try:
            os.close(self._keep)
            _close([other.listeners for other in self._places if other.listeners is not place.listeners])
            place.work(self._number, self._alive)
            status = 0
        except BaseException:
            log.exception(f"{place.name}_failed")
        finally:
            sys.stderr.flush()
            os._exit(status)  # the supervisor's own exit is not this process's business


def _close(sets: Sequence[Listeners]) -> None:
    for listeners in sets:
        for one in listeners:
            one.sock.close()
