"""Several processes on one port, under a supervisor that starts one again when it dies. Linux.

Each worker has listening sockets of its own (SO_REUSEPORT: the kernel shares the connections out), which the supervisor
keeps open, too: connections that a dead worker had not accepted wait for its successor. Flows die with their worker, by
a reset. The supervisor has no loop and no threads, so that it can fork at any time; it waits for signals, which are
blocked meanwhile. A worker whose supervisor is gone ends: the pipe between them closes.
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
from proxy.listeners import bind, name_of
from sidedoor.settings import UsageError

SUPPORTED = hasattr(signal, "sigtimedwait") and hasattr(socket, "SO_REUSEPORT")

STOP_SECONDS = 5.0
"""How long workers may take to end when they are asked to; then they are killed."""
SETTLED_SECONDS = 1.0
"""A worker that lived shorter is started again only after PAUSE_SECONDS."""
PAUSE_SECONDS = 0.5

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}

Listeners = Sequence[socket.socket]
Work = Callable[[Listeners, int, int], None]
"""What a worker does, given its listening sockets, its number (1, 2, ..., each once) and a descriptor that is at its
end when the supervisor is gone."""


def bind_all(addresses: Sequence[str], workers: int) -> list[Listeners]:
    """Listening sockets on all of `addresses`, for each worker. Raises UsageError."""
    if not SUPPORTED:
        raise UsageError("workers: more than one needs Linux; leave out --workers")
    for sock in bind(addresses):  # by somebody else's sockets nothing can be shared: find out
        sock.close()
    first = bind(addresses, shared=True)
    sets: list[Listeners] = [first]
    try:
        names = [name_of(sock.getsockname()) for sock in first]
        sets += [bind(names, shared=True) for _ in range(workers - 1)]
    except BaseException:
        _close(sets)
        raise
    return sets


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker and its successors have in common: their listening sockets; and when the last one began."""

    listeners: Listeners
    started: float


def supervise(sets: Sequence[Listeners], work: Work, *, ready: Callable[[], object] = lambda: None) -> None:
    """Run `work` in a process for each of `sets` until SIGTERM or SIGINT; then end them all. `ready` is called when
    these signals do so."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    alive, keep = os.pipe()
    supervisor = _Supervisor(sets, work, mask, alive, keep)
    try:
        ready()
        supervisor.run()
    finally:
        supervisor.stop()
        os.close(alive)
        os.close(keep)
        _close(sets)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Supervisor:
    def __init__(self, sets: Sequence[Listeners], work: Work, mask: Collection[int], alive: int, keep: int) -> None:
        self._sets = sets
        self._work = work
        self._mask = set(mask)
        self._alive = alive
        self._keep = keep
        self._workers: dict[int, Place] = {}
        self._waiting: list[Place] = []  # for their next worker
        self._number = 0

    def run(self) -> None:
        for listeners in self._sets:
            self._start(listeners)
        while True:
            seconds = PAUSE_SECONDS / 5 if self._waiting else 3600.0
            caught = signal.sigtimedwait(_SIGNALS, seconds)
            if caught is not None and caught.si_signo != signal.SIGCHLD:
                return
            self._reap()
            now = time.monotonic()
            for place in list(self._waiting):
                if now - place.started >= PAUSE_SECONDS:
                    self._waiting.remove(place)
                    self._start(place.listeners)

    def stop(self) -> None:
        """End all workers, and wait for them."""
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self._workers and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, min(left, 0.1))
            self._collect()
        self._send(signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)  # not reaped yet: it is still ours

    def _reap(self) -> None:
        """Start successors of the workers that died."""
        for pid, status, place in self._collect():
            settled = time.monotonic() - place.started >= SETTLED_SECONDS
            if settled:
                self._start(place.listeners)
            else:
                self._waiting.append(place)
            log.warning("worker_died", pid=pid, status=os.waitstatus_to_exitcode(status), again_at_once=settled)

    def _collect(self) -> list[tuple[int, int, Place]]:
        found = []
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if (place := self._workers.pop(pid, None)) is not None:
                found.append((pid, status, place))
        return found

    def _start(self, listeners: Listeners) -> None:
        self._number += 1
        pid = os.fork()
        if not pid:
            self._be_worker(listeners)
        self._workers[pid] = Place(listeners, time.monotonic())

    def _be_worker(self, listeners: Listeners) -> NoReturn:
        status = 1
        try:
            os.close(self._keep)
            _close([other for other in self._sets if other is not listeners])
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._work(listeners, self._number, self._alive)
            status = 0
        except BaseException:
            log.exception("worker_failed")
        finally:
            sys.stderr.flush()
            os._exit(status)  # the supervisor's own exit is not this process's business


def _close(sets: Sequence[Listeners]) -> None:
    for listeners in sets:
        for sock in listeners:
            sock.close()
