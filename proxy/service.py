"""A proxy as a service: its process or processes, their signals, and what systemd wants to know.

Without workers and admin endpoint it is one process; else a supervisor with workers (`proxy.workers`) and the admin
process. Signals, either way: SIGHUP reloads, SIGTERM drains (the second one does not wait), SIGINT ends at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from mmap import mmap
from typing import Any

import msgspec

from proxy import log
from proxy.access import AccessLog
from proxy.control import Workers, channel, serve_control
from proxy.listeners import Bound, bind
from proxy.metrics import Shared
from proxy.relay import fast
from proxy.relay.poller import FlowLoop
from proxy.server import Server, check, serve_on
from proxy.settings import ProxySettings
from proxy.systemd import Notifier, adopt, inherited
from proxy.workers import STOP_SECONDS, Place, bind_all, supervise
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
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._reread = reread
        self._announce = announce
        self._notifier = Notifier()

    def run(self) -> None:
        """See the class."""
        activated = inherited()
        if activated:
            self._settings = adopt(activated, self._settings)
        check(self._settings)
        settings = self._settings
        alone = settings.workers == 1 and settings.admin is None
        if not activated:
            addresses = [one.address for one in settings.listeners]
            sets = [bind(addresses)] if alone else bind_all(addresses, settings.workers)
        else:
            bound = [Bound(one.address, sock) for one, sock in zip(settings.listeners, activated, strict=True)]
            sets = [bound] * settings.workers
        shared = Shared(settings.workers, settings.state)
        try:
            self._reserve(settings, shared)
            if alone:
                _run(self._serve_alone(sets[0], shared))
            else:
                self._supervise(sets, shared)
        finally:
            self._notifier.stopping()
            for one in sets[0]:
                one.sock.close()

    @staticmethod
    def _reserve(settings: ProxySettings, shared: Shared) -> None:
        """Give every user a place in the ledger, and see whether the access log can be written."""
        for name in settings.accounts:
            shared.ledger.slot_of(name)
        if settings.access_log:
            AccessLog(settings.access_log).close()

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
            def reload() -> None:
                self._notifier.reloading()
                try:
                    self._settings = self._reread()
                    server.apply(self._settings)
                except UsageError as error:
                    log.warning("reload_failed", error=str(error))
                self._notifier.ready()

            steer(server, reload, self._stopping)
            keep_alive(self._notifier.watchdog_seconds(), self._notifier.alive)
            self._listening(bound)

        await until_interrupted(serve_on(bound, self._settings, self._emit, shared, started=started))

    # A supervisor, workers and the admin process.

    def _supervise(self, sets: Sequence[Sequence[Bound]], shared: Shared) -> None:
        handed = HandedOn(self._settings)
        beats = Beats(len(sets), self._notifier.watchdog_seconds())
        channels = [channel() for _ in sets]
        places = []
        for index, listeners in enumerate(sets):
            worker = _Worker(index, listeners, shared, handed, beats, channels[index][1], self._emit)
            places.append(
                Place(
                    "worker",
                    worker.work,
                    listeners,
                    died=worker.died,
                    overdue=worker.overdue,
                )
            )
        if self._settings.admin is not None:
            asking = [near for near, _ in channels]
            places.append(Place("admin", _AdminProcess(handed, shared, asking, os.getpid()).work, last=True))

        def reload() -> bool:
            self._notifier.reloading()
            try:
                settings = self._reread()
                check(settings)
                self._reserve(settings, shared)
                handed.put(settings)
                self._settings = settings
                return True
            except UsageError as error:
                log.warning("reload_failed", error=str(error))
                return False
            finally:
                self._notifier.ready()

        def stopping() -> None:
            shared.draining = True
            self._stopping()

        def tick() -> float | None:
            self._notifier.alive()
            return beats.seconds

        supervise(
            places,
            ready=lambda: self._listening(sets[0]),
            reload=reload,
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
                    except UsageError as error:
                        log.warning("reload_failed", error=str(error))

                steer(server, reload, alive=alive)
                keep_alive(self._beats.seconds, lambda: self._beats.beat(self._place))
                self._close_control = serve_control(self._control, server.handle)
                if server.settings != self._handed.get():  # changed between the fork and now
                    reload()

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
    def __init__(self, handed: HandedOn, shared: Shared, channels: Sequence[socket.socket], supervisor: int) -> None:
        self._handed = handed
        self._shared = shared
        self._channels = channels
        self._supervisor = supervisor

    def work(self, number: int, alive: int) -> None:
        """In the admin process."""
        from proxy.admin import app, serve_admin  # aiohttp: the workers can do without

        settings = self._handed.get()
        assert settings.admin is not None
        listen = settings.admin.listen
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
            await serve_admin(application, listen, lambda address: None)

        asyncio.run(until_interrupted(serve()))


class HandedOn:
    """The settings that hold now, in memory that the supervisor writes and the processes read."""

    MOST_BYTES = 1 << 24

    def __init__(self, settings: ProxySettings) -> None:
        self._memory = mmap(-1, self.MOST_BYTES)  # pages that are not written to are not there
        self.put(settings)

    def put(self, settings: ProxySettings) -> None:
        """Let these hold. Raises SettingsError for more than MOST_BYTES."""
        data = msgspec.json.encode(settings)
        if len(data) + 8 > self.MOST_BYTES:
            raise SettingsError(f"the settings take {len(data)} bytes; there is room for {self.MOST_BYTES}")
        self._memory[:8] = b"\0" * 8
        self._memory[8 : 8 + len(data)] = data
        self._memory[:8] = len(data).to_bytes(8, "little")

    def get(self) -> ProxySettings:
        """Those that hold."""
        while not (size := int.from_bytes(self._memory[:8], "little")):
            time.sleep(0.001)  # they are just being written
        return msgspec.json.decode(self._memory[8 : 8 + size], type=ProxySettings)


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
            draining()
            server.drain()
        else:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGHUP, reload)
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
