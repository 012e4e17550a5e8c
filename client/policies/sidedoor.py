"""The policy `sidedoor`: hedge by a warm spare, judge by the data itself, come back with care. Sans-IO.

    seeking ──established──> carrying ──an answer is overdue──> doubting ──a hedge wins, for long──> carrying (spare)
       ^                        │                                  └──it catches up──> carrying (no switch)
       └────────reset, eof──────┘           carrying by a proxy ──probes carry data──> carrying (direct)

In doubt every message goes by the spare, too, so that the verdict can take its time (`client.policies.hedging`).
The connections and their roles are in `client.policies.links`; docs/client.md explains the reasoning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
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
    ProbeStarted,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
    Use,
)
from client.policies.board import Board
from client.policies.exposure import Exposure
from client.policies.hedging import SLOWER_SECONDS, Doubt
from client.policies.links import Link
from client.policies.probing import Probing
from client.policies.sidedoor_settings import SidedoorSettings

GRACES = 3
"""So many late timers in a row postpone a verdict; then the machine is slow for good and the verdict counts."""


class Sidedoor:
    """See the module; implements `client.policies.Policy`. `routes`: in order of preference, names unique."""

    def __init__(
        self, routes: Sequence[RouteFacts], settings: SidedoorSettings, random: Random, recollection: Recollection
    ) -> None:
        self._settings = settings
        self._board = Board(settings)
        self._routes = tuple(route.name for route in routes)
        self._exposure = Exposure(tuple(route.name for route in routes if route.proxied))
        self._probing = Probing(routes, settings, self._board)
        self._recollection = recollection
        self._path = self._routes[0]  # the route in use, or the last that was
        self._path_bad = False
        self._candidates: deque[str] | None = None  # routes still to dial; None: not seeking
        self._dial_at = 0.0  # not before this, after a round in which all failed
        self._backoff = settings.backoff_seconds * (1 + random.random() / 4)  # not all clients at once
        self._least_backoff = self._backoff
        self._spare_at = 0.0
        self._spare_backoff = self._backoff
        self._now = 0.0  # of the last call
        self._graces = 0
        self._grace_until = 0.0

    # -- what the driver calls

    def start(self, now: float) -> list[Command]:
        self._now = now
        self._recall(self._recollection, now)
        self._seek(self._order(now), now)
        if self._settings.standby == "warm" and self._has_other_proxy():
            self._dial_spare(now)
            self._race(now)
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
        if (seek_at := self._seek_deadline()) is not None:
            times.append(seek_at)
        if self._wants_spare():
            times.append(self._spare_at)
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
        if self._candidates is not None:
            self._seek_on(now)
        if self._wants_spare() and self._spare_at <= now:
            self._dial_spare(now)
        if self._wants_probe() and self._probing.next_at <= now:
            self._probing.dial(self._path, now)
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
            case StageReached():
                link.reached(now)
            case DialFailed(failure=failure):
                self._gone(link, "dial_failed", failure, now)
            case Ended(failure=failure):
                self._gone(link, "eof" if failure == "eof_error" else "reset", failure, now)
            case Sent(id=id_, size=size):
                link.established.sent(id_, now, size)
                if link.role == "carrier":
                    self._mirror(link, id_, now)
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
        if link.role == "candidate" or self._is_sought(link, now):
            self._carry(link, now)
        else:
            # A probe and a spare show that they carry data before anybody relies on them.
            self._board.ping(link, now)

    def _alive(self, link: Link, id_: int | None, now: float) -> None:
        """An answer has come, to message `id_` or (None) to a ping."""
        match link.role:
            case "carrier":
                self._carrier_alive(link, now)
            case "spare":
                self._spare_backoff = self._least_backoff
                if self._is_sought(link, now):
                    self._carry(link, now)
                elif id_ is not None:
                    self._hedge_answered(link, id_, now)
            case "probe":
                self._probe_answered(link, now)
            case _:
                if not link.established.unanswered:
                    self._board.drop(link)

    def _carrier_alive(self, link: Link, now: float) -> None:
        self._backoff = self._least_backoff
        smoothed = self._board.rtt(link.route).smoothed
        if not link.remembered and smoothed is not None:
            link.remembered = True
            self._board.commands.append(Remember(link.route, smoothed))
        if not self._board.behind(link, now):
            self._caught_up(link, now)
        elif link.doubt is not None and now - link.doubt.began_at >= SLOWER_SECONDS:
            link.established.ambiguous = False

    def _caught_up(self, link: Link, now: float) -> None:
        if link.doubt is not None:
            self._board.hedges(link.route).ended(link.doubt, now)
            self._end_doubt(link)
        if self._candidates is not None:
            self._relieved(link)

    def _gone(self, link: Link, reason: str, failure: str, now: float) -> None:
        """A connection or a dial has ended by itself, or was given up because it answers no more."""
        self._board.links.pop(link.number, None)
        self._board.report_end(link, failure)
        if not self._ended_idle(link, reason, now):
            self._exposure.failed(link.route, now)
        match link.role:
            case "carrier":
                self._path_failed(link, reason, now)
            case "candidate":
                if link.route == self._path:
                    self._mark_bad(reason, now)
                self._board.commands.append(Remember(link.route, None))
            case "spare":
                self._spare_gone()
                self._spare_at = now + self._spare_backoff
                self._spare_backoff = min(2 * self._spare_backoff, self._settings.most_backoff_seconds)
            case "probe":
                self._probing.ended(link, failure, now)
            case _:
                pass
        if self._candidates is not None:
            self._seek_on(now)

    # -- the path in use

    def _carry(self, link: Link, now: float) -> None:
        """Messages go by `link` from here on; what was dialed beside it is given up, or becomes a probe."""
        others = [other for other in self._board.with_role("carrier", "candidate") if other is not link]
        self._candidates = None
        self._switch(link, now)
        for other in others:
            if other.role == "candidate" and self._wants_probe() and self._probing.is_better(other.route, self._path):
                self._probing.adopt(other)
            else:
                self._board.drop(other, Abort)

    def _switch(self, link: Link, now: float) -> None:
        link.role, link.trial = "carrier", None
        self._end_doubt(link)
        if link.route != self._path:
            self._mark_bad("dial_overdue", now)
            self._probing.path_is(link.route, now)
        for probe in self._board.with_role("probe"):
            if not self._probing.is_better(probe.route, link.route):
                self._probing.give_up(probe, "interrupted", now)
        self._path, self._path_bad = link.route, False
        self._spare_at = max(self._spare_at, now)
        self._board.commands.append(Use(link.number, link.route))

    def _mark_bad(self, reason: str, now: float) -> None:
        if not self._path_bad:
            self._path_bad = True
            self._probing.path_bad(self._path, now)
            self._board.commands += [PathBad(self._path, reason), Remember(self._path, None)]

    def _path_failed(self, link: Link, reason: str, now: float) -> None:
        """The carrier has ended, or is to be left."""
        self._probing.left_after(link.route, link.established.answered_bytes, now)
        self._mark_bad(reason, now)
        self._exposure.failed(link.route, now)
        spare = self._usable_spare()
        if spare is not None:
            self._carry(spare, now)
        elif self._candidates is None:
            order = [route for route in self._order(now) if route != self._path]
            proxied = [route for route in order if route in self._exposure.proxies]
            self._seek([*proxied, *(route for route in order if route not in proxied), self._path], now)

    def _relieved(self, link: Link) -> None:
        """The path that was taken for bad answers again before another stood: go on by it."""
        self._candidates = None
        self._path_bad = link.remembered = False
        self._exposure.worked(link.route)
        for link in self._board.with_role("candidate"):
            self._board.drop(link)

    # -- doubt and hedges

    def _carrier_due(self, link: Link, now: float) -> None:
        """The carrier is behind: copies by the spare, and a verdict when the time has come."""
        evidence = link.established
        since = evidence.waiting_since
        if since is None:
            self._board.ping(link, now)
            return
        if link.doubt is None:
            link.doubt = Doubt(now)
            evidence.ambiguous = True
            if evidence.unanswered == 1:
                self._board.ping(link, now)  # a second witness, as TCP's tail loss probe
        spare = self._usable_spare()
        if spare is None:
            if since + self._board.lonely_delay(link) <= now:
                self._path_failed(link, _reason(link), now)
            return
        self._hedge(link, spare, link.doubt, now)
        if since + self._patience(link, link.doubt) <= now:
            self._path_failed(link, _reason(link), now)

    def _patience(self, link: Link, doubt: Doubt) -> float:
        """How far behind the path may be while it can be hedged, in seconds."""
        return self._board.verdict_delay(link) * (1 if doubt.wins else self._settings.hopeless_verdicts)

    def _hedge(self, link: Link, spare: Link, doubt: Doubt, now: float) -> None:
        delay = 0.0 if doubt.wins else self._board.hedge_delay(link, now)
        ids = link.established.take_overdue(delay, now)
        if ids:
            doubt.copies += len(ids)
            self._board.commands.append(Copy(spare.number, ids))

    def _mirror(self, link: Link, id_: int, now: float) -> None:
        """A message went out by the carrier: hedges that win and trials of other paths want it, too."""
        doubt = link.doubt
        if doubt is not None and doubt.wins:
            spare = self._usable_spare()
            if spare is not None:
                doubt.copies += 1
                link.established.take(id_)
                self._board.commands.append(Copy(spare.number, (id_,)))
        for probe in self._board.with_role("probe"):
            if probe.trial is not None:
                self._board.commands.append(Copy(probe.number, (id_,)))

    def _hedge_answered(self, spare: Link, id_: int, now: float) -> None:
        """The spare has answered message `id_`: a win if the carrier, which had it first, has not."""
        carrier = self._board.carrier
        if carrier is None or carrier.doubt is None or not carrier.established.waits_for(id_):
            return
        carrier.doubt.wins += 1
        if carrier.doubt.wins == 1:
            self._hedge(carrier, spare, carrier.doubt, now)

    def _end_doubt(self, link: Link) -> None:
        link.doubt = None
        link.established.ambiguous = False

    # -- seeking a route

    def _order(self, now: float) -> list[str]:
        """Routes without a proxy as they are preferred, then the proxies as `client.policies.exposure` has them."""
        proxies = self._exposure.order(now)
        return [route for route in self._routes if route not in proxies] + proxies

    def _seek(self, routes: Iterable[str], now: float) -> None:
        self._candidates = deque(self._allowed(routes))
        self._dial_at = now
        self._seek_on(now)

    def _race(self, now: float) -> None:
        """More proxies at once beside the spare, where nothing is known and the user wants that."""
        assert self._candidates is not None
        if self._recollection.rtt_seconds or self._recollection.failed:
            return
        for route in self._exposure.order(now, without=[self._path])[1 : self._settings.first_proxies]:
            self._candidates.remove(route)
            self._exposure.dialed(route)
            self._board.dial(route, "candidate", now)

    def _seek_on(self, now: float) -> None:
        """Dial the next if every dial under way is stuck, as many as these are: the more are stuck, the less one alone
        would do. When all have failed, begin again after a pause."""
        assert self._candidates is not None
        spare = self._usable_spare()
        if spare is not None and self._is_sought(spare, now):
            self._carry(spare, now)
            return
        pending = self._board.pending()
        if any(self._stuck_at(link) > now for link in pending):
            return
        if not self._candidates and not pending:
            self._candidates.extend(self._allowed(self._order(now)))
            self._dial_at = now + self._backoff
            self._backoff = min(2 * self._backoff, self._settings.most_backoff_seconds)
        busy = {link.route for link in self._board.with_role("candidate", "spare")}
        left = max(1, len(pending))
        while self._candidates and self._dial_at <= now and left:
            route = self._candidates.popleft()
            if route not in busy:
                self._exposure.dialed(route)
                self._announce(self._board.dial(route, "candidate", now))
                left -= 1

    def _seek_deadline(self) -> float | None:
        if self._candidates is None:
            return None
        better = self._better_candidates(spare.route) if (spare := self._usable_spare()) is not None else []
        if better:
            return max(self._stuck_at(link) for link in better)
        pending = self._board.pending()
        if not self._candidates:
            return None if pending else self._dial_at
        return max([self._dial_at, *(self._stuck_at(link) for link in pending)])

    def _stuck_at(self, link: Link) -> float:
        return max(link.stuck_at, self._grace_until)

    def _better_candidates(self, route: str) -> list[Link]:
        """Dials of paths that are better than `route` and not known to be bad."""
        candidates = self._board.with_role("candidate")
        return [link for link in candidates if not link.announced and self._probing.is_better(link.route, route)]

    def _is_sought(self, spare: Link, now: float) -> bool:
        """Whether this spare, which stands, is what is sought: no better path is about to be dialed through."""
        if spare.role != "spare" or self._candidates is None:
            return False
        return all(self._stuck_at(link) <= now for link in self._better_candidates(spare.route))

    def _announce(self, link: Link) -> None:
        """The direct path as the last resort, though it is known to be bad: a deliberate attempt, reported as such."""
        if link.route == DIRECT and self._exposure.proxies and (self._path != DIRECT or self._path_bad):
            link.announced = True
            self._board.commands.append(ProbeStarted(link.number, DIRECT))

    def _allowed(self, routes: Iterable[str]) -> list[str]:
        """Not what is known to be bad and must not be touched again, as long as there is anything else."""
        known = self._path != DIRECT or self._path_bad
        burnt = known and self._settings.probe_direct == "never" and bool(self._exposure.proxies)
        return [route for route in routes if route in self._routes and not (burnt and route == DIRECT)]

    # -- the spare

    def _wants_spare(self) -> bool:
        settled = self._candidates is None and self._board.carrier is not None
        wanted = self._settings.standby == "warm" and self._has_other_proxy()
        return settled and wanted and not self._board.with_role("spare")

    def _has_other_proxy(self) -> bool:
        return any(proxy != self._path for proxy in self._exposure.proxies)

    def _dial_spare(self, now: float) -> None:
        route = self._exposure.order(now, without=[self._path])[0]
        self._exposure.dialed(route)
        self._board.dial(route, "spare", now)

    def _usable_spare(self) -> Link | None:
        return self._board.usable(self._board.with_role("spare"), self._now)

    def _ended_idle(self, link: Link, reason: str, now: float) -> bool:
        """A spare that a proxy ends because it was idle for a while is no reason to show another proxy."""
        lasted = now - link.dialed_at >= self._settings.keepalive_seconds
        idle = reason in ("eof", "reset") and not link.established.unanswered
        return link.role == "spare" and lasted and idle

    def _spare_gone(self) -> None:
        """What it carried for the carrier, the next one shall."""
        carrier = self._board.carrier
        if carrier is not None:
            carrier.established.return_taken()

    # -- probes of better paths, and the way back

    def _wants_probe(self) -> bool:
        return self._board.carrier is not None and self._probing.wanted(self._path)

    def _probe_answered(self, link: Link, now: float) -> None:
        urgent = self._candidates is not None
        if self._probing.answered(link, now, urgent=urgent) and self._probing.succeeded(link, urgent=urgent):
            self._fail_back(link, now)

    def _fail_back(self, link: Link, now: float) -> None:
        """Make before break: the proxy's connection stays as the spare, or until its last answers are in."""
        if self._candidates is not None:
            self._carry(link, now)
            return
        for old in self._board.with_role("carrier"):
            self._end_doubt(old)
            good = old.route in self._exposure.proxies and not self._board.behind(old, now)
            stays = self._settings.standby == "warm" and good
            for spare in self._board.with_role("spare") if stays else []:
                self._board.drop(spare)
            old.role = "spare" if stays else "drain"
        self._path_bad = True  # No PathBad: the proxy is left because another path is better.
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
        self._backoff = self._spare_backoff = self._least_backoff
        self._spare_at = now
        for link in self._board.links.values():
            if link.evidence is not None:
                link.evidence.rtt = self._board.rtt(link.route)
                self._board.ping(link, now)
        if self._candidates is not None:
            self._seek(self._order(now), now)

    def _routes_changed(self, routes: Sequence[RouteFacts], now: float) -> None:
        self._routes = tuple(route.name for route in routes)
        self._exposure.proxies = tuple(route.name for route in routes if route.proxied)
        self._probing.routes_are(routes)
        for link in self._board.with_role("candidate", "spare", "probe"):
            if link.route not in self._routes:
                self._withdraw(link, now)
        if self._candidates is not None:
            self._seek(self._order(now), now)

    def _withdraw(self, link: Link, now: float) -> None:
        if link.role == "probe":
            self._probing.give_up(link, "interrupted", now)
            return
        self._board.drop(link)
        if link.role == "spare":
            self._spare_gone()

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
            return max(self._probing.deadline(link), self._grace_until)
        if link.evidence is None or (link.role == "carrier" and self._candidates is not None):
            return None
        since = link.evidence.waiting_since
        if since is None:
            return link.evidence.heard_at + self._settings.keepalive_seconds
        if link.role == "carrier":
            return max(self._doubt_deadline(link, since), self._grace_until)
        return max(since + self._board.verdict_delay(link), self._grace_until)

    def _doubt_deadline(self, link: Link, since: float) -> float:
        """When to look at the carrier, which awaits an answer since `since`; every look then changes something."""
        board, doubt, delay = self._board, link.doubt, self._board.hedge_delay(link, self._now)
        if doubt is None:
            return since + delay
        spare = self._usable_spare()
        if spare is None:
            return since + board.lonely_delay(link)
        times = [since + self._patience(link, doubt)]
        if (behind_at := board.behind_at(spare, self._now)) is not None:
            times.append(behind_at)
        uncopied = link.established.first_untaken
        if uncopied is not None:
            times.append(uncopied + delay)
        return min(times)

    def _link_due(self, link: Link, now: float) -> None:
        match link.role:
            case "probe":
                self._probe_due(link, now)
            case "carrier":
                self._carrier_due(link, now)
            case _ if not link.established.unanswered:
                self._board.ping(link, now)
            case _:
                self._board.commands.append(Abort(link.number))
                self._gone(link, "ack_overdue", "generic_timeout_error", now)

    def _probe_due(self, link: Link, now: float) -> None:
        urgent = self._candidates is not None
        if self._probing.due(link, now) and self._probing.succeeded(link, urgent=urgent):
            self._fail_back(link, now)


def _reason(link: Link) -> str:
    """Why the carrier is left: it trickles, or is silent."""
    answered_at, doubt = link.established.answered_at, link.doubt
    trickles = doubt is not None and answered_at is not None and answered_at > doubt.began_at
    return "slow" if trickles else "ack_overdue"
