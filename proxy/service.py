"""A proxy as a service: its process or processes, their signals, and what systemd wants to know.

Without workers and admin endpoint it is one process; else a supervisor with workers (`proxy.workers`) and the admin
process. Signals, either way: SIGHUP reloads, SIGTERM drains (the second one does not wait), SIGINT ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from mmap import mmap
from typing import Any

import msgspec

from proxy import log
from proxy.access import AccessLog
from proxy.admin_socket import listening
from proxy.control import Workers, channel, serve_control
from proxy.listeners import Bound, bind
from proxy.metrics import Shared
from proxy.relay import fast
from proxy.relay.poller import FlowLoop
from proxy.server import Server, check, reloadable, serve_on
from proxy.settings import ProxySettings
from proxy.systemd import Notifier, adopt, inherited
from proxy.workers import STOP_SECONDS, Place, bind_all, hold_back, let_in, supervise
from sidedoor.events import Emit
from sidedoor.settings import SettingsError, UsageError

FLOWS_PER_WORKER = 10**9
"""The numbers of a worker's flows: those of the third one begin at 3,000,000,001."""


class Service:
    """Runs a proxy until a signal ends it.

    `reread` gives the settings anew, for SIGHUP, or raises UsageError; `announce` is told the addresses once they are
    listened on. `run` raises UsageError, with nothing bound, for what cannot be served.
    """

    def __init__(
        self,
        settings: ProxySettings,
        emit: Emit,
        *,
        reread: Callable[[], ProxySettings],
        announce: Callable[[list[str]], object],
        file: str | None = None,
    ) -> None:
        """`file` is where `reread` reads, for the log."""
        self._settings = settings
        self._emit = emit
        self._reread = reread
        self._announce = announce
        self._file = file
        self._notifier = Notifier()
        self._activated: Sequence[socket.socket] = ()

    def run(self) -> None:
        """See the class."""
        self._activated = inherited()
        self._settings = settings = self._adopted(self._settings)
        check(settings)
        alone = settings.workers == 1 and settings.admin is None
        sets = self._bind(alone=alone)
        try:
            with contextlib.ExitStack() as stack:
                admin: Sequence[Bound] = ()
                if settings.admin is not None:
                    listen = settings.admin.listen
                    admin = [Bound(listen, sock) for sock in stack.enter_context(listening(listen))]
                shared = Shared(settings.workers, settings.state)
                stack.callback(shared.close)
                self._reserve(settings, shared)
                if alone:
                    hold_back()
                    _run(self._serve_alone(sets[0], shared))
                else:
                    self._supervise(sets, admin, shared)
        finally:
            self._notifier.stopping()
            for one in chain.from_iterable(sets):
                one.sock.close()

    def _adopted(self, settings: ProxySettings) -> ProxySettings:
        """`settings` for the sockets that systemd listens on, where it does."""
        return adopt(self._activated, settings) if self._activated else settings

    def _bind(self, *, alone: bool) -> list[Sequence[Bound]]:
        """Listening sockets for each worker."""
        settings = self._settings
        addresses = [one.address for one in settings.listeners]
        if self._activated:
            bound = [Bound(address, sock) for address, sock in zip(addresses, self._activated, strict=True)]
            return [bound] * settings.workers
        return [bind(addresses)] if alone else bind_all(addresses, settings.workers)

    @staticmethod
    def _reserve(settings: ProxySettings, shared: Shared) -> None:
        """Give every user a place in the ledger, and see whether the access log can be written."""
        for name in settings.accounts:
            shared.ledger.slot_of(name)
        if settings.access_log:
            AccessLog(settings.access_log).close()

    def _reload(self, shared: Shared, use: Callable[[ProxySettings], object]) -> bool:
        """Read the settings anew, and `use` what can be had of them without a restart. False, and a line in the log:
        they are wrong, and those that held go on to."""
        self._notifier.reloading()
        try:
            settings = reloadable(self._settings, self._adopted(self._reread()))
            self._reserve(settings, shared)
            use(settings)
            self._settings = settings
            return True
        except UsageError as error:
            log.warning("reload_failed", file=self._file, error=str(error))
        except Exception:
            log.exception("reload_failed", file=self._file)
        finally:
            self._notifier.ready()
        return False

    def _listening(self, bound: Sequence[Bound]) -> None:
        addresses = [one.name for one in bound]
        self._emit("proxy_listening", addresses=addresses)
        self._announce(addresses)
        self._notifier.ready()

    def _stopping(self) -> None:
        self._notifier.stopping(self._settings.drain_seconds + 2 * STOP_SECONDS)

    # One process.

    async def _serve_alone(self, bound: Sequence[Bound], shared: Shared) -> None:
        def started(server: Server) -> None:
            steer(server, lambda: self._reload(shared, server.apply), self._stopping)
            keep_alive(self._notifier.watchdog_seconds(), self._notifier.alive)
            self._listening(bound)

        await until_interrupted(serve_on(bound, self._settings, self._emit, shared, started=started))

    # A supervisor, workers and the admin process.

    def _supervise(self, sets: Sequence[Sequence[Bound]], admin: Sequence[Bound], shared: Shared) -> None:
        handed = HandedOn(self._settings)
        beats = Beats(len(sets), self._notifier.watchdog_seconds())
        channels = [channel() for _ in sets]
        places = []
        for index, listeners in enumerate(sets):
            worker = _Worker(index, listeners, shared, handed, beats, channels[index][1], self._emit)
            places.append(Place("worker", worker.work, listeners, died=worker.died, overdue=worker.overdue))
        if admin:
            process = _AdminProcess(admin, handed, shared, [near for near, _ in channels], os.getpid())
            places.append(Place("admin", process.work, admin, last=True))

        def stopping() -> None:
            shared.draining = True
            self._stopping()

        def tick() -> float | None:
            if beats.seconds is not None:
                self._notifier.alive()
            return beats.seconds

        supervise(
            places,
            ready=lambda: self._listening(sets[0]),
            reload=lambda: self._reload(shared, handed.put),
            stopping=stopping,
            drain_seconds=lambda: self._settings.drain_seconds,
            tick=tick,
        )


class _Worker:
    """The worker at one place: what it runs with, before it is forked and after."""

    def __init__(
        self,
        place: int,
        bound: Sequence[Bound],
        shared: Shared,
        handed: HandedOn,
        beats: Beats,
        control: socket.socket,
        emit: Emit,
    ) -> None:
        self._place = place
        self._bound = bound
        self._shared = shared
        self._handed = handed
        self._beats = beats
        self._control = control
        self._emit = emit
        self._close_control: Callable[[], None] = _nothing

    def died(self) -> None:
        """In the supervisor: a successor will be there."""
        self._shared.forget_place(self._place)
        self._shared.supervisor.restarted()
        self._beats.beat(self._place)

    def overdue(self, since: float) -> bool:
        """In the supervisor: whether it has not been heard of for too long."""
        return self._beats.overdue(self._place, since)

    def work(self, number: int, alive: int) -> None:
        """In the worker."""

        async def serve() -> None:
            def started(server: Server) -> None:
                def reload() -> None:
                    try:
                        server.apply(self._handed.get())
                    except UsageError as error:  # a file of theirs has gone since the supervisor looked
                        log.warning("reload_failed", place=self._place, error=str(error))

                steer(server, reload, alive=alive)
                keep_alive(self._beats.seconds, lambda: self._beats.beat(self._place))
                self._close_control = serve_control(self._control, server.handle)

            first_flow = number * FLOWS_PER_WORKER + 1
            await until_interrupted(
                serve_on(
                    self._bound,
                    self._handed.get(),
                    self._emit,
                    self._shared,
                    self._place,
                    started=started,
                    first_flow=first_flow,
                )
            )

        _run(serve())
        self._close_control()


class _AdminProcess:
    def __init__(
        self,
        bound: Sequence[Bound],
        handed: HandedOn,
        shared: Shared,
        channels: Sequence[socket.socket],
        supervisor: int,
    ) -> None:
        self._bound = bound
        self._handed = handed
        self._shared = shared
        self._channels = channels
        self._supervisor = supervisor

    def work(self, number: int, alive: int) -> None:
        """In the admin process."""
        from proxy.admin import app, serve_admin  # aiohttp: the workers can do without

        application = app(
            Workers(self._channels).ask,
            self._shared,
            self._handed.get,
            lambda: os.kill(self._supervisor, signal.SIGTERM),
        )

        async def serve() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            loop.add_reader(alive, task.cancel)
            loop.add_signal_handler(signal.SIGHUP, _nothing)
            loop.add_signal_handler(signal.SIGTERM, _nothing)
            let_in()
            await serve_admin(application, [one.sock for one in self._bound])

        asyncio.run(until_interrupted(serve()))


class HandedOn:
    """The settings that hold now, in memory that the supervisor writes and the processes read.

    There is room for them twice, and a number that each `put` makes one higher: where they are is the last bit of it.
    So nobody waits for a writer, who may be killed, or reads what is half written.
    """

    MOST_BYTES = 1 << 24

    def __init__(self, settings: ProxySettings) -> None:
        # Pages that are not written to are not there.
        self._rooms = [mmap(-1, self.MOST_BYTES) for _ in range(2)]
        self._number = memoryview(mmap(-1, 8)).cast("Q")
        self.put(settings)

    def put(self, settings: ProxySettings) -> None:
        """Let these hold. Raises SettingsError for more than MOST_BYTES."""
        data = msgspec.json.encode(settings)
        if len(data) + 8 > self.MOST_BYTES:
            raise SettingsError(f"the settings take {len(data)} bytes; there is room for {self.MOST_BYTES}")
        number = self._number[0] + 1
        self._rooms[number % 2][: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        self._number[0] = number

    def get(self) -> ProxySettings:
        """Those that hold."""
        while True:
            number = self._number[0]
            room = self._rooms[number % 2]
            data = room[8 : 8 + int.from_bytes(room[:8], "little")]
            if self._number[0] == number:  # else the next but one may be there by now
                return msgspec.json.decode(data, type=ProxySettings)


class Beats:
    """When each worker was last heard of, in memory that they write and the supervisor reads. For systemd's watchdog:
    without one nobody looks."""

    def __init__(self, places: int, watchdog_seconds: float | None) -> None:
        self._moments = memoryview(mmap(-1, 8 * places)).cast("d")
        self.seconds = watchdog_seconds
        """How often to beat; None: not at all."""

    def beat(self, place: int) -> None:
        """The worker at `place` lives."""
        self._moments[place] = time.monotonic()

    def overdue(self, place: int, since: float) -> bool:
        """Whether nothing was heard of it for two beats too many, `since` it began or since its last one."""
        if self.seconds is None:
            return False
        return time.monotonic() - max(self._moments[place], since) > 4 * self.seconds


def steer(
    server: Server,
    reload: Callable[[], object],
    draining: Callable[[], object] = lambda: None,
    *,
    alive: int | None = None,
) -> None:
    """Let signals reload and drain `server`, whose task is the current one's. `alive` is at its end when nobody wants
    it any more."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    terms = 0

    def terminate() -> None:
        nonlocal terms
        terms += 1
        if terms == 1 and server.settings.drain_seconds > 0:
            loop.add_signal_handler(signal.SIGHUP, _nothing)  # nobody comes for whom new settings would be
            draining()
            server.drain()
        else:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGHUP, reload)
    let_in()
    if alive is not None:
        loop.add_reader(alive, task.cancel)


def keep_alive(seconds: float | None, beat: Callable[[], object]) -> None:
    """Call `beat` every so many seconds, for as long as the loop runs; None: never."""
    if seconds is None:
        return
    beat()
    asyncio.get_running_loop().call_later(seconds, keep_alive, seconds, beat)


async def until_interrupted(served: Coroutine[Any, Any, None]) -> None:
    """Run `served` until it ends, or SIGINT or (before it has a better use for that) SIGTERM comes."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await served
    except asyncio.CancelledError:
        task.uncancel()


def _run(serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=FlowLoop if fast.SUPPORTED else None) as runner:
        runner.run(serving)


def _nothing() -> None:
    """The supervisor sees to it."""
