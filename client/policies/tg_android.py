"""The policy `tg-android`: how Telegram for Android keeps its connection. Sans-IO.

    connecting (12 s, then 8 s) ──stands──> waiting for data ──data──> connected ──nothing for 4 s though asked──┐
        ^                                                                 └──reset, eof──────────────────────────┤
        └── after 50 to 400 ms, or 1 s: the same address again, then its next port, then the next address ───────┘

One connection at a time, one address after the other, among the routes without a proxy. With a proxy enabled by the
user, all goes through that, and `client.policies.proxy_rotation` changes it. docs/policies.md compares constant by
constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from client.policies import (
    Answered,
    Command,
    DialFailed,
    Ended,
    Established,
    Heard,
    NetworkChanged,
    Observation,
    Ponged,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
)
from client.policies.orders import Orders, reason_of
from client.policies.proxy_rotation import ProxyRotation
from client.policies.scope import scope
from client.policies.tg_android_settings import TgAndroidSettings

QUICK_FAILURES = frozenset({"connection_reset", "host_unreachable"})
"""Ends with a short pause after them (Connection.cpp, `onDisconnected`: errors 0x68 and 0x71)."""


@dataclass(slots=True)
class Link:
    """The connection. `event_at`: when anything came last; `timeout_seconds` after that it is given up. `data_at`: when
    the first data came; `messages`, `pings`: when those without an answer were sent."""

    number: int
    route: str
    event_at: float
    timeout_seconds: float
    standing: bool = False
    data_at: float | None = None
    remembered: bool = False
    messages: dict[int, float] = field(default_factory=dict)
    pings: dict[int, float] = field(default_factory=dict)


class TgAndroid:
    """See the module; implements `client.policies.Policy`. `random` is not needed: nothing is random there."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: TgAndroidSettings, random: Random, recollection: Recollection
    ) -> None:
        self._settings = settings
        self._orders = Orders("")
        self._rotation = ProxyRotation(settings, self._orders)
        self._addresses = self._addresses_in(routes)
        last_good = next((route for route in recollection.rtt_seconds if route in self._addresses), self._addresses[0])
        self._address = self._addresses.index(last_good)
        self._port = 0
        self._orders.path = last_good
        self._link: Link | None = None
        self._connect_at: float | None = None
        self._failed = 0  # connections since data came, or the port was changed
        self._retries = settings.retries
        self._trying_next = False
        self._idle_seconds = settings.idle_seconds
        self._backoff_seconds = settings.backoff_seconds
        self._pinged_at = 0.0

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._pinged_at = now
        self._rotation.connecting(now)
        self._connect(now)
        return self._orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        if isinstance(observation, NetworkChanged):
            pass  # The last good address is kept for all networks; the connection shows by itself if it is dead.
        elif isinstance(observation, RoutesChanged):
            self._routes_changed(observation.routes)
        elif self._rotation.owns(observation.connection):
            self._go_to(self._rotation.observe(observation, now), now)
        else:
            assert self._link is not None, "there are the connection and checks, no more"
            self._observe_link(self._link, observation, now)
        return self._orders.take()

    def deadline(self) -> float | None:
        times = [self._rotation.deadline(), self._connect_at]
        if self._link is not None:
            times.append(self._link.event_at + self._link.timeout_seconds)
            if self._link.standing:
                times.append(self._pinged_at + self._settings.ping_seconds)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> list[Command]:
        self._go_to(self._rotation.tick(now), now)
        if self._connect_at is not None and self._connect_at <= now:
            self._connect(now)
        if (link := self._link) is not None and link.event_at + link.timeout_seconds <= now:
            self._check_timeout(link, now)
        if (link := self._link) is not None and link.standing:
            self._ping_if_due(link, now)
        return self._orders.take()

    # -- one connection

    def _connect(self, now: float) -> None:
        self._connect_at = None
        route = self._addresses[self._address]
        timeout_seconds = self._settings.reconnect_seconds if self._trying_next else self._settings.connect_seconds
        self._link = Link(self._orders.dial(route), route, now, timeout_seconds)

    def _observe_link(
        self,
        link: Link,
        observation: StageReached | Established | Sent | Answered | Ponged | Heard | DialFailed | Ended,
        now: float,
    ) -> None:
        match observation:
            case StageReached():
                link.event_at = now
            case Established():
                link.event_at = now
                link.standing = True
                self._orders.use(link.number, link.route)
            case Sent(id=id_):
                link.messages.setdefault(id_, now)
            case Answered(id=id_):
                self._data(link, link.messages.pop(id_, None), now)
            case Ponged(number=number):
                self._data(link, link.pings.pop(number, None), now)
            case Heard():
                self._data(link, None, now)
            case DialFailed(failure=failure):
                self._orders.bad("dial_failed")
                self._closed(link, now, failure)
            case _:
                self._orders.bad(reason_of(observation.failure))
                self._closed(link, now, observation.failure)

    def _data(self, link: Link, sent_at: float | None, now: float) -> None:
        link.event_at = now
        self._failed = 0
        if link.data_at is None:
            link.data_at = now
            link.timeout_seconds = self._idle_seconds
            self._trying_next = False
            self._backoff_seconds = self._settings.backoff_seconds
            self._rotation.connected()
        if sent_at is not None and not link.remembered:
            link.remembered = True
            self._orders.remember(link.route, now - sent_at)

    def _check_timeout(self, link: Link, now: float) -> None:
        """ConnectionSocket::checkTimeout: silence counts when something is waited for."""
        if link.standing and not link.messages and not link.pings:
            link.event_at = now
            return
        self._orders.bad("ack_overdue" if link.standing else "dial_failed")
        self._orders.abort(link.number)
        self._closed(link, now, None)

    def _ping_if_due(self, link: Link, now: float) -> None:
        if self._pinged_at + self._settings.ping_seconds <= now:
            self._pinged_at = now
            link.pings[self._orders.ping(link.number)] = now

    def _closed(self, link: Link, now: float, failure: str | None) -> None:
        """Connection::onDisconnected; `failure` is None after a timeout."""
        settings = self._settings
        timed_out = failure is None and link.standing
        if timed_out and self._idle_seconds < settings.most_idle_seconds:
            self._idle_seconds += settings.idle_step_seconds
        self._failed += 1
        if self._failed == 1:
            useful = link.data_at is not None and now - link.data_at >= settings.useful_seconds
            self._retries = settings.retries_after_data if useful else settings.retries
        self._trying_next = True
        if self._failed > self._retries or (timed_out and link.data_at is None):
            self._next_address_or_port()
            self._failed = 0
        pause_seconds = settings.pause_seconds
        if failure in QUICK_FAILURES:
            pause_seconds = self._backoff_seconds
            self._backoff_seconds = min(2 * self._backoff_seconds, settings.most_backoff_seconds)
        self._link = None
        self._connect_at = now + pause_seconds
        if link.data_at is not None:
            self._rotation.connecting(now)

    # -- addresses and proxies

    def _next_address_or_port(self) -> None:
        self._port += 1
        if self._port == self._settings.ports:
            self._port = 0
            self._address = (self._address + 1) % len(self._addresses)

    def _addresses_in(self, routes: Sequence[RouteFacts]) -> tuple[str, ...]:
        """The routes that stand for the data centre's addresses; with a proxy, that one."""
        by_proxy = self._settings.proxies == "rotation"
        used = scope(routes, by_proxy=by_proxy)
        names = tuple(route.name for route in used)
        if not used[0].proxied:
            return names
        self._rotation.set_proxies(names if by_proxy else names[:1])
        return (self._rotation.current,)

    def _routes_changed(self, routes: tuple[RouteFacts, ...]) -> None:
        current = self._addresses[self._address]
        self._addresses = self._addresses_in(routes)
        self._address = self._addresses.index(current) if current in self._addresses else 0

    def _go_to(self, proxy: str | None, now: float) -> None:
        """The user's proxy is this one from now on (ConnectionsManager::setProxySettings)."""
        if proxy is None:
            return
        self._addresses, self._address, self._port = (proxy,), 0, 0
        if self._link is not None:
            self._orders.bad("ack_overdue" if self._link.standing else "dial_failed")
            self._orders.abort(self._link.number)
        self._connect(now)
