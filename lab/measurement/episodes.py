"""Sans-IO: the times of each block, computed from a run's events.

An episode is direct and healthy -> blocked -> recovered -> unblocked -> failed back. All its times count from `t0`,
the first packet of the measured client's flows that the censor acted on; a scenario's clock plays no part in them.
Events are dicts as in `events.jsonl` (docs/events.md), `t` in seconds since run start. What did not happen while it
was observed is None, and `censored_at_seconds` says how long it was waited for: right-censored, never dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from lab.measurement import shortfall
from lab.measurement.diagnoses import Diagnosis, censor_actions, diagnosis_of

Event = Mapping[str, Any]

HOLD_SECONDS = 2.0  # a recovery counts when acks go on for this long ...
HOLD_GAP_SECONDS = 1.0  # ... with no longer pause than this between two of them
OUTAGE_LEAD_SECONDS = 1.0  # the outage is looked for from this long before t0
MINIMUM_WINDOW_SECONDS = 0.1  # goodput over less than this says nothing


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Payload bytes shown to the user per second; None where the window is too short to say."""

    before: float | None = None
    during: float | None = None
    after: float | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One episode's result. All times in seconds, `t0*` since run start, the others as DESIGN says from `t0`."""

    name: str
    t0_rule: tuple[float, float] | None = None
    t0: float | None = None
    ttd_seconds: float | None = None
    tts_seconds: float | None = None
    ttr_seconds: float | None = None
    outage_seconds: float | None = None
    failback_seconds: float | None = None
    goodput_bytes_per_second: Goodput = Goodput()
    recovered: bool = False
    cut_short: bool = False  # the run ended before the episode did: what is missing may just not have come yet
    hits: int = 0
    censor_actions: list[str] = []  # "RULE: ACTION" of what the censor did to the client's packets: the truth ...
    diagnosis: Diagnosis | None = None  # ... and what the client made of it
    # From t0 (failback: from the unblocking) to the end of the observation: how long the Nones were waited for.
    censored_at_seconds: float | None = None
    failback_censored_at_seconds: float | None = None


class _Episode(msgspec.Struct, frozen=True, kw_only=True):
    """The frame of one episode: when it began and ended, when the block was lifted, when the next one begins."""

    name: str
    rules: tuple[str, ...]
    started: float
    ended: float
    lifted: float | None
    horizon: float
    cut_short: bool
    goodput: bool


def measure_blocks(
    events: Iterable[Event], client_addresses: Iterable[str], *, monotonic_at_start: float = 0.0
) -> list[Block]:
    """All episodes of a run, in order.

    `client_addresses`: the measured host's own, as text. `monotonic_at_start`: CLOCK_MONOTONIC at run start, which a
    rule's bracket (`before`, `after`) counts on, unlike `t`.
    """
    log = sorted(events, key=lambda event: float(event["t"]))
    addresses = frozenset(client_addresses)
    return [_measure(log, episode, addresses, monotonic_at_start) for episode in _episodes(log)]


def blocked_intervals(events: Iterable[Event]) -> list[tuple[str, float, float]]:
    """(block, from, to) of each episode: from its start until it is lifted, or until it ends."""
    log = sorted(events, key=lambda event: float(event["t"]))
    return [(e.name, e.started, e.ended if e.lifted is None else e.lifted) for e in _episodes(log)]


def _episodes(log: Sequence[Event]) -> list[_Episode]:
    end = float(log[-1]["t"]) if log else 0.0
    starts = [event for event in log if event["event"] == "episode_started"]
    horizons = [*(float(event["t"]) for event in starts[1:]), end]
    episodes = []
    for start, horizon in zip(starts, horizons, strict=False):  # without a block there is an end only
        name, rules, t = start["block"], tuple(start.get("rules") or ()), float(start["t"])
        within = [event for event in log if t <= event["t"] <= horizon]
        ended = [e["t"] for e in within if e["event"] == "episode_ended" and e["block"] == name]
        unblocked = [e["t"] for e in within if e["event"] == "unblocked" and e["block"] == name]
        lifted = [e["t"] for e in within if e["event"] == "rule_lifted" and e["rule"] in rules]
        moment = max(lifted) if lifted else unblocked[0] if unblocked else None
        episodes.append(
            _Episode(
                name=name,
                rules=rules,
                started=t,
                ended=float(ended[0]) if ended else horizon,
                lifted=None if moment is None else float(moment),
                horizon=horizon,
                cut_short=not ended,
                goodput=start.get("recovery") == "goodput",
            )
        )
    return episodes


def _measure(log: Sequence[Event], episode: _Episode, addresses: frozenset[str], start: float) -> Block:
    within = [event for event in log if episode.started <= event["t"] <= episode.ended]
    hits = [event for event in within if event["event"] == "censor_hit" and _is_of(event, addresses)]
    t0 = float(hits[0]["t"]) if hits else None
    bracket = _rule_bracket(within, episode.rules, start)
    block = Block(
        name=episode.name,
        t0_rule=bracket,
        t0=t0,
        hits=len(hits),
        censor_actions=censor_actions(hits),
        cut_short=episode.cut_short,
    )
    if t0 is None:
        return block
    route = _route_in_use(log, t0)
    # After the block is lifted, whatever comes back does so by itself.
    observed_until = episode.ended if episode.lifted is None else episode.lifted
    goodput = _goodput(log, episode, t0, None)
    asked = _asked(log, episode, goodput.before, t0)
    ttr = _recovery(log, t0, observed_until, asked if episode.goodput else None)
    failback = _failback(log, episode, route)
    failed_back_at = None if failback is None or episode.lifted is None else episode.lifted + failback
    return msgspec.structs.replace(
        block,
        ttd_seconds=_first(within, "path_bad", t0),
        tts_seconds=_since(t0, (e["t"] for e in within if e["event"] == "message_sent" and e["route"] != route)),
        ttr_seconds=ttr,
        outage_seconds=_outage(log, t0, episode.ended),
        failback_seconds=failback,
        goodput_bytes_per_second=goodput if failed_back_at is None else _goodput(log, episode, t0, failed_back_at),
        recovered=ttr is not None,
        diagnosis=diagnosis_of(within, route, t0, observed_until),
        censored_at_seconds=None if ttr is not None else max(0.0, observed_until - t0),
        failback_censored_at_seconds=(
            None if episode.lifted is None or failback is not None else episode.horizon - episode.lifted
        ),
    )


def _is_of(hit: Event, addresses: frozenset[str]) -> bool:
    return hit.get("source_address") in addresses or hit.get("destination_address") in addresses


def _rule_bracket(within: Sequence[Event], rules: tuple[str, ...], start: float) -> tuple[float, float] | None:
    enforced = [event for event in within if event["event"] == "rule_enforced" and event["rule"] in rules]
    if not enforced:
        return None
    return min(e["before"] for e in enforced) - start, max(e["after"] for e in enforced) - start


def _route_in_use(log: Sequence[Event], t: float) -> str:
    """The route that messages took just before `t`: the one of the last switch, at first `direct`."""
    switches = [e["new"] for e in log if e["event"] in ("route_switched", "failed_back") and e["t"] < t]
    return str(switches[-1]) if switches else "direct"


def _since(start: float, moments: Iterable[float]) -> float | None:
    """Seconds from `start` to the first of the ordered `moments` that is not before it."""
    return next((moment - start for moment in moments if moment >= start), None)


def _first(within: Sequence[Event], name: str, start: float) -> float | None:
    return _since(start, (event["t"] for event in within if event["event"] == name))


def _recovery(log: Sequence[Event], t0: float, until: float, goodput: float | None) -> float | None:
    """t0 -> first ack, up to `until`, of a message queued after t0, if acks then go on for the hold time.

    `goodput`: the bytes per second of before, where they have to be back, too.
    """
    born = {e["id"] for e in log if e["event"] == "message_queued" and e["t"] >= t0}
    acks = [event for event in log if event["event"] == "message_acked" and event["t"] >= t0]
    moments = [float(event["t"]) for event in acks]
    last = min(until, float(log[-1]["t"]) - HOLD_SECONDS)
    back = None if goodput is None else _restored(log, t0, goodput)
    for index, moment in enumerate(moments):
        if moment > last:
            break
        end = bisect_left(moments, moment + HOLD_SECONDS, lo=index)
        if acks[index]["id"] in born and _sustained(moments[index:end]) and (back is None or index in back):
            return moment - t0
    return None


def _restored(log: Sequence[Event], t0: float, goodput: float) -> frozenset[int]:
    """Which acks after t0, by index, leave no shortfall of goodput, and none comes for the hold time."""
    sizes = {e["id"]: int(e["bytes"]) for e in log if e["event"] == "message_queued"}
    acks = [event for event in log if event["event"] == "message_acked"]
    latency = min((float(event["latency_seconds"]) for event in acks), default=0.0)
    carried = [(float(event["t"]), sizes.get(event["id"], 0)) for event in acks if event["t"] >= t0]
    return shortfall.restored(carried, t0=t0, hold_seconds=HOLD_SECONDS, goodput=goodput, latency_seconds=latency)


def _sustained(moments: Sequence[float]) -> bool:
    """Whether acks at `moments` (in order) go on for the hold time from the first of them."""
    return all(b - a <= HOLD_GAP_SECONDS for a, b in pairwise([*moments, moments[0] + HOLD_SECONDS]))


def _asked(log: Sequence[Event], episode: _Episode, before: float | None, t0: float) -> float:
    """Bytes per second of which most have to be back: the goodput of before, but no more than the user sent then.

    What had been queued until the first connection stood is delivered on top of that. In the block it is no matter how
    much is sent: a user whom nothing gets through for sends less. Where nothing was delivered before, what is sent.
    """
    if not before:
        return _offered(log, t0, episode.ended)
    first = next((float(e["t"]) for e in log if e["event"] == "message_queued"), t0)
    earlier_ends = [float(e["t"]) for e in log if e["event"] == "episode_ended" and e["t"] <= episode.started]
    begin = earlier_ends[-1] if earlier_ends else first
    return min(before, _offered(log, begin, t0)) or before


def _offered(log: Sequence[Event], start: float, end: float) -> float:
    """Payload bytes that the user sent per second."""
    sizes = [int(e["bytes"]) for e in log if e["event"] == "message_queued" and start <= e["t"] <= end]
    return sum(sizes) / (end - start) if end > start else 0.0


def _outage(log: Sequence[Event], t0: float, end: float) -> float | None:
    """The longest gap between unique deliveries; None if the longest had not ended when the episode did."""
    deliveries = [
        float(e["t"]) for e in log if e["event"] == "message_delivered" and t0 - OUTAGE_LEAD_SECONDS <= e["t"] <= end
    ]
    longest = max((later - earlier for earlier, later in pairwise(deliveries)), default=None)
    if longest is None or end - deliveries[-1] > longest:
        return None
    return longest


def _failback(log: Sequence[Event], episode: _Episode, route: str) -> float | None:
    """From the lifting to the first ack on `route` of a message that was sent there after it, and not as a copy."""
    if episode.lifted is None:
        return None
    sent: set[int] = set()
    for event in log:
        if not episode.lifted <= event["t"] <= episode.horizon or event.get("route") != route:
            continue
        if event["event"] == "message_sent" and not event.get("copy"):
            sent.add(event["id"])
        elif event["event"] == "message_acked" and event["id"] in sent:
            return float(event["t"]) - episode.lifted
    return None


def _goodput(log: Sequence[Event], episode: _Episode, t0: float, failed_back_at: float | None) -> Goodput:
    """Before: from the previous episode (or the first delivery) to t0; during: to the lifting; after: failed back.

    A client that was started in the middle of the block has no before.
    """
    deliveries = [(float(e["t"]), int(e["bytes"])) for e in log if e["event"] == "message_delivered"]
    earlier_ends = [float(e["t"]) for e in log if e["event"] == "episode_ended" and e["t"] <= episode.started]
    begin = earlier_ends[-1] if earlier_ends else deliveries[0][0] if deliveries else t0
    lifted = episode.ended if episode.lifted is None else episode.lifted

    def rate(start: float, end: float) -> float | None:
        if end - start < MINIMUM_WINDOW_SECONDS:
            return None
        return sum(size for t, size in deliveries if start <= t < end) / (end - start)

    after = None if failed_back_at is None else rate(failed_back_at, episode.horizon)
    before = rate(begin, t0) if deliveries and deliveries[0][0] < episode.started else None
    return Goodput(before=before, during=rate(t0, lifted), after=after)
