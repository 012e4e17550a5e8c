"""Probes of the paths without a proxy while another is in use: when, which, and what they have to show. Sans-IO.

The direct path is better than any other; one that gets around the block that was diagnosed without showing a proxy
(DoH for a DNS block, a fragmented ClientHello for a name block, another address) is better than a proxy.
"""

from __future__ import annotations

from collections.abc import Sequence

from client.policies import DIRECT, Abort, Diagnosed, ProbeEnded, ProbeStarted, RouteFacts
from client.policies.board import Board
from client.policies.failback import Failback
from client.policies.links import Link
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.trial import Trial, Trials

EVADED_BY = {
    "dns_nxdomain": "dns",
    "dns_forged": "dns",
    "address_drop": "address",
    "sni_drop": "sni",
    "sni_reset": "sni",
}
"""Diagnosis -> what a route without a proxy has to evade (`RouteFacts.evades`)."""
SURE = 0.8
"""A diagnosis is acted upon from this confidence on: a wrong one costs probes."""
AGAIN_SECONDS = 0.1
"""A trial whose time is over while an answer is late is looked at again so much later."""
TRIAL_MOST_SECONDS = 10.0
"""A trial that has not shown enough by then is given up; the next one may."""
TRICKLE_SECONDS = 1.5
"""A trial that has failed goes on for so long while answers trickle in: late answers tell a throttle from a silence
only when they come for most of a second (`client.diagnosis.trace.SPAN_SECONDS`), and behind a policer TCP gets some
through with each retransmission timeout, 0.2 to 0.5 s apart."""


class Probing:
    """Which path is probed next, and how many successes it needs. `next_at`: when, if a probe is wanted.

    `undecided`: the direct path, which was overtaken before its dial stood, stands now and has neither failed since nor
    come into use: it was late, as it seems, and not blocked.
    """

    def __init__(self, routes: Sequence[RouteFacts], settings: SidedoorSettings, board: Board) -> None:
        self._settings = settings
        self._board = board
        self.next_at = 0.0
        self.reset(0.0)
        self.routes_are(routes)

    def reset(self, now: float) -> None:
        """Another network: what was learned of the paths does not hold."""
        self.next_at = now
        self.undecided = False
        self._overtaken: int | None = None
        self._turn = 0
        self._evaded: str | None = None
        self._failbacks: dict[str, Failback] = {}
        self._trials: dict[str, Trials] = {}

    def routes_are(self, routes: Sequence[RouteFacts]) -> None:
        """These are the routes now."""
        self._facts = {route.name: route for route in routes}

    def diagnosed(self, diagnosis: Diagnosed) -> None:
        """What is wrong with the direct path, which tells what gets around it."""
        if diagnosis.route == DIRECT and diagnosis.confidence >= SURE:
            self._evaded = EVADED_BY.get(diagnosis.kind)

    # -- which, and when

    def is_better(self, route: str, path: str) -> bool:
        """Whether messages should rather go by `route` than by `path`."""
        return self._rank(route) < self._rank(path)

    def wanted(self, path: str) -> bool:
        """Whether there is anything to probe while `path` is in use."""
        allowed = self._settings.probe_direct == "periodic" and not self._board.with_role("probe")
        return allowed and bool(self._targets(path))

    def dial(self, path: str, now: float) -> None:
        """Begin the next probe."""
        targets = self._targets(path)
        link = self._board.dial(targets[self._turn % len(targets)], "probe", now)
        self._turn += 1
        self.next_at = now + self._settings.probe_seconds
        self._board.commands.append(ProbeStarted(link.number, link.route))

    def adopt(self, link: Link) -> None:
        """A dial that was to carry goes on as a probe."""
        link.role = "probe"
        if not link.announced:
            self._board.commands.append(ProbeStarted(link.number, link.route))
        link.announced = False  # its end is reported as that of a probe

    def may_be_late(self, link: Link) -> None:
        """This dial of the direct path was overtaken, and nothing bad is known of the path yet."""
        self._overtaken = link.number

    def stands(self, link: Link) -> None:
        """The probe's dial is done."""
        self.undecided = self.undecided or link.number == self._overtaken

    # -- what becomes of the paths

    def path_is(self, route: str, now: float) -> None:
        """Messages go by `route` from now on, and went by another path before."""
        self.next_at = now + self._settings.first_probe_seconds
        if route == DIRECT:
            self.undecided = False
        if not self._proxied(route):
            self._failback(route).returned(now)
            self._trial(route).returned(now)

    def path_bad(self, route: str, now: float) -> None:
        """The path in use went bad."""
        if not self._proxied(route):
            self._failback(route).direct_bad(now)

    def left_after(self, route: str, carried_bytes: int, now: float) -> None:
        """The path in use failed after its connection had carried so many bytes of messages."""
        if not self._proxied(route):
            self._trial(route).left_after(carried_bytes, now)

    # -- one probe

    def answered(self, link: Link, now: float, *, urgent: bool) -> bool:
        """An answer came by the probe; whether that is success: at once if `urgent`, else when its trial has passed."""
        if urgent:
            return True
        if link.trial is None:
            link.trial = self._trial(link.route).begin(now)
            return False
        return self._passed(link, link.trial, now)

    def succeeded(self, link: Link, *, urgent: bool) -> bool:
        """The probe has shown that the path carries; whether messages are to go by it now. Else it is closed."""
        self._board.commands.append(ProbeEnded(link.number, link.route, None))
        if self._failback(link.route).succeeded() or urgent:
            return True
        self._board.drop(link)
        return False

    def ended(self, link: Link, failure: str, now: float) -> None:
        """The probe has ended by itself."""
        if link.trial is not None:
            self._trial(link.route).failed_after(link.established.answered_bytes, now)
        self.failed(link, failure, now)

    def failed(self, link: Link, failure: str, now: float) -> None:
        """The probe has not succeeded."""
        self._failback(link.route).failed()
        if link.route == DIRECT:
            self.undecided = False
        self.next_at = max(self.next_at, now)
        self._board.commands.append(ProbeEnded(link.number, link.route, failure))

    def give_up(self, link: Link, failure: str, now: float) -> None:
        """The probe is of no use any more."""
        self.failed(link, failure, now)
        self._board.drop(link, Abort)

    def deadline(self, link: Link) -> float:
        """When to look at the probe."""
        if link.trial is None:
            return link.dialed_at + self._settings.probe_timeout_seconds
        if link.trial.failed:
            return min(link.trial.until, self._trickles_until(link))
        since = link.established.waiting_since
        times = [link.trial.until, link.dialed_at + self._settings.probe_timeout_seconds + TRIAL_MOST_SECONDS]
        return min(times if since is None else [since + self._board.lonely_delay(link), *times])

    def due(self, link: Link, now: float) -> bool:
        """The deadline has come: whether the trial has passed by it. Else the probe is given up, or looked at again."""
        trial, since = link.trial, None if link.evidence is None else link.evidence.waiting_since
        if trial is None:
            self.give_up(link, "generic_timeout_error", now)
        elif trial.failed or (since is not None and since + self._board.lonely_delay(link) <= now):
            self._overdue(link, trial, now)
        elif self._passed(link, trial, now):
            return True
        elif trial.until <= now:
            trial.until = now + AGAIN_SECONDS  # an answer is late; it may come, or prove to be lost
        else:
            self.give_up(link, "interrupted", now)
        return False

    def _overdue(self, link: Link, trial: Trial, now: float) -> None:
        """An answer has not come for too long: the trial has failed, and goes on only while answers trickle in."""
        if not trial.failed:
            trial.failed, trial.until = True, now + TRICKLE_SECONDS
            self._trial(link.route).failed_after(link.established.answered_bytes, now)
        if min(trial.until, self._trickles_until(link)) <= now:
            self.give_up(link, "generic_timeout_error", now)

    def _trickles_until(self, link: Link) -> float:
        """Until when the last answer counts as a trickle."""
        answered_at = link.established.answered_at
        return 0.0 if answered_at is None else answered_at + self._board.lonely_delay(link)

    def _passed(self, link: Link, trial: Trial, now: float) -> bool:
        return trial.passed(link.established.answered_bytes, now, late=self._board.behind(link, now))

    # -- small things

    def _targets(self, path: str) -> list[str]:
        return [route for route in self._facts if self.is_better(route, path) and self._fits(route)]

    def _fits(self, route: str) -> bool:
        return route == DIRECT or self._evaded in self._facts[route].evades

    def _rank(self, route: str) -> int:
        if route == DIRECT:
            return 0
        return 2 if self._proxied(route) else 1

    def _proxied(self, route: str) -> bool:
        facts = self._facts.get(route)
        return facts is None or facts.proxied

    def _failback(self, route: str) -> Failback:
        settings = self._settings
        if route not in self._failbacks:
            self._failbacks[route] = Failback(
                settings.probe_successes, settings.most_probe_successes, settings.settle_seconds
            )
        return self._failbacks[route]

    def _trial(self, route: str) -> Trials:
        return self._trials.setdefault(route, Trials(self._settings.trial_seconds))
