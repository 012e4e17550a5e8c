"""The policy `lantern`, by the behaviour of Lantern's server selection (lantern-box). Sans-IO.

Lantern ranks its servers by probes and demotes those that fail the user's traffic (`client.policies.lantern_ranking`);
the ranking decides where the *next* connection goes, and moves none that stands. Here every route, the direct one too,
is a server, and the messenger is its user: it dials anew when its connection ends or stalls.

    choose a route ── dial ──stands──> connected ──reset, eof, stall──> a failure on its route's account; choose again
                        └──fails──> the best other one, at once ──fails──> choose again after a second
    beside it, in rounds: probes of all routes, at the start, each 180 s, and after a failure

protocol/group/mutableautoselect.go (`DialContext`, `runLadder`) and mutableautoselect_dataplane.go of
getlantern/lantern-box.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
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
)
from client.policies.connections import Connections, Link
from client.policies.lantern_ranking import LanternSettings, Ranking
from client.policies.orders import reason_of


class Lantern:
    """See the module; implements `client.policies.Policy`. `routes`: the servers, in the order to use unknown ones."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: LanternSettings, random: Random, recollection: Recollection
    ) -> None:
        names = [route.name for route in routes]
        self._settings = settings
        self._held = Connections(names[0])
        self._ranking = Ranking(names, settings)
        for route, rtt in recollection.rtt_seconds.items():
            self._ranking.probed(route, rtt)  # The order they had; the first probes put this right.
        self._sticky: str | None = None
        self._instead_of: str | None = None  # the route whose dial has failed, while the best other one is dialed
        self._dialed_at = 0.0
        self._dial_at: float | None = None
        self._to_probe: deque[str] = deque()
        self._probe_at = 0.0
        self._active_at = 0.0
        self._ladder = False  # a failure has started the round of probes that is under way, or met one
        self._laddered_at = -math.inf
        self._remembered: set[str] = set()

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._dial(now)
        self._probe_all(now)
        self._probe_at = now + self._settings.probe_seconds
        return self._held.orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case RoutesChanged(routes=routes):
                self._ranking.reset([route.name for route in routes])
                self._to_probe = deque(route for route in self._to_probe if route in self._ranking.histories)
            case NetworkChanged():
                self._remembered.clear()
                self._probe_all(now)
            case _:
                idle = self._lies_idle(observation.connection, now)
                link = self._held.note(observation, now)
                if link.purpose == "probe":
                    self._observe_probe(link, observation, now)
                else:
                    self._observe_traffic(link, observation, idle=idle, now=now)
        return self._held.orders.take()

    def deadline(self) -> float | None:
        times = [self._probe_at, *(link.dialed_at + self._settings.probe_timeout_seconds for link in self._probes)]
        if self._dial_at is not None:
            times.append(self._dial_at)
        if (carrier := self._held.carrier) is not None:
            times.append(self._stalled_at(carrier))
        return min(times)

    def tick(self, now: float) -> list[Command]:
        for probe in self._probes:
            if probe.dialed_at + self._settings.probe_timeout_seconds <= now:
                self._probe_over(probe, None, "generic_timeout_error", now)
        carrier = self._held.carrier
        if carrier is not None and self._stalled_at(carrier) <= now:
            self._held.orders.bad("ack_overdue")
            self._held.abort([carrier])
            self._traffic_failed(carrier, now)
        if self._dial_at is not None and self._dial_at <= now:
            self._dial(now)
        if self._probe_at <= now:
            idle = now - self._active_at > self._settings.idle_seconds
            self._probe_at = now + (self._settings.idle_probe_seconds if idle else self._settings.probe_seconds)
            self._probe_all(now)
        return self._held.orders.take()

    # -- the user's connection

    def _observe_traffic(self, link: Link, observation: Observation, *, idle: bool, now: float) -> None:
        match observation:
            case Established():
                if self._instead_of is not None:
                    self._start_ladder(now)
                self._held.use(link)
            case DialFailed():
                self._dial_failed(link, now)
            case Ended(failure=failure):
                self._held.orders.bad(reason := reason_of(failure))
                if reason == "eof" or idle:
                    self._dial_again(now)
                else:
                    self._traffic_failed(link, now)
            case Sent() | Answered() | Ponged() | Heard():
                self._active_at = now
                self._remember(link)

    def _lies_idle(self, number: int, now: float) -> bool:
        """Whether the connection has heard the last word, and that long ago."""
        evidence = self._held.links[number].evidence
        if evidence is None or evidence.silent_since is not None:
            return False
        return now - evidence.heard_at >= self._settings.quiet_seconds

    def _remember(self, link: Link) -> None:
        if link.shown.rtt.smoothed is not None and link.route not in self._remembered:
            self._remembered.add(link.route)
            self._held.orders.remember(link.route, link.shown.rtt.smoothed)

    def _stalled_at(self, carrier: Link) -> float:
        """There, each write starts the time anew; here the first one counts that nothing was heard after: sooner."""
        silent_since = carrier.shown.silent_since
        return math.inf if silent_since is None else silent_since + self._settings.stall_seconds

    def _dial(self, now: float) -> None:
        """Where the ranking says; it stays the choice while the ranking allows it."""
        self._sticky = self._ranking.choose(self._sticky, now)
        self._dial_at, self._instead_of = None, None
        self._dialed_at = now
        self._held.dial(self._sticky, now)

    def _dial_again(self, now: float) -> None:
        self._dial_at = max(now, self._dialed_at + self._settings.retry_seconds)
        if self._dial_at <= now:
            self._dial(now)

    def _dial_failed(self, link: Link, now: float) -> None:
        """The best other route is tried at once, without becoming the choice; after that, a round of probes."""
        self._ranking.user_failed(link.route, now)
        if link.route == self._held.path:
            self._held.orders.bad("dial_failed")
        other = self._ranking.best(now, without=link.route) if self._instead_of is None else None
        if other is not None:
            self._instead_of = link.route
            self._held.dial(other, now)
            return
        self._start_ladder(now)
        self._dial_again(now)

    def _traffic_failed(self, link: Link, now: float) -> None:
        if self._ranking.user_failed(link.route, now):
            self._start_ladder(now)
        self._dial_again(now)

    # -- probes

    @property
    def _probes(self) -> list[Link]:
        return self._held.of("probe")

    def _start_ladder(self, now: float) -> None:
        if self._ladder or now - self._laddered_at < self._settings.ladder_seconds:
            return
        self._ladder = True
        self._probe_all(now)

    def _probe_all(self, now: float) -> None:
        """A round of probes; none while another is under way."""
        if not self._probes:
            self._to_probe.extend(self._ranking.histories)
            self._probe_more(now)

    def _probe_more(self, now: float) -> None:
        while self._to_probe and len(self._probes) < self._settings.probes:
            self._held.probe(self._to_probe.popleft(), now)

    def _observe_probe(self, link: Link, observation: Observation, now: float) -> None:
        match observation:
            case Established():
                self._held.orders.ping(link.number)
            case Ponged():
                self._probe_over(link, now - link.dialed_at, None, now)
            case DialFailed(failure=failure) | Ended(failure=failure):
                self._probe_over(link, None, failure, now)

    def _probe_over(self, link: Link, delay: float | None, failure: str | None, now: float) -> None:
        """Its result counts as a probe's only: what the user's traffic met stays."""
        self._held.orders.probe_ended(link.number, link.route, failure)
        if link.number in self._held.links:
            if failure is None:
                self._held.close(link)
            else:
                self._held.abort([link])
        self._ranking.probed(link.route, delay)
        self._probe_more(now)
        if not self._probes and self._ladder:
            self._ladder = False
            self._laddered_at = now
