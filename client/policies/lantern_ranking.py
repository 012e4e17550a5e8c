"""How the policy `lantern` ranks its routes: probes and the user's traffic on two tracks. Sans-IO.

A censor that lets probes pass and drops the data shows as good probes beside failures of the user's traffic; so a good
probe clears failed probes only, and a failure of the user's traffic counts until it is old.
protocol/group/mutableautoselect_history.go and mutableautoselect.go of getlantern/lantern-box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from client.policies.ranges import Factor, Interval, Positive, Seconds


class LanternSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="lantern", kw_only=True
):
    """Constants of the policy; times in seconds. The names in brackets are those of getlantern/lantern-box,
    protocol/group/: the defaults in mutableautoselect_history.go, and in mutableautoselect.go
    (`resolveMutableAutoSelectOptions`), where no other file is named.

    - `soft_failures`, `hard_failures`: so many failures of the user's traffic demote (`defaultSoftFailLimit`,
      `defaultConsecutiveFailLimit`; as many failed probes in a row demote hard, too), if they are not older than
      `window_seconds` (`defaultUserFailureWindow`) and each came `apart_seconds` after the last that counts
      (`defaultUserFailureDedupeWindow`).
    - `slower_factor`: twice as many failures are needed for the hard demotion if the best other route is so many times
      slower (`switchPenaltyAltFactor`).
    - `stall_seconds`: silence after a write that is a failure (`defaultDataPlaneIdle`).
    - `quiet_seconds`: a reset of a connection that lay idle for so long is none (`defaultDataPlaneResetQuiet` in
      mutableautoselect_dataplane.go).
    - `hysteresis_seconds`: a route is left for one whose probe was so much faster (`switchTolerance`).
    - `probe_seconds`: time between probes of all routes (`activeInterval`); `idle_probe_seconds`: the same when
      there was no traffic for `idle_seconds` (`idleInterval`, `idleThreshold`).
    - `probe_timeout_seconds`: the longest probe (mutableautoselect_protocols.go, `behaviorFor`: SOCKS and the default).
    - `probes`: so many at a time (`defaultProbeConcurrency`).
    - `ladder_seconds`: a failure starts a round of probes if the last such round is over for so long
      (`ladderCooldown`).
    - `stage_seconds`: for TCP (`TCPConnectTimeout` in constant/timeout.go of SagerNet/sing-box), and for each later
      stage of a dial, which is the program's there.
    - `retry_seconds`: the program that uses Lantern dials again so long after its last dial, at the earliest (not
      Lantern's: it leaves that to the program).
    """

    soft_failures: Positive = 2
    hard_failures: Positive = 3
    window_seconds: Seconds = 300.0
    apart_seconds: Seconds = 30.0
    slower_factor: Factor = 3.0
    stall_seconds: Seconds = 60.0
    quiet_seconds: Seconds = 5.0
    hysteresis_seconds: Seconds = 0.2
    probe_seconds: Interval = 180.0
    idle_probe_seconds: Interval = 900.0
    idle_seconds: Seconds = 600.0
    probe_timeout_seconds: Seconds = 2.0
    probes: Positive = 6
    ladder_seconds: Seconds = 60.0
    stage_seconds: Interval = 5.0
    retry_seconds: Interval = 1.0


class Demotion(IntEnum):
    """How far down a route is."""

    CLEAN = 0
    SOFT = 1
    HARD = 2


@dataclass(slots=True)
class History:
    """What is known of a route: the duration of its last good probe, failed probes in a row since, and when the user's
    traffic failed."""

    delay_seconds: float | None = None
    failed_probes: int = 0
    user_failures: list[float] = field(default_factory=list)


class Ranking:
    """The histories of all routes, and which of them is best."""

    def __init__(self, routes: Sequence[str], settings: LanternSettings) -> None:
        self._settings = settings
        self.histories = {route: History() for route in routes}

    def reset(self, routes: Sequence[str]) -> None:
        """These are the routes now; those that stay keep their history."""
        self.histories = {route: self.histories.get(route, History()) for route in routes}

    def probed(self, route: str, delay: float | None) -> None:
        """A probe has been answered after `delay` seconds, or not (None)."""
        history = self.histories.get(route, History())
        if delay is None:
            history.failed_probes += 1
        else:
            history.delay_seconds, history.failed_probes = delay, 0

    def user_failed(self, route: str, now: float) -> bool:
        """The user's traffic has failed on `route`; whether it counts: a burst is one failure."""
        failures = self.histories.get(route, History()).user_failures
        if failures and now - failures[-1] < self._settings.apart_seconds:
            return False
        failures.append(now)
        failures[:] = [then for then in failures if now - then < self._settings.window_seconds]
        return True

    def demotion(self, route: str, now: float) -> Demotion:
        """By failed probes in a row, and by the user's failures in the window."""
        settings = self._settings
        history = self.histories[route]
        recent = sum(now - then < settings.window_seconds for then in history.user_failures)
        hard = settings.hard_failures * (2 if self._others_much_slower(route) else 1)
        if max(history.failed_probes, recent) >= hard:
            return Demotion.HARD
        return Demotion.SOFT if recent >= settings.soft_failures else Demotion.CLEAN

    def best(self, now: float, *, without: str | None = None) -> str | None:
        """The least demoted, of these the fastest; unknown ones come last, in their order."""
        routes = [route for route in self.histories if route != without]
        return min(routes, key=lambda route: (self.demotion(route, now), self._delay(route)), default=None)

    def choose(self, sticky: str | None, now: float) -> str:
        """The route of the next connection: the last one chosen, unless it is demoted further than the best or the best
        is faster by the hysteresis."""
        best = self.best(now)
        assert best is not None, "no routes"
        if sticky not in self.histories or self.demotion(sticky, now) > self.demotion(best, now):
            return best
        return best if self._delay(best) + self._settings.hysteresis_seconds <= self._delay(sticky) else sticky

    def _delay(self, route: str) -> float:
        delay = self.histories[route].delay_seconds
        return float("inf") if delay is None else delay

    def _others_much_slower(self, route: str) -> bool:
        others = [self._delay(other) for other in self.histories if other != route]
        best = min(others, default=float("inf"))
        return self._settings.slower_factor * self._delay(route) < best < float("inf")
