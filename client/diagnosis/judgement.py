"""From one route's history to an opinion: which dial or connection says most, and how much is it worth. Sans-IO.

A dial that fails says more than a silence: it has a stage. Where dials succeed, the new connections' fate tells the
kinds apart: they carry (only flows that existed were hit), trickle, stop after some bytes, or never carry a message.
"""

from __future__ import annotations

from client.diagnosis import (
    ADDRESS_DROP,
    DATA_DROP,
    FLOW_DROP,
    FROZEN,
    PROXY_DEAD,
    PROXY_UPSTREAM_DEAD,
    RESET,
    SNI_DROP,
    THROTTLED,
)
from client.diagnosis.dials import RESETS, SILENCES, opinion_of
from client.diagnosis.histories import CARRIED_BYTES, FIRST_LOSS_SECONDS, History, Opinion, patience
from client.diagnosis.trace import Trace

GUESS, LIKELY, STRONG, SURE = 0.4, 0.6, 0.8, 0.9
CERTAIN_SECONDS = 2.0
"""A stage that is pending for so long is no accident: two lost segments in a row are through by then."""
SOME_BYTES = 8_000
SAME_SHARE = 0.6
"""Two connections froze after about the same number of bytes when the smaller one is at least this share."""
SLOW_SECONDS = 1.5


def judge(history: History, now: float, *, round_trip: float, hop: float | None) -> Opinion | None:
    """What is wrong with the route; None: nothing that can be told yet.

    `round_trip`: the route's, in seconds, or what is assumed; `hop` as in `client.diagnosis.dials`.
    """
    fresh = [t for t in history.traces if t.established_at is not None and t.established_at >= (history.since or 0.0)]
    bad = failing(history, now, round_trip)
    # Dials that failed before one that came through count as long as it has not shown what becomes of connections,
    # unless they may have been accidents.
    later = [t for t in fresh if bad and t.dialed_at > bad[-1].dialed_at and t.answered]
    if later:
        bad = [t for t in bad if t.failure is not None or t.pending(CERTAIN_SECONDS, now)]
        if bad:
            return history.opinion
    # On a path that trickles, a dial takes long, too.
    trickles = any(trace.slow_seconds for trace in history.traces)
    if any(trace.failure is not None or not trickles for trace in bad):
        return _dials(bad, history, now, hop=hop)
    return _connections(history, fresh, now, patience("", round_trip, certain=history.certain), round_trip)


def failing(history: History, now: float, round_trip: float) -> list[Trace]:
    """The episode's dials that have failed or take too long, oldest first. One that is slow may have lost a segment;
    it takes another sign, or more time, to count it."""
    dials = [trace for trace in history.traces if trace.established_at is None]
    signs = [t for t in dials if t.failure is not None or t.pending(patience(t.stage, round_trip, certain=True), now)]
    while signs and signs[-1].failure is None and len(signs) > 1 and signs[-2].failure is not None:
        signs.pop()  # Once more may be an accident; what failed before is known.
    if history.certain or len(signs) > 1:
        return signs
    return [t for t in signs if t.pending(patience(t.stage, round_trip, certain=False), now)]


def _dials(bad: list[Trace], history: History, now: float, *, hop: float | None) -> Opinion:
    since = history.since or 0.0
    opinions = [opinion_of(trace, history, hop=hop) for trace in bad]
    newest, last = bad[-1], opinions[-1]
    agreeing = sum(opinion.kind == last.kind for opinion in opinions)
    # A flow that is to vanish some packets after its ClientHello may do so within the handshake: others got further.
    inside = [trace for trace in history.traces if trace.dialed_at >= since or not trace.answered]
    if last.kind == SNI_DROP and any("tls" in trace.passed for trace in inside):
        last = Opinion(FLOW_DROP, STRONG)
    if newest.failure is not None or agreeing > 1:
        level = SURE
    else:
        level = STRONG if newest.stage != "dns" and newest.pending(CERTAIN_SECONDS, now) else LIKELY
    silent = newest.failure is None or newest.failure in SILENCES
    return Opinion(last.kind, min(level, last.confidence), f"{newest.stage} {'silence' if silent else newest.failure}")


def _connections(history: History, fresh: list[Trace], now: float, wait: float, round_trip: float) -> Opinion | None:
    """All dials succeed, or there was none."""
    established = [trace for trace in history.traces if trace.established_at is not None]
    slow = [trace.slow_seconds for trace in established if trace.slow_seconds]
    if slow:
        return Opinion(THROTTLED, SURE if len(slow) > 1 else STRONG if slow[0] >= SLOW_SECONDS else LIKELY, "slow")
    # The policy, which gives up what it finds silent, counts from when the oldest unanswered message went out: that may
    # be a round trip before the last answer came.
    stalled = [t for t in fresh if t.stalled(wait - round_trip if t.given_up else wait, now)]
    if stalled:
        return _stalled(stalled, history, now, wait)
    fine = max((trace.answered_bytes for trace in fresh if trace.answered), default=0)
    sure = SURE if fine >= CARRIED_BYTES else STRONG if fine >= SOME_BYTES else LIKELY
    if any(trace.failure in RESETS for trace in established):
        return Opinion(RESET, min(sure, STRONG), "reset")
    old = [trace for trace in established if trace not in fresh and _fell_silent(trace, history, wait, now)]
    if any(trace.answered for trace in fresh):
        # One that is to freeze after 16 KB has carried 8 KB as well.
        level = SURE if fine >= CARRIED_BYTES else LIKELY
        return Opinion(FLOW_DROP, level, "carried") if history.reason == "ack_overdue" else None
    if old:
        return _silence(old[-1], history, now, wait)
    return (
        Opinion(THROTTLED, GUESS, "slow")
        if history.reason == "slow" and _is_time_to_guess(history, now, wait)
        else None
    )


def _fell_silent(trace: Trace, history: History, wait: float, now: float) -> bool:
    """By its own silence, or because the policy found it long enough."""
    left = history.reason == "ack_overdue" and trace.given_up
    return trace.stalled(0.0 if left else wait, now)


def _is_time_to_guess(history: History, now: float, wait: float) -> bool:
    """Dials, which know better, would have told by now."""
    return now >= (history.since or 0.0) + FIRST_LOSS_SECONDS + wait


def _stalled(stalled: list[Trace], history: History, now: float, wait: float) -> Opinion:
    """Connections that were opened inside the block and fell silent."""
    kinds = [_of_stalled(trace, history) for trace in stalled]
    kind, newest, evidence = kinds[-1], stalled[-1], f"{len(stalled)} stalled"
    same = [trace for trace, other in zip(stalled, kinds, strict=True) if other == kind]
    level = STRONG if newest.stalled(wait + FIRST_LOSS_SECONDS, now) else LIKELY
    if kind == DATA_DROP and FLOW_DROP in kinds:
        return Opinion(FLOW_DROP, level, evidence)
    if len(same) > 1:
        sizes = sorted((same[-2].answered_bytes, same[-1].answered_bytes))
        if sizes[0] >= SAME_SHARE * sizes[1]:
            return Opinion(kind, SURE, evidence)
        return Opinion(FLOW_DROP, LIKELY, evidence)
    return Opinion(kind, level, evidence)


def _of_stalled(trace: Trace, history: History) -> str:
    if history.facts.proxied and trace.transport_alive is not None:
        return PROXY_UPSTREAM_DEAD if trace.transport_alive else PROXY_DEAD
    if trace.answered:
        return FROZEN
    return DATA_DROP if trace.ponged or trace.transport_alive else FLOW_DROP


def _silence(trace: Trace, history: History, now: float, wait: float) -> Opinion | None:
    """A connection that stood before fell silent, and no dial has told more yet."""
    if history.facts.proxied and trace.transport_alive is not None:
        return Opinion(PROXY_UPSTREAM_DEAD if trace.transport_alive else PROXY_DEAD, STRONG)
    if not _is_time_to_guess(history, now, wait):
        return None
    if history.facts.proxied:
        return Opinion(PROXY_DEAD, GUESS)
    if trace.answered_bytes < CARRIED_BYTES:
        return Opinion(_of_stalled(trace, history), GUESS)
    return Opinion(ADDRESS_DROP, GUESS)
