"""The account of one run: its record, from all that was heard of one client and of the block. Sans-IO.

Events are dicts as in `events.jsonl` (docs/events.md), `t` in seconds since the round's start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

import msgspec

from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.records import ControlRecord, Cost, Lateness, Record, Verdict
from lab.benchmarks.fallback.records import Messages as MessageCounts
from lab.measurement.accounts import count_messages
from lab.measurement.diagnoses import diagnosis_of
from lab.measurement.episodes import Block, Event, measure_blocks
from lab.measurement.summary import to_microseconds

DIRECT = "direct"
LATENCY_SECONDS = 1.0
"""Before t0 and after the recovery: how long an ack takes is told from the messages of this time."""
LATENESS_LEAD_SECONDS = 0.2
"""A machine that stood still so shortly before t0 has moved what came after it, too."""


HEALTHY_ROUND_TRIPS = 4
HEALTHY_MARGIN_SECONDS = 0.05
"""The median of the last messages before the block is confirmed within so much: through a proxy it takes two."""
FIRST_PROXY = "proxy1"
QUEUE_LEFT = "queue_left"
"""The bench's own event of a client that was stopped with messages in its queue; count: how many."""


def complete(
    record: Record,
    events: Sequence[Event],
    addresses: Sequence[str],
    *,
    wire_bytes: int | None,
    lab_late: Sequence[Event],
) -> Record:
    """The record of a run, begun with what was known before it, with all that the events say.

    `events`: the client's, the receiver's and origin's of its messages, the lab's and the censor's of the block, the
    hits that count. `addresses`: the client's. `lab_late`: the events `timer_late` of the lab's own process.
    """
    log = sorted(events, key=lambda event: float(event["t"]))
    (block,) = measure_blocks(log, addresses)
    back = _recovered_at(block)
    route_before = None if block.t0 is None else _route_at(log, block.t0)
    latency_before = None if block.t0 is None else _latency(log, block.t0 - LATENCY_SECONDS, block.t0)
    not_hit = None if block.t0 is not None else "the block did not hit this client"
    found = msgspec.structs.replace(
        record,
        t0=block.t0,
        ttd_seconds=block.ttd_seconds,
        tts_seconds=block.tts_seconds,
        ttr_seconds=block.ttr_seconds,
        censored_at_seconds=block.censored_at_seconds,
        outage_seconds=block.outage_seconds,
        route_before=route_before,
        route_after=None if back is None else _acked_by(log, back),
        latency_before_seconds=latency_before,
        latency_after_seconds=None if back is None else _latency(log, back, back + LATENCY_SECONDS),
        messages=_messages(log),
        cost=_cost(log, block, wire_bytes),
        diagnosis=_diagnosis(log, block, _blocked_route(record, route_before)),
        lateness_ms=_lateness(log, lab_late, block),
        problem=record.problem or not_hit or _unwell(record, route_before, latency_before),
    )
    return msgspec.convert(to_microseconds(msgspec.to_builtins(found)), Record)


def complete_quiet(record: ControlRecord, events: Sequence[Event], lab_late: Sequence[Event]) -> ControlRecord:
    """The record of a run without a block, begun with what was known before, with all that the events say."""
    log = sorted(events, key=lambda event: float(event["t"]))
    kinds = Counter(event["event"] for event in log)
    late = [float(e["seconds"]) for e in [*log, *lab_late] if e["event"] == "timer_late"]
    return msgspec.structs.replace(
        record,
        false_switches=sum(1 for e in log if e["event"] == "route_switched" and e.get("old") is not None),
        path_bad=kinds["path_bad"],
        connections_opened=kinds["route_dialed"],
        proxies_revealed=len(_proxies_dialed(log)),
        messages=_messages(log),
        lateness_ms=round(1000 * max(late, default=0.0), 1),
    )


def _unwell(record: Record, route_before: str | None, latency_before: float | None) -> str | None:
    """What says that a client was not well before the block: a queue that stood then would be part of its times.

    A client that is to be on a proxy and has none by itself is as it is.
    """
    limit = HEALTHY_ROUND_TRIPS * record.rtt_ms / 1000 + HEALTHY_MARGIN_SECONDS
    if not record.warm or record.killed or (BLOCKS[record.block].aim != "direct" and route_before == DIRECT):
        return None
    if latency_before is None or latency_before > limit:
        said = "no message" if latency_before is None else f"messages after {latency_before:.2f} s"
        return f"not well before the block: {said} confirmed"
    return None


def _messages(log: Sequence[Event]) -> MessageCounts:
    counted = count_messages(log)
    left = sum(e["count"] for e in log if e["event"] == QUEUE_LEFT)
    return MessageCounts(
        sent=counted.sent,
        delivered=counted.delivered,
        lost=max(0, counted.lost - left),
        pending=left,
        duplicated_application=counted.duplicated_application,
        duplicated_transport=counted.duplicated_transport,
    )


def _proxies_dialed(log: Sequence[Event], until: float = float("inf")) -> set[str]:
    attempts = [e for e in log if e["event"] in ("route_dialed", "route_failed", "probe_started")]
    return {e["route"] for e in attempts if e["route"] != DIRECT and e["t"] <= until}


def _recovered_at(block: Block) -> float | None:
    return None if block.t0 is None or block.ttr_seconds is None else block.t0 + block.ttr_seconds


def _route_at(log: Sequence[Event], t: float) -> str:
    switches = [e["new"] for e in log if e["event"] in ("route_switched", "failed_back") and e["t"] <= t]
    return str(switches[-1]) if switches else DIRECT


def _acked_by(log: Sequence[Event], t: float) -> str | None:
    """The route of the ack that shows the recovery: it may be a copy's, before the policy has switched."""
    return next((str(e["route"]) for e in log if e["event"] == "message_acked" and e["t"] >= t - 1e-6), None)


def _latency(log: Sequence[Event], start: float, end: float) -> float | None:
    """The median of queue -> ack of the messages queued and acknowledged between `start` and `end`; None of none."""
    acks = [(float(e["t"]), float(e["latency_seconds"])) for e in log if e["event"] == "message_acked"]
    values = [latency for t, latency in acks if t - latency >= start and t <= end]
    return median(values) if values else None


def _cost(log: Sequence[Event], block: Block, wire_bytes: int | None) -> Cost:
    started = next(float(e["t"]) for e in log if e["event"] == "episode_started")
    switches = [e for e in log if e["event"] == "route_switched" and e["t"] < started and e["old"] == DIRECT]
    until = started if block.t0 is None else block.t0
    return Cost(
        wire_bytes=wire_bytes,
        connections_opened=sum(e["event"] == "route_dialed" for e in log),
        proxies_revealed_before=len(_proxies_dialed(log, until)),
        proxies_revealed=len(_proxies_dialed(log)),
        false_switches=len(switches),
    )


def _diagnosis(log: Sequence[Event], block: Block, route: str | None) -> Verdict:
    """The last opinion on the route that was hit, before the block was lifted."""
    if block.t0 is None:
        return Verdict()
    end = next((float(e["t"]) for e in log if e["event"] == "unblocked"), float("inf"))
    told = diagnosis_of(log, route or DIRECT, block.t0, end)
    return (
        Verdict()
        if told is None
        else Verdict(kind=told.kind, confidence=told.confidence, seconds=round(told.seconds, 6))
    )


def _blocked_route(record: Record, route_before: str | None) -> str | None:
    """What the truth is about. Where proxies were blocked before the client began, that is the first of the list."""
    return FIRST_PROXY if BLOCKS[record.block].aim != "direct" and not record.warm else route_before


def _lateness(log: Sequence[Event], lab_late: Sequence[Event], block: Block) -> Lateness:
    """From shortly before t0 to the recovery, or all in all where there is none."""
    start = 0.0 if block.t0 is None else block.t0 - LATENESS_LEAD_SECONDS
    end = _recovered_at(block) or float("inf")

    def worst(events: Sequence[Event]) -> float:
        late = [float(e["seconds"]) for e in events if e["event"] == "timer_late" and start <= e["t"] <= end]
        return round(1000 * max(late, default=0.0), 1)

    return Lateness(client=worst(log), lab=worst(lab_late))
