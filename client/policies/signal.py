"""The policy `signal`, by the behaviour of libsignal's connections. Sans-IO.

All routes are known from the start and begun in their order, each a little later than the one before; a route that
failed lately is held back. The first that stands is used until it ends or falls silent; then all begins anew. While a
connection stands nothing is compared, and nothing is remembered over a restart.

    connecting ──the first route stands──> connected ──nothing heard for 45 s, reset, eof──> connecting, at once
       └──all routes have failed──> a pause that grows from the second time on ──> connecting

rust/net/infra/src/route.rs (`connect_inner`), route/schedule.rs (`ConnectionOutcomes`) and ws.rs of
signalapp/libsignal; the pause is IncomingMessageObserver's of signalapp/Signal-Android.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import msgspec

from client.policies import (
    Command,
    DialFailed,
    Ended,
    Established,
    NetworkChanged,
    Observation,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
)
from client.policies.connections import Connections, Link
from client.policies.orders import reason_of
from client.policies.ranges import Factor, Interval, Positive, Seconds, Share


class SignalSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="signal", kw_only=True
):
    """Constants of the policy; times in seconds. The names in brackets are those of signalapp/libsignal, under
    rust/net/; of its infra/src/timeouts.rs where no file is named.

    - `stagger_seconds`: between the addresses of one route, as Happy Eyeballs (`HAPPY_EYEBALLS_DELAY` in
      infra/src/route/schedule.rs); the dial does that.
    - `per_attempt_seconds`: the next route waits so long for each attempt that is under way
      (`PER_CONNECTION_WAIT_DURATION` in infra/src/route.rs).
    - `most_delay_seconds`, `age_seconds`, `most_failures`, `count_growth`, `cooldown_growth`: how long a route that
      failed is held back (`SUGGESTED_CONNECT_PARAMS` in src/connect_state.rs; the formula is
      `ConnectionOutcomeParams::compute_delay` in infra/src/route/schedule.rs).
    - `stage_seconds`: for TCP, and any other stage that has no limit of its own (`TCP_CONNECTION_TIMEOUT`).
    - `tls_seconds`, `tls_round_trips`: for TLS, or so many times what came before it took, if that is more
      (`MIN_TLS_HANDSHAKE_TIMEOUT`; infra/src/route/connect/variable_timeout.rs).
    - `all_seconds`: for all routes together (`ONE_ROUTE_CONNECTION_TIMEOUT`, the `connect_timeout` of
      `SUGGESTED_CONNECT_CONFIG` in src/connect_state.rs).
    - `ping_seconds`: a ping after so long without sending or without hearing anything (`WS_KEEP_ALIVE_INTERVAL`).
    - `idle_seconds`: the connection is dead when nothing was heard for so long (`WS_MAX_IDLE_INTERVAL`).
    - `backoff_seconds`, `most_backoff_seconds`, `backoff_jitter`: the n-th pause, n > 1, is `backoff_seconds` times
      2^n, more or less by this share (jobmanager/impl/BackoffUtil.java of signalapp/Signal-Android; the most is
      IncomingMessageObserver's).
    """

    stagger_seconds: Seconds = 0.3
    per_attempt_seconds: Seconds = 0.5
    most_delay_seconds: Seconds = 30.0
    age_seconds: Seconds = 300.0
    most_failures: Positive = 5
    count_growth: Factor = 10.0
    cooldown_growth: Factor = 10.0
    stage_seconds: Interval = 15.0
    tls_seconds: Seconds = 3.0
    tls_round_trips: Factor = 5.0
    all_seconds: Seconds = 60.0
    ping_seconds: Interval = 31.0
    idle_seconds: Seconds = 45.0
    backoff_seconds: Interval = 1.0
    most_backoff_seconds: Interval = 30.0
    backoff_jitter: Share = 0.25


class Outcomes:
    """Which routes failed lately, how often in a row, and how long each is held back for that."""

    def __init__(self, settings: SignalSettings) -> None:
        self._settings = settings
        self._failures: dict[str, tuple[float, int]] = {}  # route -> when the last began, how many in a row

    def failed(self, route: str, began: float, now: float) -> None:
        """The attempt that began then has failed."""
        when, count = self._failures.get(route, (began, 0))
        if now - when >= self._settings.age_seconds:
            count = 0
        self._failures[route] = (began, min(count + 1, self._settings.most_failures))

    def succeeded(self, route: str) -> None:
        """What was held against the route is forgotten."""
        self._failures.pop(route, None)

    def clear(self) -> None:
        """Forget all: the network is another one."""
        self._failures.clear()

    def delay(self, route: str, now: float) -> float:
        """Seconds; grows with the failures in a row and shrinks with their age."""
        if route not in self._failures:
            return 0.0
        settings = self._settings
        when, count = self._failures[route]
        by_count: float = (settings.count_growth ** (count / settings.most_failures) - 1) / (settings.count_growth - 1)
        age = min((now - when) / settings.age_seconds, 1.0)
        by_age: float = (settings.cooldown_growth - settings.cooldown_growth**age) / (settings.cooldown_growth - 1)
        return settings.most_delay_seconds * by_age * by_count


class Signal:
    """See the module; implements `client.policies.Policy`. `routes`: in order of preference."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: SignalSettings, random: Random, recollection: Recollection
    ) -> None:
        self._routes = [route.name for route in routes]
        self._settings = settings
        self._random = random
        self._held = Connections(self._routes[0])
        self._outcomes = Outcomes(settings)
        self._schedule: list[tuple[float, int, str]] = []  # not before, place in the order, route
        self._began_at = 0.0
        self._last_begun_at = 0.0
        self._failed_attempts = 0  # to connect by any route, in a row
        self._connect_at: float | None = None
        self._sent_at = 0.0
        self._pinged_at = 0.0

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._connect(now)
        return self._held.orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case RoutesChanged(routes=routes):
                self._routes = [route.name for route in routes]
                self._schedule = [entry for entry in self._schedule if entry[2] in self._routes]
                self._go_on(now)
            case NetworkChanged():
                self._outcomes.clear()
                self._failed_attempts = 0
                if not self._held.links:
                    self._connect(now)
            case _:
                link = self._held.note(observation, now)
                match observation:
                    case Established():
                        self._connected(link, now)
                    case DialFailed():
                        self._failed(link, now)
                    case Ended(failure=failure):
                        self._lost(reason_of(failure), now)
                    case Sent():
                        self._sent_at = now
        return self._held.orders.take()

    def deadline(self) -> float | None:
        carrier = self._held.carrier
        if carrier is not None:
            return min(self._ping_due(carrier), carrier.shown.heard_at + self._settings.idle_seconds)
        if self._connect_at is not None:
            return self._connect_at
        limits = [self._tls_due(link) for link in self._held.of("candidate")]
        return min([self._began_at + self._settings.all_seconds, self._next_due(), *limits])

    def tick(self, now: float) -> list[Command]:
        carrier = self._held.carrier
        if carrier is not None:
            self._watch(carrier, now)
        elif self._connect_at is not None:
            if self._connect_at <= now:
                self._connect(now)
        elif self._began_at + self._settings.all_seconds <= now:
            self._give_up(now)
        else:
            for link in self._held.of("candidate"):
                if self._tls_due(link) <= now:
                    self._held.abort([link])
                    self._failed(link, now)
            self._go_on(now)
        return self._held.orders.take()

    # -- connecting

    def _connect(self, now: float) -> None:
        self._connect_at = None
        self._began_at = self._last_begun_at = now
        delays = [(now + self._outcomes.delay(route, now), place, route) for place, route in enumerate(self._routes)]
        self._schedule = sorted(delays)
        self._go_on(now)

    def _next_due(self) -> float:
        """When the next route is begun: it is not held back any more, and those under way have had their time."""
        if not self._schedule:
            return math.inf
        waits = self._settings.per_attempt_seconds * len(self._held.of("candidate"))
        return max(self._schedule[0][0], self._last_begun_at + waits)

    def _go_on(self, now: float) -> None:
        if self._held.carrier is not None or self._connect_at is not None:
            return
        while self._next_due() <= now:
            self._last_begun_at = now
            self._held.dial(self._schedule.pop(0)[2], now)
        if not self._schedule and not self._held.of("candidate"):
            self._all_failed(now)

    def _tls_due(self, link: Link) -> float:
        if "tls" not in link.stages or "upgrade" in link.stages:
            return math.inf
        before = link.stages["tls"] - link.stages.get("tcp", link.dialed_at)
        return link.stages["tls"] + max(self._settings.tls_seconds, self._settings.tls_round_trips * before)

    def _failed(self, link: Link, now: float) -> None:
        self._outcomes.failed(link.route, link.dialed_at, now)
        if link.route == self._held.path:
            self._held.orders.bad("dial_failed")
        self._go_on(now)

    def _give_up(self, now: float) -> None:
        """All routes together took too long; that is held against none of them."""
        self._schedule.clear()
        candidates = self._held.of("candidate")
        if self._held.path in {link.route for link in candidates}:
            self._held.orders.bad("dial_failed")
        self._held.abort(candidates)
        self._all_failed(now)

    def _all_failed(self, now: float) -> None:
        """Once more at once, then after a pause that doubles."""
        self._failed_attempts += 1
        if self._failed_attempts == 1:
            self._connect_at = now
            return
        pause = min(self._settings.backoff_seconds * 2**self._failed_attempts, self._settings.most_backoff_seconds)
        self._connect_at = now + pause * (1 + self._settings.backoff_jitter * self._random.uniform(-1, 1))

    def _connected(self, link: Link, now: float) -> None:
        self._outcomes.succeeded(link.route)
        self._failed_attempts = 0
        self._schedule.clear()
        self._sent_at = self._pinged_at = now
        self._held.use(link)

    # -- connected

    def _ping_due(self, carrier: Link) -> float:
        last = min(self._sent_at, carrier.shown.heard_at)
        return max(last, self._pinged_at) + self._settings.ping_seconds

    def _watch(self, carrier: Link, now: float) -> None:
        if carrier.shown.heard_at + self._settings.idle_seconds <= now:
            self._held.orders.bad("ack_overdue")
            self._held.abort([carrier])
            self._lost("ack_overdue", now)
        elif self._ping_due(carrier) <= now:
            self._pinged_at = now
            self._held.orders.ping(carrier.number)

    def _lost(self, reason: str, now: float) -> None:
        """The connection is no more."""
        self._held.orders.bad(reason)
        self._connect(now)
