"""The policy `sidedoor`: hedge by a warm spare, judge by the data itself, come back with care. Sans-IO.

    seeking ──established──> carrying ──an answer is overdue──> doubting ──a hedge wins, for long──> carrying (spare)
       ^                        │                                  └──it catches up──> carrying (no switch)
       └────────reset, eof──────┘           carrying by a proxy ──probes carry data──> carrying (direct)

What is done in each: `client.policies.seeking`, `sparing`, `doubting` (and `hedging`: why), `probing`; here is what
leads from one to the next. The connections are on the `board`, their roles in `links`; docs/client.md explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from client.policies import (
    DIRECT,
    Abort,
    Answered,
    Command,
    Copy,
    Diagnosed,
    DialFailed,
    Ended,
    Established,
    Health,
    Heard,
    NetworkChanged,
    Observation,
    PathBad,
    Ponged,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
    Use,
)
from client.policies.board import Board
from client.policies.doubting import Doubting
from client.policies.exposure import Exposure
from client.policies.links import Link
from client.policies.probing import Probing
from client.policies.seeking import Seeking
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.sparing import Sparing

GRACES = 3
"""So many late timers in a row postpone a verdict; then the machine is slow for good and the verdict counts."""


class Sidedoor:
    """See the module; implements `client.policies.Policy`. `routes`: in order of preference, names unique."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: SidedoorSettings, random: Random, recollection: Recollection
    ) -> None:
        self._settings = settings
        self._board = Board(settings, routes[0].name)
        self._doubting = Doubting(settings, self._board)
        self._exposure = Exposure(tuple(route.name for route in routes if route.proxied))
        self._probing = Probing(routes, settings, self._board)
        self._recollection = recollection
        names = [route.name for route in routes]
        self._seeking = Seeking(names, settings, random, self._board, self._exposure, self._probing)
        self._sparing = Sparing(settings, self._board, self._exposure, self._probing, self._seeking.least_backoff)
        self._now = 0.0  # of the last call
        self._graces = 0

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._now = now
        self._recall(self._recollection, now)
        self._seeking.begin(now)
        self._seek_on(now)
        if self._sparing.possible:
            self._sparing.dial(now)
            self._seeking.race(self._recollection, now)
        return self._board.take()

    def observe(self, observation: Observation, now: float) -> list[Command]:
        self._now = now
        match observation:
            case NetworkChanged(recollection=recollection):
                self._network_changed(recollection, now)
            case RoutesChanged(routes=routes):
                self._routes_changed(routes, now)
            case _:
                self._about(self._board.links[observation.connection], observation, now)
        return self._board.take()

    def diagnosed(self, diagnosis: Diagnosed) -> None:
        """What `client.diagnosis` makes of all this: it tells which path without a proxy is worth a probe."""
        self._probing.diagnosed(diagnosis)

    @property
    def health(self) -> Health:
        """For people: see `client.policies.Health`."""
        return self._board.health

    def deadline(self) -> float | None:
        times = [time for link in self._board.links.values() if (time := self._link_deadline(link)) is not None]
        if (seek_at := self._seeking.deadline(self._sparing.usable(self._now))) is not None:
            times.append(seek_at)
        if not self._seeking.active and self._sparing.wanted:
            times.append(self._sparing.next_at)
        if self._wants_probe():
            times.append(self._probing.next_at)
        return min(times, default=None)

    def tick(self, now: float) -> list[Command]:
        self._notice_hiccup(now)
        self._now = now
        for link in list(self._board.links.values()):
            due = self._link_deadline(link)
            if link.number in self._board.links and due is not None and due <= now:
                self._link_due(link, now)
        if self._seeking.active:
            self._seek_on(now)
        if not self._seeking.active and self._sparing.wanted and self._sparing.next_at <= now:
            self._sparing.dial(now)
        if self._wants_probe() and self._probing.next_at <= now:
            self._probing.dial(self._board.path, now)
        return self._board.take()

    # -- connections come and go

    def _about(
        self,
        link: Link,
        observation: Established | DialFailed | Ended | StageReached | Sent | Answered | Ponged | Heard,
        now: float,
    ) -> None:
        match observation:
            case Established():
                self._established(link, now)
            case StageReached(stage=stage, addresses=addresses):
                link.reached(stage, now, len(addresses))
            case DialFailed(failure=failure):
                self._gone(link, "dial_failed", failure, now)
            case Ended(failure=failure):
                self._gone(link, "eof" if failure == "eof_error" else "reset", failure, now)
            case Sent(id=id_, size=size):
                link.established.sent(id_, now, size)
                if link.role == "carrier":
                    self._carried(link, id_)
            case Answered(id=id_):
                link.established.answered(id_, now)
                self._alive(link, id_, now)
            case Ponged(number=number):
                link.established.ponged(number, now)
                self._alive(link, None, now)
            case _:
                link.established.heard(now)

    def _established(self, link: Link, now: float) -> None:
        self._board.established(link, now)
        self._exposure.worked(link.route)
        if link.role == "candidate" or self._seeking.is_sought(link, now):
            self._carry(link, now)
        else:
            if link.role == "probe":
                self._probing.stands(link)
            # A probe and a spare show that they carry data before anybody relies on them.
            self._board.ping(link, now)

    def _alive(self, link: Link, id_: int | None, now: float) -> None:
        """An answer has come, to message `id_` or (None) to a ping."""
        match link.role:
            case "carrier":
                self._carrier_alive(link, now)
            case "spare":
                self._sparing.answered()
                if self._seeking.is_sought(link, now):
                    self._carry(link, now)
                elif id_ is not None:
                    self._doubting.answered(link, id_, now)
            case "probe":
                self._probe_answered(link, now)
            case _:
                if not link.established.unanswered:
                    self._board.drop(link)

    def _carrier_alive(self, link: Link, now: float) -> None:
        self._seeking.forgive()
        smoothed = self._board.rtt(link.route).smoothed
        if not link.remembered and smoothed is not None:
            link.remembered = True
            self._board.commands.append(Remember(link.route, smoothed))
        if self._board.behind(link, now):
            self._doubting.still_behind(link, now)
            return
        self._doubting.caught_up(link, now)
        if self._seeking.active:
            self._relieved(link)

    def _carried(self, link: Link, id_: int) -> None:
        """A message went out by the carrier: hedges that win and trials of other paths want it, too."""
        self._doubting.sent(link, self._sparing.usable(self._now), id_)
        for probe in self._board.with_role("probe"):
            if probe.trial is not None:
                self._board.commands.append(Copy(probe.number, (id_,)))

    def _gone(self, link: Link, reason: str, failure: str, now: float) -> None:
        """A connection or a dial has ended by itself, or was given up because it answers no more."""
        self._board.links.pop(link.number, None)
        self._board.report_end(link, failure)
        if not self._sparing.ended_idle(link, reason, now):
            self._exposure.failed(link.route, now)
        match link.role:
            case "carrier":
                self._path_failed(link, reason, now)
            case "candidate":
                if link.route == self._board.path:
                    self._mark_bad(reason, now)
                self._board.commands.append(Remember(link.route, None))
            case "spare":
                self._sparing.failed(now)
            case "probe":
                self._probing.ended(link, failure, now)
            case _:
                pass
        if self._seeking.active:
            self._seek_on(now)

    # -- the path in use

    def _carry(self, link: Link, now: float) -> None:
        """Messages go by `link` from here on; what was dialed beside it is given up, or becomes a probe."""
        others = [other for other in self._board.with_role("carrier", "candidate") if other is not link]
        fresh = not self._board.path_bad
        self._seeking.end()
        self._switch(link, now)
        for other in others:
            if (
                other.role == "candidate"
                and self._wants_probe()
                and self._probing.is_better(other.route, self._board.path)
            ):
                self._probing.adopt(other)
                if fresh and other.route == DIRECT:
                    self._probing.may_be_late(other)
                    self._sparing.wait_for(other)
            else:
                self._board.drop(other, Abort)

    def _switch(self, link: Link, now: float) -> None:
        link.role, link.trial = "carrier", None
        self._doubting.end(link)
        if link.route != self._board.path:
            self._mark_bad("dial_overdue", now)
            self._probing.path_is(link.route, now)
        for probe in self._board.with_role("probe"):
            if not self._probing.is_better(probe.route, link.route):
                self._probing.give_up(probe, "interrupted", now)
        self._board.path, self._board.path_bad = link.route, False
        self._sparing.next_at = max(self._sparing.next_at, now)
        self._board.commands.append(Use(link.number, link.route))

    def _mark_bad(self, reason: str, now: float) -> None:
        if not self._board.path_bad:
            self._board.path_bad = True
            self._probing.path_bad(self._board.path, now)
            self._board.commands += [PathBad(self._board.path, reason), Remember(self._board.path, None)]

    def _path_failed(self, link: Link, reason: str, now: float) -> None:
        """The carrier has ended, or is to be left."""
        self._probing.left_after(link.route, link.established.answered_bytes, now)
        self._mark_bad(reason, now)
        self._exposure.failed(link.route, now)
        spare = self._sparing.usable(self._now)
        if spare is not None:
            self._carry(spare, now)
        elif not self._seeking.active:
            self._seeking.begin_elsewhere(now)
            self._seek_on(now)

    def _relieved(self, link: Link) -> None:
        """The path that was taken for bad answers again before another stood: go on by it."""
        self._seeking.end()
        self._board.path_bad = link.remembered = False
        self._exposure.worked(link.route)
        for link in self._board.with_role("candidate"):
            self._board.drop(link)

    def _seek_on(self, now: float) -> None:
        if (spare := self._seeking.on(self._sparing.usable(self._now), now)) is not None:
            self._carry(spare, now)

    # -- probes of better paths, and the way back

    def _wants_probe(self) -> bool:
        return self._board.carrier is not None and self._probing.wanted(self._board.path)

    def _probe_answered(self, link: Link, now: float) -> None:
        urgent = self._seeking.active
        if self._probing.answered(link, now, urgent=urgent) and self._probing.succeeded(link, urgent=urgent):
            self._fail_back(link, now)

    def _fail_back(self, link: Link, now: float) -> None:
        """Make before break: the proxy's connection stays as the spare, or until its last answers are in."""
        if self._seeking.active:
            self._carry(link, now)
            return
        for old in self._board.with_role("carrier"):
            self._doubting.end(old)
            good = old.route in self._exposure.proxies and not self._board.behind(old, now)
            stays = self._settings.standby == "warm" and good
            for spare in self._board.with_role("spare") if stays else []:
                self._board.drop(spare)
            old.role = "spare" if stays else "drain"
        self._board.path_bad = True  # No PathBad: the proxy is left because another path is better.
        self._switch(link, now)
        for old in self._board.with_role("drain"):
            if not old.established.unanswered:
                self._board.drop(old)

    # -- the world changes

    def _recall(self, recollection: Recollection, now: float) -> None:
        self._board.recall(recollection)
        self._exposure.recall(recollection, now)

    def _network_changed(self, recollection: Recollection, now: float) -> None:
        """Nothing that was learned holds here; what stands shows whether it still does."""
        self._recall(recollection, now)
        self._probing.reset(now)
        self._seeking.forgive()
        self._sparing.reset(now)
        for link in self._board.links.values():
            if link.evidence is not None:
                link.evidence.rtt = self._board.rtt(link.route)
                self._board.ping(link, now)
        if self._seeking.active:
            self._seeking.begin(now)
            self._seek_on(now)

    def _routes_changed(self, routes: Sequence[RouteFacts], now: float) -> None:
        self._seeking.routes = tuple(route.name for route in routes)
        self._exposure.proxies = tuple(route.name for route in routes if route.proxied)
        self._probing.routes_are(routes)
        for link in self._board.with_role("candidate", "spare", "probe"):
            if link.route not in self._seeking.routes:
                self._withdraw(link, now)
        if self._seeking.active:
            self._seeking.begin(now)
            self._seek_on(now)

    def _withdraw(self, link: Link, now: float) -> None:
        if link.role == "probe":
            self._probing.give_up(link, "interrupted", now)
            return
        self._board.drop(link)
        if link.role == "spare":
            self._sparing.gone()

    # -- time

    def _notice_hiccup(self, now: float) -> None:
        deadline = self.deadline()
        if deadline is not None and now - deadline > self._settings.hiccup_seconds and self._graces < GRACES:
            self._graces += 1
            self._board.grace_until = now + self._settings.grace_seconds
        else:
            self._graces = 0

    def _link_deadline(self, link: Link) -> float | None:
        """When to look at this connection: overdue, to be pinged, or a probe that takes too long."""
        if link.role == "probe":
            return max(self._probing.deadline(link), self._board.grace_until)
        if link.evidence is None or (link.role == "carrier" and self._seeking.active):
            return None
        since = link.evidence.waiting_since
        if since is None:
            return link.evidence.heard_at + self._settings.keepalive_seconds
        if link.role == "carrier":
            return max(
                self._doubting.deadline(link, self._sparing.usable(self._now), since, self._now),
                self._board.grace_until,
            )
        return max(since + self._board.verdict_delay(link), self._board.grace_until)

    def _link_due(self, link: Link, now: float) -> None:
        match link.role:
            case "probe":
                self._probe_due(link, now)
            case "carrier":
                if (reason := self._doubting.due(link, self._sparing.usable(self._now), now)) is not None:
                    self._path_failed(link, reason, now)
            case _ if not link.established.unanswered:
                self._board.ping(link, now)
            case _:
                self._board.commands.append(Abort(link.number))
                self._gone(link, "ack_overdue", "generic_timeout_error", now)

    def _probe_due(self, link: Link, now: float) -> None:
        urgent = self._seeking.active
        if self._probing.due(link, now) and self._probing.succeeded(link, urgent=urgent):
            self._fail_back(link, now)
