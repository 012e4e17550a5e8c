"""The policy `outline`: Outline SDK's Smart Dialer. Search once, in stages, then stay with the winner. Sans-IO.

    cached proxy alone ──fails──> proxyless routes race ──all fail──> proxies race ──all fail──> a pause, and again
           └───────────────────────────────┴── one stands ──────────────────┴──> the winner, for good

In the SDK a strategy is tested and the program then dials anew with the winner; here the connection that has won the
test is used itself, which saves the round trips of a dial. What the SDK leaves to the program, to dial again when a
connection has ended, is done at once, then with a pause. docs/policies.md compares constant by constant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from client.policies import (
    Answered,
    Command,
    DialFailed,
    Ended,
    Established,
    Observation,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
)
from client.policies.orders import Orders, reason_of
from client.policies.ranges import Interval, Seconds


class OutlineSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="outline", kw_only=True
):
    """Constants of Outline SDK's Smart Dialer (repository Jigsaw-Code/outline-sdk), times in seconds.

    - `stagger_seconds`: the next strategy is tested beside the one before after this (x/smart/stream_dialer.go,
      `raceTests(ctx, 250*time.Millisecond, ...)`), at once when it has failed (x/smart/racer.go).
    - `test_seconds`: the longest duration of one test (`StrategyFinder.TestTimeout`; x/smart/README.md and the
      programs that use it set 5 s).
    - `redial_seconds`: pause between two dials of the winner, and between two searches. Not the SDK's, which leaves
      that to the program.
    - `search_again`: whether the program searches again when a dial of the winner has failed. The SDK never does by
      itself, and the programs seen make their dialer once, at their start.
    """

    stagger_seconds: Seconds = 0.25
    test_seconds: Seconds = 5.0
    redial_seconds: Interval = 1.0
    search_again: bool = False

    @property
    def stage_seconds(self) -> float:
        """So long no stage of a dial may be cut short by the driver."""
        return self.test_seconds


@dataclass(slots=True)
class Link:
    """One connection. `ends_at`: when its test ends; None: not a test, or passed."""

    number: int
    route: str
    ends_at: float | None


class Outline:
    """See the module; implements `client.policies.Policy`. `random` is not needed: nothing is random there."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: OutlineSettings, random: Random, recollection: Recollection
    ) -> None:
        self._settings = settings
        self._orders = Orders(routes[0].name)
        self._routes = tuple(routes)
        self._cached = next(iter(recollection.rtt_seconds), None)
        self._links: dict[int, Link] = {}
        self._winner: str | None = None
        self._stages: deque[deque[str]] = deque()  # of the search: the routes still to test, stage by stage
        self._next_at: float | None = None  # when to test the next route, dial the winner again, or search again
        self._first_sent: tuple[int, float] | None = None  # until the winner is known to carry

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._search(now)
        return self._orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case Established(connection=number):
                self._established(self._links[number])
            case DialFailed(connection=number):
                self._failed(self._links[number], now)
            case Ended(connection=number, failure=failure):
                self._ended(number, failure, now)
            case Sent(id=id_) if self._first_sent is None and self._winner != self._cached:
                self._first_sent = (id_, now)
            case Answered(id=id_):
                self._answered(id_, now)
            case RoutesChanged(routes=routes):
                self._routes_changed(routes)
            case _:
                pass  # Nothing but the end of a connection moves it.
        return self._orders.take()

    def deadline(self) -> float | None:
        times = [link.ends_at for link in self._links.values() if link.ends_at is not None]
        return min([*times, *([] if self._next_at is None else [self._next_at])], default=None)

    def tick(self, now: float) -> list[Command]:
        for link in list(self._links.values()):
            if link.ends_at is not None and link.ends_at <= now:
                self._orders.abort(link.number)
                self._failed(link, now)
        if self._next_at is not None and self._next_at <= now:
            self._proceed(now)
        return self._orders.take()

    # -- the search

    def _search(self, now: float) -> None:
        direct = [route.name for route in self._routes if not route.proxied]
        proxied = [route.name for route in self._routes if route.proxied]
        self._stages = deque()
        if self._cached in direct:  # A proxyless winner goes to the front of its stage,
            direct.sort(key=lambda name: name != self._cached)
        elif self._cached in proxied:  # another one is tested alone, first.
            self._stages.append(deque([self._cached]))
        self._stages.extend(deque(stage) for stage in (direct, proxied) if stage)
        self._test_next(now)

    def _test_next(self, now: float) -> None:
        """Test the next route of the stage; the next stage begins when all of this one have failed."""
        while self._stages and not self._stages[0] and not self._links:
            self._stages.popleft()
        if not self._stages:
            self._search_failed(now)
            return
        stage = self._stages[0]
        if stage:
            self._dial(stage.popleft(), now + self._settings.test_seconds)
        self._next_at = now + self._settings.stagger_seconds if stage else None

    def _search_failed(self, now: float) -> None:
        if self._cached is not None:
            self._orders.remember(self._cached, None)
            self._cached = None
        self._next_at = now + self._settings.redial_seconds

    def _proceed(self, now: float) -> None:
        """What `_next_at` was for."""
        self._next_at = None
        if self._winner not in [route.name for route in self._routes]:
            self._winner = None
        if self._winner is not None:
            self._dial(self._winner, None)
        elif self._stages:
            self._test_next(now)
        else:
            self._search(now)

    def _dial(self, route: str, ends_at: float | None) -> None:
        number = self._orders.dial(route)
        self._links[number] = Link(number, route, ends_at)

    # -- connections come and go

    def _established(self, link: Link) -> None:
        link.ends_at = self._next_at = None
        self._winner = link.route
        self._stages.clear()
        for other in [other for other in self._links.values() if other is not link]:
            del self._links[other.number]
            self._orders.abort(other.number)
        self._orders.use(link.number, link.route)

    def _failed(self, link: Link, now: float) -> None:
        """A test or a dial of the winner has failed."""
        del self._links[link.number]
        if link.route == self._orders.path:
            self._orders.bad("dial_failed")
        if self._winner is None:
            self._test_next(now)
        elif self._settings.search_again:
            self._winner = None
            self._search(now)
        else:
            self._next_at = now + self._settings.redial_seconds

    def _ended(self, number: int, failure: str, now: float) -> None:
        del self._links[number]
        self._first_sent = None
        self._orders.bad(reason_of(failure))
        self._next_at = now
        self._proceed(now)

    def _answered(self, id_: int, now: float) -> None:
        if self._first_sent is not None and self._first_sent[0] == id_ and self._winner is not None:
            self._orders.remember(self._winner, now - self._first_sent[1])
            self._cached, self._first_sent = self._winner, None

    def _routes_changed(self, routes: tuple[RouteFacts, ...]) -> None:
        """Connections go on; what is dialed from here on is in the new list."""
        self._routes = routes
        names = [route.name for route in routes]
        self._stages = deque(deque(name for name in stage if name in names) for stage in self._stages)
