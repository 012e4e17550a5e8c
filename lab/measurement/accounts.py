"""Sans-IO: a run's accounts from its events: what became of the messages, what it cost, who else was hurt.

Events are dicts as in `events.jsonl` (docs/events.md), `t` in seconds since run start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from lab.measurement.distributions import percentile
from lab.measurement.episodes import Event, blocked_intervals

SLOWED_FACTOR = 2.0  # a bystander's flow is slowed when it takes this many times as long as its site's usual


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the queue to the end-to-end ack, of the messages that were acked."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages. `sent` counts what the user sent, not the copies."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated_transport: int = 0
    duplicated_application: int = 0
    reordered: int = 0
    queue_peak: int = 0
    latency: Latency = Latency()


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the fallback cost. `probe_bytes` comes from the captures: None without them."""

    probe_bytes: int | None = None
    connections_opened: int = 0
    proxies_revealed: int = 0
    false_switches: int = 0


class Collateral(msgspec.Struct, frozen=True, kw_only=True):
    """Bystanders' flows: started, failed, and those that took more than twice their site's usual time."""

    tried: int = 0
    broken: int = 0
    slowed: int = 0


def count_messages(events: Iterable[Event]) -> Messages:
    """The fate of every message. Lost: queued and not delivered when the run ended."""
    log = list(events)
    # Ids count from 1 in each session; a sender that was killed and had nothing left begins a new one.
    queued = {(e.get("session"), e["id"]) for e in log if e["event"] == "message_queued"}
    delivered = Counter((e.get("session"), e["id"]) for e in log if e["event"] == "message_delivered")
    kinds = Counter(event["event"] for event in log)
    latencies = [event["latency_seconds"] for event in log if event["event"] == "message_acked"]
    return Messages(
        sent=len(queued),
        delivered=len(delivered),
        lost=len(queued - delivered.keys()),
        duplicated_transport=kinds["message_duplicate"],
        duplicated_application=kinds["message_shown_twice"] + delivered.total() - len(delivered),
        reordered=sum(1 for e in log if e["event"] == "message_delivered" and e.get("reordered")),
        queue_peak=max((event["length"] for event in log if event["event"] == "queue_length"), default=0),
        latency=Latency(**{f"p{p}": percentile(latencies, p) for p in (50, 95, 99)}),
    )


def count_cost(events: Iterable[Event], *, probe_bytes: int | None = None) -> Cost:
    """Connections, proxies the censor could have seen, and switches away from a path that nobody blocked."""
    log = list(events)
    intervals = blocked_intervals(log)
    attempts = [e for e in log if e["event"] in ("route_dialed", "route_failed", "probe_started")]
    switches = [e for e in log if e["event"] == "route_switched" and e.get("old") is not None]
    return Cost(
        probe_bytes=probe_bytes,
        connections_opened=sum(1 for event in log if event["event"] == "route_dialed"),
        proxies_revealed=len({event["route"] for event in attempts} - {"direct"}),
        false_switches=sum(1 for e in switches if not any(a <= e["t"] <= b for _, a, b in intervals)),
    )


def count_collateral(events: Iterable[Event]) -> Collateral:
    """Bystanders' flows; a site's usual time is the median of its good flows outside of the blocks."""
    log = list(events)
    flows = [event for event in log if event["event"] == "bystander_flow"]
    intervals = blocked_intervals(log)
    usual: dict[str, list[float]] = {}
    for flow in flows:
        if flow["ok"] and not any(a <= flow["t"] <= b for _, a, b in intervals):
            usual.setdefault(flow["site"], []).append(flow["seconds"])
    return Collateral(
        tried=len(flows),
        broken=sum(1 for flow in flows if not flow["ok"]),
        slowed=sum(1 for flow in flows if flow["ok"] and _is_slow(flow, usual.get(flow["site"], []))),
    )


def _is_slow(flow: Event, usual: Sequence[float]) -> bool:
    return bool(usual) and flow["seconds"] > SLOWED_FACTOR * median(usual)
