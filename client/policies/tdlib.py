"""The policy `tdlib`: how Telegram's TDLib finds and keeps a connection. Sans-IO.

    (nothing in doubt) opened at once, used as soon as it stands ──┐
                                                                   v
    (after an error) up to 3 checks race ──two pongs──> ready ──> session ──no pong for 2.5 r, reset, eof──> (again)

The session is the one connection that messages go by; while it is there nothing else is opened. A direct one is the
session from the beginning of its dial, as TDLib hands out sockets that are still connecting. It stays among the
routes without a proxy, or with the proxy that the user has set. docs/policies.md compares constant by constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from client.policies import (
    Command,
    DialFailed,
    Ended,
    Established,
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
from client.policies.scope import scope
from client.policies.tdlib_options import Backoff, FloodControl, Options
from client.policies.tdlib_settings import TdlibSettings

Role = Literal["opening", "check", "ready", "session"]


@dataclass(slots=True)
class Link:
    """One connection. `opening`: through a proxy that has not answered yet, not checked. `began_at`: since when its
    role's time runs; `handshaking`: the proxy's part of the dial is not done; `rtt_seconds`: of the last ping of its
    check, 0 without one."""

    number: int
    route: str
    role: Role
    began_at: float
    handshaking: bool
    standing: bool = False
    pongs: int = 0
    rtt_seconds: float = 0.0
    pinged_at: float = 0.0
    read_at: float = 0.0
    ponged_at: float = 0.0


class Tdlib:
    """See the module; implements `client.policies.Policy`. Neither `random` nor `recollection` is needed: it keeps no
    memory of networks, and its jitter concerns offline users only."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: TdlibSettings, random: Random, recollection: Recollection
    ) -> None:
        self._settings = settings
        self._options = Options(settings.recent_error_seconds)
        self._proxied = False
        self._take_routes(routes)
        self._orders = Orders(self._options.best(0.0)[0])
        self._flood = FloodControl(settings.online_limits if settings.online else settings.offline_limits)
        self._backoff = Backoff(settings.backoff_seconds, settings.most_backoff_seconds)
        self._links: dict[int, Link] = {}
        self._session: Link | None = None
        self._wake_at: float | None = None  # when a connection may be opened that is wanted now

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._find_session(now)
        return self._orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case NetworkChanged():
                self._network_changed(now)
            case RoutesChanged(routes=routes):
                self._take_routes(routes)
            case Established(connection=number):
                self._established(self._links[number], now)
            case StageReached(connection=number, stage=stage):
                if stage == "tls":
                    self._proxy_passed(self._links[number], now)
            case DialFailed(connection=number):
                self._lost(self._links[number], "dial_failed", now)
            case Ended(connection=number, failure=failure):
                self._lost(self._links[number], reason_of(failure), now)
            case Sent(connection=number):
                self._sent(self._links[number], now)
            case Ponged(connection=number):
                self._ponged(self._links[number], now)
            case _:
                self._links[observation.connection].read_at = now
        return self._orders.take()

    def deadline(self) -> float | None:
        times = [self._due_at(link) for link in self._links.values()]
        return min([*times, *([] if self._wake_at is None else [self._wake_at])], default=None)

    def tick(self, now: float) -> list[Command]:
        for number in list(self._links):
            if (link := self._links.get(number)) is not None and self._due_at(link) <= now:
                self._due(link, now)
        if self._wake_at is not None and self._wake_at <= now:
            self._find_session(now)
        return self._orders.take()

    # -- to find a session: ConnectionCreator::client_loop

    def _find_session(self, now: float) -> None:
        self._wake_at = None
        if self._session is None and (ready := self._with_role("ready")):
            self._begin_session(ready[-1], now)
        checking = bool(self._with_role("check")) and not self._proxied
        while self._session is None and self._wants_more(checking):
            wake_at = max(self._flood.wake_at(), 0.0 if self._settings.online else self._backoff.wake_at)
            if wake_at > now:
                self._wake_at = wake_at
                return
            checking = self._open(checking, now)

    def _wants_more(self, checking: bool) -> bool:
        pending = len(self._with_role("check", "opening"))
        return pending < (self._settings.checks if checking else 1)

    def _open(self, checking: bool, now: float) -> bool:
        """Open a connection; whether it is one to be checked."""
        self._flood.opened(now)
        if not self._settings.online:
            self._backoff.opened(now)
        route, doubtful = self._options.best(now)
        link = Link(self._orders.dial(route), route, "opening", now, handshaking=self._proxied)
        self._links[link.number] = link
        if checking or doubtful:
            link.role = "check"
            self._options.checked(route, now)
            return True
        if not self._proxied:
            self._begin_session(link, now)
        return False

    def _begin_session(self, link: Link, now: float) -> None:
        link.role = "session"
        link.read_at = link.ponged_at = now
        self._session = link
        self._backoff.clear()
        if link.standing:
            self._use(link, now)

    def _use(self, link: Link, now: float) -> None:
        self._orders.use(link.number, link.route)
        self._ping(link, now)

    # -- connections come and go

    def _established(self, link: Link, now: float) -> None:
        self._proxy_passed(link, now)
        link.standing = True
        if link.role == "session":
            self._use(link, now)
        else:
            self._ping(link, now)

    def _proxy_passed(self, link: Link, now: float) -> None:
        """The proxy has made its connection, or there is none; from here on the time is that of the origin."""
        if not link.handshaking:
            return
        link.handshaking = False
        link.began_at = now
        if link.role == "opening":
            self._begin_session(link, now)

    def _lost(self, link: Link, reason: str, now: float, *, abort: bool = False) -> None:
        """A connection or dial has failed or ended, or is to be given up (`abort`)."""
        del self._links[link.number]
        self._options.failed(link.route, now)
        if link is self._session or (self._session is None and link.route == self._orders.path):
            self._orders.bad(reason)
        if link is self._session:
            self._session = None
        if abort:
            self._orders.abort(link.number)
        self._find_session(now)

    def _network_changed(self, now: float) -> None:
        """Session::on_network closes the session's connection, ConnectionCreator::on_network forgets its limits."""
        self._flood.clear()
        self._backoff.clear()
        if self._session is not None:
            self._orders.abort(self._session.number)
            del self._links[self._session.number]
            self._session = None
        self._find_session(now)

    def _take_routes(self, routes: Sequence[RouteFacts]) -> None:
        used = scope(routes, by_proxy=self._settings.proxies == "user")
        self._proxied = used[0].proxied
        self._options.set_routes([route.name for route in (used[:1] if self._proxied else used)])

    # -- signs of life

    def _ping(self, link: Link, now: float) -> None:
        self._orders.ping(link.number)
        link.pinged_at = now

    def _sent(self, link: Link, now: float) -> None:
        """A message takes a ping along when the last is some while ago."""
        settings = self._settings
        pause = settings.pause(settings.piggyback_factor, settings.offline_piggyback_seconds, link.rtt_seconds)
        if link.pinged_at + pause <= now:
            self._ping(link, now)

    def _ponged(self, link: Link, now: float) -> None:
        link.read_at = link.ponged_at = now
        if link.role == "check":
            link.pongs += 1
            if link.pongs < self._settings.check_pings:
                self._ping(link, now)
                return
            link.rtt_seconds = now - link.pinged_at
            link.role, link.began_at = "ready", now
        self._options.worked(link.route, now)
        self._backoff.clear()
        self._find_session(now)

    # -- time

    def _due_at(self, link: Link) -> float:
        """When to look at this connection: it is too slow, dead, not needed any more, or to be pinged."""
        settings = self._settings
        if link.role == "session":
            dead_at = self._dead_at(link)
            if not link.standing:
                return dead_at
            pause = settings.pause(settings.ping_factor, settings.offline_ping_seconds, link.rtt_seconds)
            return min(dead_at, link.pinged_at + pause)
        if link.role == "ready":
            return link.began_at + settings.ready_seconds
        return link.began_at + (settings.handshake_seconds if link.handshaking else settings.check_seconds)

    def _dead_at(self, link: Link) -> float:
        settings = self._settings
        pong_pause = settings.pause(settings.pong_factor, settings.offline_timeout_seconds, link.rtt_seconds)
        read_pause = settings.pause(settings.read_factor, settings.offline_timeout_seconds, link.rtt_seconds)
        return min(link.ponged_at + pong_pause, link.read_at + read_pause)

    def _due(self, link: Link, now: float) -> None:
        if link.role == "ready":
            self._orders.close(link.number)
            del self._links[link.number]
        elif link.role == "session" and self._dead_at(link) > now:
            self._ping(link, now)
        else:
            self._lost(link, "ack_overdue" if link.standing else "dial_failed", now, abort=True)

    def _with_role(self, *roles: Role) -> list[Link]:
        return [link for link in self._links.values() if link.role in roles]
