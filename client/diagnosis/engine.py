"""The diagnosis of all routes: fed what a policy is told and what it orders, it says what is wrong. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from client.diagnosis import (
    ADDRESS_DROP,
    DATA_DROP,
    DNS_DROP,
    FLOW_DROP,
    FROZEN,
    NETWORK_DOWN,
    NONE,
    ORIGIN_DOWN,
    PROXY_DEAD,
    PROXY_UPSTREAM_DEAD,
    RESET,
    SNI_DROP,
    THROTTLED,
)
from client.diagnosis.dials import RESETS, SILENCES
from client.diagnosis.histories import FIRST_LOSS_SECONDS, UNKNOWN_ROUND_TRIP_SECONDS, History, Opinion, patience
from client.diagnosis.judgement import CERTAIN_SECONDS, GUESS, LIKELY, SURE, judge
from client.diagnosis.trace import Trace
from client.policies import (
    Abort,
    Answered,
    Close,
    Command,
    Diagnosed,
    Dial,
    DialFailed,
    Ended,
    Established,
    NetworkChanged,
    Observation,
    PathBad,
    Ping,
    Ponged,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
)

_VANISHED = frozenset({ADDRESS_DROP, FLOW_DROP, SNI_DROP, DNS_DROP, PROXY_DEAD, PROXY_UPSTREAM_DEAD, NETWORK_DOWN})
_UNREACHED = frozenset({ADDRESS_DROP, FLOW_DROP, SNI_DROP, RESET, PROXY_UPSTREAM_DEAD, ORIGIN_DOWN})
_BEHIND = frozenset({PROXY_UPSTREAM_DEAD, ORIGIN_DOWN})
_SHOWN_BY_DATA = frozenset({DATA_DROP, FROZEN, THROTTLED, FLOW_DROP})
_OTHER_ROUTES = "other routes"
"""The evidence of opinions that are about all of them."""
_NO_ANSWER = SILENCES | {"host_unreachable", "network_unreachable"}


def unknown(connection: int) -> float | None:
    """Nothing is known of a connection's transport."""
    return None


class Diagnosis:
    """Opinions on routes. `quiet_seconds`: how long ago TCP's last acknowledgement came by a connection, if the driver
    can tell: at a proxy it tells the proxy's silence from that of what is behind it."""

    def __init__(self, routes: Sequence[RouteFacts], *, quiet_seconds: Callable[[int], float | None] = unknown) -> None:
        self._histories = {facts.name: History(facts) for facts in routes}
        self._quiet_seconds = quiet_seconds
        self._traces: dict[int, Trace] = {}  # those that live
        self._changed: set[str] = set()
        self._looked_at = float("-inf")
        self._alive_at = float("-inf")  # something answered, wherever
        self._reached_at: dict[str, float] = {}  # route -> the origin answered by it

    def ordered(self, command: Command, now: float) -> None:
        """The policy has ordered this; the driver has not done it yet."""
        match command:
            case Dial(connection=number, route=route) if route in self._histories:
                trace = self._traces[number] = Trace(number, route, now, stage_at=now)
                if self._histories[route].since is not None:
                    self._histories[route].concern(trace)
            case Ping(connection=number, number=ping) if number in self._traces:
                self._traces[number].pinged(ping, now)
            case Abort(connection=number) | Close(connection=number) if number in self._traces:
                self._given_up(self._traces[number], now)
            case PathBad(route=route, reason=reason) if route in self._histories:
                # A dial that was overtaken is not one that failed: that has an observation of its own.
                self._condemned(route)
                self._symptom(route, "dial_slow" if reason in ("dial_failed", "dial_overdue") else reason, now)

    def observe(self, observation: Observation, now: float) -> None:
        """The policy is about to be told this."""
        match observation:
            case NetworkChanged():
                self._histories = {name: History(history.facts) for name, history in self._histories.items()}
                self._reached_at.clear()
            case RoutesChanged(routes=routes):
                self._histories = {facts.name: self._histories.get(facts.name) or History(facts) for facts in routes}
            case _:
                trace = self._traces.get(observation.connection)
                if trace is not None and trace.route in self._histories:
                    self._observe(trace, self._histories[trace.route], observation, now)

    def verdicts(self, now: float) -> list[Diagnosed]:
        """What has changed since the last call. Call it after `observe`, `ordered` and at `deadline()`."""
        due = self.deadline()
        if due is not None and due <= now:
            self._look(now)
        found = []
        while self._changed:
            route = min(self._changed)
            self._changed.discard(route)
            history = self._histories.get(route)
            if history is not None and history.since is not None:
                found += self._judge(history, now)
        return found

    def conclude(self, began: float, now: float) -> None:
        """All that happened since `began` was one look at every route, and no more comes: opinions are formed anew, as
        if it had all happened at once. So they do not depend on which dial happened to end first."""
        episodes = [history for history in self._histories.values() if history.since is not None]
        for history in episodes:
            history.since, history.opinion = began, None
            history.alive_since = began if self._reached_otherwise(history, began) else None
        for history in episodes:
            history.opinion = self._own_opinion(history, now)
        together = [self._seen_together(history, history.opinion) for history in episodes]
        for history, opinion in zip(episodes, together, strict=True):
            history.opinion = opinion

    def deadline(self) -> float | None:
        """When time alone may change an opinion; None: not before another observation."""
        found = [moment for trace in self._traces.values() for moment in self._moments(trace)]
        found += [self._guess_at(history) for history in self._histories.values() if self._unexplained(history)]
        return min((moment for moment in found if moment > self._looked_at), default=None)

    def opinion(self, route: str) -> Diagnosed | None:
        """What was told of this route last, if it still holds."""
        history = self._histories.get(route)
        opinion = None if history is None else history.opinion
        return None if opinion is None else Diagnosed(route, opinion.kind, opinion.confidence)

    # -- what happens

    def _observe(self, trace: Trace, history: History, observation: Observation, now: float) -> None:
        match observation:
            case StageReached(stage=stage, addresses=addresses):
                left, took = trace.stage, trace.entered(stage, now)
                trace.addresses = addresses or trace.addresses
                if took is not None:
                    history.stage_took(left, took)
                    self._alive_at = self._alive_at if left == "dns" else now
                self._touch(history)
            case Established():
                trace.established(now)
                history.good |= set(trace.addresses)
                self._reached(history, now)
                self._changed |= self._in_episodes()
            case DialFailed(stage=stage, failure=failure):
                trace.stage = stage
                self._ended(trace, failure, "dial_failed", now)
            case Ended(failure=failure):
                self._ended(trace, failure, "reset" if failure in RESETS else "eof", now)
            case Sent(id=id_, size=size):
                trace.sent(id_, size, now)
            case Answered(id=id_):
                self._answered(trace, history, id_, now)
            case Ponged(number=number):
                round_trip = trace.pong(number, now)
                if round_trip is not None:
                    history.measured(round_trip, 0, now)
                self._reached(history, now)

    def _answered(self, trace: Trace, history: History, id_: int, now: float) -> None:
        before, slow = trace.answered_bytes, trace.slow_seconds
        round_trip = trace.answer(id_, now, base=history.base, best_rate=history.best_rate)
        if round_trip is not None:
            history.measured(round_trip, trace.answered_bytes - before, now)
        if trace.slow_seconds > slow:
            self._symptom(trace.route, "slow", now, trace)
        self._reached(history, now)

    def _reached(self, history: History, now: float) -> None:
        self._alive_at = self._reached_at[history.facts.name] = now
        history.reached = True
        for other in self._histories.values():
            if other is not history and other.since is not None and other.alive_since is None:
                other.alive_since = now
        self._touch(history)

    def _reached_otherwise(self, history: History, since: float) -> bool:
        return any(at >= since for name, at in self._reached_at.items() if name != history.facts.name)

    def _condemned(self, route: str) -> None:
        history = self._histories[route]
        for trace in self._traces.values():
            if trace.route == route:
                trace.condemned(base=history.base, best_rate=history.best_rate)

    def _ended(self, trace: Trace, failure: str, reason: str, now: float) -> None:
        trace.over(now, failure)
        del self._traces[trace.number]
        if failure not in _NO_ANSWER:
            self._alive_at = now
        self._symptom(trace.route, reason, now, trace)

    def _given_up(self, trace: Trace, now: float) -> None:
        del self._traces[trace.number]
        history = self._histories.get(trace.route)
        if history is None:
            return
        self._examine(trace, now)
        wait = patience(trace.stage, self._round_trip(history), certain=True)
        slow = trace.dialing and now >= trace.stage_at + wait
        trace.over(now)
        if slow:
            self._symptom(trace.route, "dial_slow", now, trace)
        self._touch(history)

    def _symptom(self, route: str, reason: str, now: float, trace: Trace | None = None) -> None:
        """Every living connection of the route belongs to the episode, and what other routes show is seen anew."""
        history = self._histories[route]
        history.symptom(reason, now)
        for concerned in [trace] if trace is not None else []:
            history.concern(concerned)
        for living in self._traces.values():
            if living.route == route:
                history.concern(living)
        self._changed |= self._in_episodes()

    def _in_episodes(self) -> set[str]:
        return {name for name, history in self._histories.items() if history.since is not None}

    def _touch(self, history: History) -> None:
        if history.since is not None:
            self._changed.add(history.facts.name)

    # -- time

    def _round_trip(self, history: History) -> float:
        if history.base is not None:
            return history.base
        others = [other.base for other in self._histories.values() if other.base is not None]
        return max(others, default=history.hop or UNKNOWN_ROUND_TRIP_SECONDS)

    def _moments(self, trace: Trace) -> Iterator[float]:
        """When to look at this connection, which then is overdue, or more so."""
        history = self._histories.get(trace.route)
        since = trace.stage_at if trace.dialing else trace.waiting_since
        if history is None or since is None:
            return
        round_trip, stage = self._round_trip(history), trace.stage if trace.dialing else ""
        waits = [patience(stage, round_trip, certain=certain) for certain in (True, False)]
        yield from (since + wait for wait in waits)
        if trace.dialing:
            yield since + CERTAIN_SECONDS
        else:
            yield since + waits[1] + FIRST_LOSS_SECONDS

    def _unexplained(self, history: History) -> bool:
        return history.since is not None and history.opinion is None

    def _guess_at(self, history: History) -> float:
        """When a silence that nothing has explained is worth a guess."""
        return (history.since or 0.0) + FIRST_LOSS_SECONDS + patience("", self._round_trip(history), certain=True)

    def _look(self, now: float) -> None:
        self._looked_at = now
        self._changed |= {name for name, history in self._histories.items() if self._unexplained(history)}
        for trace in list(self._traces.values()):
            history = self._histories.get(trace.route)
            if history is None:
                continue
            self._examine(trace, now)
            self._touch(history)
            round_trip, stage = self._round_trip(history), trace.stage if trace.dialing else ""
            wait = patience(stage, round_trip, certain=False)
            if trace.pending(wait, now):
                self._symptom(trace.route, "dial_slow", now, trace)
            elif trace.stalled(wait, now):
                self._symptom(trace.route, "ack_overdue", now, trace)

    def _examine(self, trace: Trace, now: float) -> None:
        """Ask whether TCP goes on where answers do not. In between nothing is sure: a message was on its way."""
        since = trace.waiting_since
        quiet = None if trace.established_at is None or since is None else self._quiet_seconds(trace.number)
        if quiet is None or since is None:
            return
        silent = now - since
        trace.transport_alive = True if quiet < silent / 2 else False if quiet > 0.8 * silent else None

    # -- opinions

    def _judge(self, history: History, now: float) -> list[Diagnosed]:
        told = history.opinion
        if history.healed(now, by_data=told is not None and told.kind in _SHOWN_BY_DATA):
            history.forget()
            return [] if told is None else [Diagnosed(history.facts.name, NONE, SURE)]
        opinion = self._seen_together(history, self._own_opinion(history, now))
        if opinion is None:
            return []
        if told is not None and told.kind == ORIGIN_DOWN != opinion.kind and history.alive_since is not None:
            told = None  # Refuted.
        if not _worth_telling(opinion, told):
            return []
        history.opinion = opinion
        return [Diagnosed(history.facts.name, opinion.kind, opinion.confidence)]

    def _own_opinion(self, history: History, now: float) -> Opinion | None:
        """From what the route itself has shown."""
        hops = [other.hop for other in self._histories.values() if other.hop is not None]
        return judge(history, now, round_trip=self._round_trip(history), hop=min(hops, default=None))

    def _seen_together(self, history: History, opinion: Opinion | None) -> Opinion | None:
        """The opinion in the light of those on the other routes."""
        if opinion is None:
            return None
        return self._network_down(history, opinion) or self._origin_down(history, opinion) or opinion

    def _network_down(self, history: History, opinion: Opinion) -> Opinion | None:
        """Nothing at all has answered since, by any route that was tried."""
        assert history.since is not None
        if opinion.kind not in _VANISHED or self._alive_at >= history.since:
            return None
        others = [other for other in self._histories.values() if other is not history and other.since is not None]
        silent = [other for other in others if other.opinion is not None and other.opinion.kind in _VANISHED]
        if not silent:
            return None
        return Opinion(NETWORK_DOWN, SURE if len(silent) > 1 else LIKELY, _OTHER_ROUTES)

    def _origin_down(self, history: History, opinion: Opinion) -> Opinion | None:
        """The direct path fails, and proxies that answer do not get through either."""
        assert history.since is not None
        if opinion.kind not in _UNREACHED or max(self._reached_at.values(), default=float("-inf")) >= history.since:
            return None
        proxied = [other for other in self._histories.values() if other.facts.proxied]
        behind = [
            other for other in proxied if other is not history and other.opinion and other.opinion.kind in _BEHIND
        ]
        count = len(behind) + (history.facts.proxied and opinion.kind in _BEHIND)
        direct_fails = any(other.since is not None for other in self._histories.values() if not other.facts.proxied)
        if not proxied or count < min(2, len(proxied)) or not direct_fails:
            return None
        return Opinion(ORIGIN_DOWN, SURE if count > 1 else LIKELY, _OTHER_ROUTES)


def _worth_telling(opinion: Opinion, told: Opinion | None) -> bool:
    """A kind for the first time or more surely; another one if it is as sure at least, or if it is more than a guess
    and something of another nature shows it: judgement looks at the newest, so that has come since."""
    if told is None:
        return True
    if opinion.kind == told.kind:
        return opinion.confidence > told.confidence
    if opinion.evidence != told.evidence and opinion.confidence > GUESS:
        return True
    return opinion.confidence >= told.confidence
