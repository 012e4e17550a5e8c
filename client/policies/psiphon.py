"""The policy `psiphon`, by the behaviour of Psiphon's tunnel core. Sans-IO.

Psiphon has one tunnel, which carries everything. To get one it dials all it knows, many at a time, and the first that
stands wins; the server of the last tunnel has a head start. While a tunnel works it is kept: nothing is compared, and
nobody goes back to anything. Here every route, the direct one too, is what a server is there.

    establishing ──the first candidate stands──> connected ──a keep-alive lacks its answer, reset, eof──> establishing
    a round: the last server, [1 s], those with stored parameters, the rest ── pause 5 s ── a new round, shuffled anew

psiphon/controller.go (`establishCandidateGenerator`), psiphon/tunnel.go (`operateTunnel`) of psiphon-tunnel-core.
"""

from __future__ import annotations

import math
from collections import deque
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
    Ponged,
    Recollection,
    RouteFacts,
    RoutesChanged,
)
from client.policies.connections import Connections, Link
from client.policies.orders import reason_of
from client.policies.ranges import Interval, Positive, Seconds, Share


class PsiphonSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="psiphon", kw_only=True
):
    """Constants of the policy; times in seconds. The names in brackets are those of the defaults in
    psiphon/common/parameters/parameters.go of Psiphon-Labs/psiphon-tunnel-core.

    - `workers`: dials at a time (`ConnectionWorkerPoolSize`).
    - `stage_seconds`: for a whole dial, all stages of it (`TunnelConnectTimeout`).
    - `affinity_seconds`: head start of the server of the last tunnel (`EstablishTunnelServerAffinityGracePeriod`).
    - `round_seconds`: no further candidate is begun in a round that lasts longer (`EstablishTunnelWorkTime`).
    - `pause_seconds`, `pause_jitter`: between rounds, more or less by this share (`EstablishTunnelPausePeriod`,
      `EstablishTunnelPausePeriodJitter`).
    - `replay_seconds`: a tunnel that has carried for so long has its parameters stored for this network
      (`ReplayTargetTunnelDuration`).
    - `replay_retained`: the probability that a dial that fails leaves them (`ReplayRetainFailedProbability`).
    - `keepalive_seconds`, `most_keepalive_seconds`: the periodic keep-alive comes after a random time between these
      (`SSHKeepAlivePeriodMin`, `SSHKeepAlivePeriodMax`), if nothing was received for `inactive_seconds`
      (`SSHKeepAlivePeriodicInactivePeriod`); its answer may take `keepalive_timeout_seconds`
      (`SSHKeepAlivePeriodicTimeout`).
    - `port_forward_seconds`: a port forward that takes so long has failed (`TunnelPortForwardDialTimeout`), and a
      keep-alive is sent at once, whose answer may take `probe_timeout_seconds` (`SSHKeepAliveProbeTimeout`; its
      `SSHKeepAliveProbeInactivePeriod` is the same 10 s). Here: messages that have had no answer for so long.
    """

    workers: Positive = 10
    stage_seconds: Interval = 20.0
    affinity_seconds: Seconds = 1.0
    round_seconds: Seconds = 60.0
    pause_seconds: Interval = 5.0
    pause_jitter: Share = 0.1
    replay_seconds: Seconds = 1.0
    replay_retained: Share = 0.5
    keepalive_seconds: Interval = 60.0
    most_keepalive_seconds: Interval = 120.0
    inactive_seconds: Seconds = 10.0
    keepalive_timeout_seconds: Seconds = 30.0
    port_forward_seconds: Seconds = 10.0
    probe_timeout_seconds: Seconds = 5.0


class Psiphon:
    """See the module; implements `client.policies.Policy`. `routes`: the servers; the first is the path at first."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: PsiphonSettings, random: Random, recollection: Recollection
    ) -> None:
        self._routes = [route.name for route in routes]
        self._settings = settings
        self._random = random
        self._held = Connections(self._routes[0])
        self._stored = list(recollection.rtt_seconds)  # routes with stored parameters for this network
        self._last = next(iter(self._stored), None)  # the route of the last tunnel
        self._queue: deque[str] = deque()  # what is left of the round
        self._round_at = 0.0
        self._resume_at: float | None = None  # the end of the head start or of the pause
        self._head_start: Link | None = None
        self._keepalive_at = 0.0
        self._probed_at = 0.0
        self._answer_due: float | None = None  # of the keep-alive that is under way

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._establish(now)
        return self._held.orders.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case RoutesChanged(routes=routes):
                self._routes = [route.name for route in routes]
                self._queue = deque(route for route in self._queue if route in self._routes)
            case NetworkChanged(recollection=recollection):
                self._stored = list(recollection.rtt_seconds)
            case _:
                link = self._held.note(observation, now)
                match observation:
                    case Established():
                        self._connected(link, now)
                    case DialFailed():
                        self._failed(link, now)
                    case Ended(failure=failure):
                        self._lost(reason_of(failure), now)
                    case Ponged():
                        self._answer_due = None
                self._store(link, now)
        return self._held.orders.take()

    def deadline(self) -> float | None:
        times = [link.dialed_at + self._settings.stage_seconds for link in self._held.of("candidate")]
        if self._resume_at is not None:
            times.append(self._resume_at)
        if (carrier := self._held.carrier) is not None:
            times += [self._keepalive_at, self._port_forward_due(carrier)]
        if self._answer_due is not None:
            times.append(self._answer_due)
        return min(times)

    def tick(self, now: float) -> list[Command]:
        for link in self._held.of("candidate"):
            if link.dialed_at + self._settings.stage_seconds <= now:
                self._held.abort([link])
                self._failed(link, now)
        if self._resume_at is not None and self._resume_at <= now:
            self._resume(now)
        if (carrier := self._held.carrier) is not None:
            self._watch(carrier, now)
        return self._held.orders.take()

    # -- establishing

    def _establish(self, now: float) -> None:
        """The first round: the server of the last tunnel, then those with stored parameters, then the others."""
        self._begin_round(now)
        stored = [route for route in self._queue if route in self._stored]
        others = [route for route in self._queue if route not in self._stored]
        self._queue = deque([*stored, *others])
        if self._last in self._routes:
            self._queue.remove(self._last)
            self._head_start = self._held.dial(self._last, now)
            self._resume_at = now + self._settings.affinity_seconds
        else:
            self._dial(now)

    def _begin_round(self, now: float) -> None:
        self._round_at = now
        self._queue = deque(self._random.sample(self._routes, len(self._routes)))

    def _resume(self, now: float) -> None:
        """The head start or the pause is over."""
        self._resume_at = None
        if self._head_start is None:
            self._begin_round(now)
        self._head_start = None
        self._dial(now)

    def _dial(self, now: float) -> None:
        """As many as there are free workers; the end of the list or of the round's time is followed by a pause.

        A route whose dial of an earlier round is not over is dialed once more, as there.
        """
        while self._queue and len(self._held.of("candidate")) < self._settings.workers:
            self._held.dial(self._queue.popleft(), now)
            if now - self._round_at > self._settings.round_seconds:
                self._queue.clear()
        if not self._queue:
            jitter = self._settings.pause_jitter * self._random.uniform(-1, 1)
            self._resume_at = now + self._settings.pause_seconds * (1 + jitter)

    def _failed(self, link: Link, now: float) -> None:
        """A candidate's dial has failed or taken too long: its worker takes the next."""
        if link.route in self._stored and self._random.random() >= self._settings.replay_retained:
            self._stored.remove(link.route)
            self._held.orders.remember(link.route, None)
        if link.route == self._held.path:
            self._held.orders.bad("dial_failed")
        if link is self._head_start:
            self._resume_at = self._head_start = None
        if self._resume_at is None:
            self._dial(now)

    def _connected(self, link: Link, now: float) -> None:
        self._queue.clear()
        self._resume_at = self._head_start = self._answer_due = None
        self._last = link.route
        self._held.use(link)
        self._probed_at = now
        self._next_keepalive(now)

    # -- the tunnel

    def _store(self, link: Link, now: float) -> None:
        carried = link.purpose == "carrier" and now - link.established_at >= self._settings.replay_seconds
        if carried and link.shown.rtt.smoothed is not None and link.route not in self._stored:
            self._stored.append(link.route)
            self._held.orders.remember(link.route, link.shown.rtt.smoothed)

    def _port_forward_due(self, carrier: Link) -> float:
        """When messages will have lacked an answer for too long; the next such failure comes as much later."""
        silent_since = carrier.shown.silent_since
        if silent_since is None:
            return math.inf
        return max(silent_since, self._probed_at) + self._settings.port_forward_seconds

    def _watch(self, carrier: Link, now: float) -> None:
        settings = self._settings
        if self._answer_due is not None and self._answer_due <= now:
            self._held.orders.bad("ack_overdue")
            self._held.abort([carrier])
            self._lost("ack_overdue", now)
        elif self._port_forward_due(carrier) <= now:
            self._probed_at = now
            self._keep_alive(carrier, settings.probe_timeout_seconds, now)
            self._next_keepalive(now)
        elif self._keepalive_at <= now:
            if now - carrier.shown.heard_at >= settings.inactive_seconds:
                self._keep_alive(carrier, settings.keepalive_timeout_seconds, now)
            self._next_keepalive(now)

    def _keep_alive(self, carrier: Link, timeout: float, now: float) -> None:
        self._held.orders.ping(carrier.number)
        self._answer_due = now + timeout if self._answer_due is None else min(self._answer_due, now + timeout)

    def _next_keepalive(self, now: float) -> None:
        period = self._random.uniform(self._settings.keepalive_seconds, self._settings.most_keepalive_seconds)
        self._keepalive_at = now + period

    def _lost(self, reason: str, now: float) -> None:
        """The tunnel is no more."""
        self._answer_due = None
        self._held.orders.bad(reason)
        self._establish(now)
