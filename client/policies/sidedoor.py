"""The policy `sidedoor`: notice a bad path by the data itself, go on by a proxy, come back with care. Sans-IO.

    seeking ──established──> carrying ──ack overdue──> doubting ──a proxy stands──> carrying (by the proxy)
       ^                        │                          └──a sign of life──> carrying (no switch)
       └────────reset, eof──────┘            carrying by a proxy ──probes succeed──> carrying (direct)

Each connection has a role: `candidate` (dialed to carry), `carrier` (messages go out by it), `spare` (established
through a proxy, idle), `probe` (a trial of the direct path), `drain` (was the carrier, waits for its last answers).
docs/client.md explains the reasoning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from client.policies import (
    DIRECT,
    Abort,
    Answered,
    Close,
    Command,
    Dial,
    DialFailed,
    Ended,
    Established,
    Heard,
    NetworkChanged,
    Observation,
    PathBad,
    Ping,
    Ponged,
    ProbeEnded,
    ProbeStarted,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
    Use,
)
from client.policies.evidence import Evidence
from client.policies.failback import Failback
from client.policies.rtt import RttEstimate
from client.policies.sidedoor_settings import SidedoorSettings

Role = Literal["candidate", "carrier", "spare", "probe", "drain"]


GRACES = 3
"""So many late timers in a row postpone a verdict; then the machine is slow for good and the verdict counts."""


@dataclass(slots=True)
class Link:
    """One connection. `evidence` is None until it is established; `announced`: a candidate reported as a probe."""

    number: int
    route: str
    role: Role
    dialed_at: float
    evidence: Evidence | None = None
    announced: bool = False


class Sidedoor:
    """See the module; implements `client.policies.Policy`. `routes`: names, in order of preference, unique."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: SidedoorSettings, random: Random, recollection: Recollection
    ) -> None:
        self._routes = tuple(route.name for route in routes)
        self._proxies = tuple(route.name for route in routes if route.proxied)
        self._settings = settings
        self._rtt = {route: RttEstimate() for route in self._routes}
        self._links: dict[int, Link] = {}
        self._numbers = 0
        self._pings = 0
        self._path = self._routes[0]  # the route in use, or the last that was
        self._path_bad = False
        self._candidates: deque[str] | None = None  # routes still to dial; None: not seeking
        self._dial_at = 0.0  # when to dial the next candidate
        self._backoff = settings.backoff_seconds
        self._spare_at = 0.0
        self._spare_backoff = settings.backoff_seconds
        self._spare_turn = 0
        self._probe_at = 0.0
        self._failback = Failback(settings.probe_successes, settings.most_probe_successes, settings.settle_seconds)
        self._graces = 0
        self._grace_until = 0.0
        self._out: list[Command] = []

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._seek(self._routes, now)
        return self._commands()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        if isinstance(observation, NetworkChanged | RoutesChanged):
            return []
        link = self._links[observation.connection]
        match observation:
            case Established():
                self._established(link, now)
            case DialFailed(failure=failure):
                self._gone(link, "dial_failed", failure, now)
            case Ended(failure=failure):
                self._gone(link, "eof" if failure == "eof_error" else "reset", failure, now)
            case Sent(id=id_):
                _evidence(link).sent(id_, now)
            case StageReached():
                pass
            case _:
                self._alive(link, observation, now)
        return self._commands()

    def deadline(self) -> float | None:
        times = [time for link in self._links.values() if (time := self._link_deadline(link)) is not None]
        if self._candidates is not None and (self._candidates or not self._with_role("candidate")):
            times.append(self._dial_at)
        if self._wants_spare():
            times.append(self._spare_at)
        if self._wants_probe():
            times.append(self._probe_at)
        return min(times, default=None)

    def tick(self, now: float) -> list[Command]:
        self._notice_hiccup(now)
        for link in list(self._links.values()):
            due = self._link_deadline(link)
            if due is not None and due <= now:
                self._link_due(link, now)
        if self._candidates is not None and self._dial_at <= now:
            self._dial_candidate(now)
        if self._wants_spare() and self._spare_at <= now:
            self._dial_spare(now)
        if self._wants_probe() and self._probe_at <= now:
            self._probe(now)
        return self._commands()

    # -- connections come and go

    def _established(self, link: Link, now: float) -> None:
        link.evidence = Evidence(self._rtt[link.route], heard_at=now)
        self._report_end(link, None)
        if link.role == "candidate" or (link.role == "spare" and self._candidates is not None):
            self._carry(link, now)
            return
        # A probe and a spare show that they carry data before anybody relies on them.
        self._ping(link, now)

    def _alive(self, link: Link, observation: Answered | Ponged | Heard, now: float) -> None:
        evidence = _evidence(link)
        match observation:
            case Answered(id=id_):
                evidence.answered(id_, now)
            case Ponged(number=number):
                evidence.ponged(number, now)
            case _:
                evidence.heard(now)
        if link.role == "carrier":
            self._backoff = self._settings.backoff_seconds
            if self._candidates is not None:
                self._relieved()
        elif link.role == "spare":
            self._spare_backoff = self._settings.backoff_seconds
            if self._candidates is not None:
                self._carry(link, now)
        elif link.role == "probe":
            self._probe_succeeded(link, now)
        elif not evidence.unanswered:
            self._drop(link, Close(link.number))

    def _gone(self, link: Link, reason: str, failure: str, now: float) -> None:
        """A connection or a dial has ended by itself, or was given up because it answers no more."""
        self._links.pop(link.number, None)
        self._report_end(link, failure)
        if link.role == "carrier":
            self._path_failed(reason, now)
        elif link.role == "candidate":
            if link.route == self._path:
                self._mark_bad(reason, now)
            self._dial_at = now
            self._dial_candidate(now)
        elif link.role == "spare":
            self._spare_turn += 1
            self._spare_at = now + self._spare_backoff
            self._spare_backoff = min(2 * self._spare_backoff, self._settings.most_backoff_seconds)
        elif link.role == "probe":
            self._failback.failed()
            self._out.append(ProbeEnded(link.number, link.route, failure))

    def _drop(self, link: Link, command: Abort | Close) -> None:
        self._report_end(link, "interrupted")
        del self._links[link.number]
        self._out.append(command)

    # -- the path in use

    def _carry(self, link: Link, now: float) -> None:
        """Messages go by `link` from here on; what was dialed beside it is given up."""
        others = [other for other in self._with_role("carrier", "candidate") if other is not link]
        self._candidates = None
        self._switch(link, now)
        for other in others:
            self._drop(other, Abort(other.number))

    def _switch(self, link: Link, now: float) -> None:
        link.role = "carrier"
        if link.route != self._path:
            self._mark_bad("dial_failed", now)
            if link.route == DIRECT:
                self._failback.returned(now)
        if link.route == DIRECT:
            for probe in self._with_role("probe"):
                self._end_probe(probe, "interrupted")
        self._path, self._path_bad = link.route, False
        self._probe_at = now + self._settings.probe_seconds
        self._spare_at = max(self._spare_at, now)
        self._out.append(Use(link.number, link.route))

    def _mark_bad(self, reason: str, now: float) -> None:
        if self._path_bad:
            return
        self._path_bad = True
        if self._path == DIRECT:
            self._failback.direct_bad(now)
        self._out.append(PathBad(self._path, reason))

    def _path_failed(self, reason: str, now: float) -> None:
        self._mark_bad(reason, now)
        spares = [link for link in self._with_role("spare") if link.evidence and not link.evidence.unanswered]
        if spares:
            self._carry(spares[0], now)
        elif self._candidates is None:
            others = [route for route in self._proxies if route != self._path]
            self._seek([*others, DIRECT, self._path] if self._path != DIRECT else [*others, DIRECT], now)

    def _relieved(self) -> None:
        """The path that was taken for bad answers again before another stood: go on by it."""
        self._candidates = None
        self._path_bad = False
        for link in self._with_role("candidate"):
            self._drop(link, Abort(link.number))

    # -- seeking a route

    def _seek(self, routes: Sequence[str], now: float) -> None:
        self._candidates = deque(self._allowed(routes))
        self._dial_at = now
        self._dial_candidate(now)

    def _dial_candidate(self, now: float) -> None:
        """Dial the next route; when all have failed, begin again after a pause that grows."""
        assert self._candidates is not None
        if self._candidates:
            route = self._candidates.popleft()
            for spare in self._with_role("spare"):
                if spare.route == route and spare.evidence is None:
                    spare.role = "candidate"  # Its dial has begun already.
                    break
            else:
                self._announce(self._dial(route, "candidate", now))
            self._dial_at = now + self._settings.stagger_seconds
        elif not self._with_role("candidate"):
            self._candidates.extend(self._allowed(self._routes))
            self._dial_at = now + self._backoff
            self._backoff = min(2 * self._backoff, self._settings.most_backoff_seconds)

    def _announce(self, link: Link) -> None:
        """The direct path as the last resort, though it is known to be bad: a deliberate attempt, reported as such."""
        if link.route == DIRECT and self._proxies and (self._path != DIRECT or self._path_bad):
            link.announced = True
            self._out.append(ProbeStarted(link.number, DIRECT))

    def _report_end(self, link: Link, failure: str | None) -> None:
        """The end of an announced attempt, once: it stands (None), has failed, or is given up."""
        if link.announced:
            link.announced = False
            self._out.append(ProbeEnded(link.number, link.route, failure))

    def _allowed(self, routes: Sequence[str]) -> list[str]:
        burnt = self._settings.probe_direct == "never" and (self._path != DIRECT or self._path_bad)
        return [
            route for route in routes if route in self._routes and not (route == DIRECT and burnt and self._proxies)
        ]

    def _dial(self, route: str, role: Role, now: float) -> Link:
        self._numbers += 1
        link = self._links[self._numbers] = Link(self._numbers, route, role, now)
        self._out.append(Dial(link.number, route))
        return link

    # -- the spare

    def _wants_spare(self) -> bool:
        settled = self._candidates is None and bool(self._with_role("carrier"))
        return settled and self._settings.standby == "warm" and bool(self._spares()) and not self._with_role("spare")

    def _spares(self) -> list[str]:
        return [route for route in self._proxies if route != self._path]

    def _dial_spare(self, now: float) -> None:
        spares = self._spares()
        self._dial(spares[self._spare_turn % len(spares)], "spare", now)

    # -- probes of the direct path, and the way back

    def _wants_probe(self) -> bool:
        return (
            self._settings.probe_direct == "periodic"
            and self._path != DIRECT
            and DIRECT in self._routes
            and bool(self._with_role("carrier"))
            and not self._with_role("probe")
        )

    def _probe(self, now: float) -> None:
        link = self._dial(DIRECT, "probe", now)
        self._probe_at = now + self._settings.probe_seconds
        self._out.append(ProbeStarted(link.number, DIRECT))

    def _probe_succeeded(self, link: Link, now: float) -> None:
        self._out.append(ProbeEnded(link.number, link.route, None))
        if self._failback.succeeded() or self._candidates is not None:
            self._fail_back(link, now)
        else:
            self._drop(link, Close(link.number))

    def _fail_back(self, link: Link, now: float) -> None:
        """Make before break: the proxy's connection stays as the spare, or until its last answers are in."""
        if self._candidates is not None:
            self._carry(link, now)
            return
        for spare in self._with_role("spare"):
            self._drop(spare, Close(spare.number) if spare.evidence else Abort(spare.number))
        for old in self._with_role("carrier"):
            old.role = "spare" if self._settings.standby == "warm" else "drain"
        self._path_bad = True  # No PathBad: the proxy is left because direct is better.
        self._switch(link, now)
        for old in self._with_role("drain"):
            if not _evidence(old).unanswered:
                self._drop(old, Close(old.number))

    def _end_probe(self, link: Link, failure: str) -> None:
        self._failback.failed()
        self._out.append(ProbeEnded(link.number, link.route, failure))
        self._drop(link, Abort(link.number))

    # -- time

    def _notice_hiccup(self, now: float) -> None:
        deadline = self.deadline()
        if deadline is not None and now - deadline > self._settings.hiccup_seconds and self._graces < GRACES:
            self._graces += 1
            self._grace_until = now + self._settings.grace_seconds
        else:
            self._graces = 0

    def _link_deadline(self, link: Link) -> float | None:
        """When to look at this connection: overdue, to be pinged, or a probe that takes too long."""
        if link.role == "probe":
            return link.dialed_at + self._settings.probe_timeout_seconds
        if link.evidence is None or (link.role == "carrier" and self._candidates is not None):
            return None
        silent_since = link.evidence.silent_since
        if silent_since is None:
            return link.evidence.heard_at + self._settings.keepalive_seconds
        timeout = self._timeout(link, self._settings.least_timeout_seconds)
        if link.evidence.unanswered < self._settings.least_unanswered:
            return silent_since + timeout / 2
        verdict = silent_since + timeout
        second = link.evidence.second_sent_at
        if second is not None:
            verdict = max(verdict, second + self._timeout(link, 0.0))
        return max(verdict, self._grace_until)

    def _timeout(self, link: Link, least: float) -> float:
        settings = self._settings
        return self._rtt[link.route].timeout(
            initial=settings.initial_timeout_seconds, least=least, most=settings.most_timeout_seconds
        )

    def _link_due(self, link: Link, now: float) -> None:
        if link.role == "probe":
            self._end_probe(link, "generic_timeout_error")
            return
        evidence = _evidence(link)
        if evidence.unanswered < self._settings.least_unanswered:
            self._ping(link, now)
        elif link.role == "carrier":
            self._path_failed("ack_overdue", now)
        else:
            self._out.append(Abort(link.number))
            self._gone(link, "ack_overdue", "generic_timeout_error", now)

    def _ping(self, link: Link, now: float) -> None:
        self._pings += 1
        _evidence(link).pinged(self._pings, now)
        self._out.append(Ping(link.number, self._pings))

    # -- small things

    def _with_role(self, *roles: Role) -> list[Link]:
        return [link for link in self._links.values() if link.role in roles]

    def _commands(self) -> list[Command]:
        commands, self._out = self._out, []
        return commands


def _evidence(link: Link) -> Evidence:
    assert link.evidence is not None, f"connection {link.number} is not established"
    return link.evidence
