"""The record of a run, out of events whose times are known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lab.benchmarks.fallback import account
from lab.benchmarks.fallback.account import complete, complete_quiet
from lab.benchmarks.fallback.records import Record, Verdict
from tests.unit.lab.benchmarks.fallback.made_up import quiet

CLIENT = "192.0.2.101"


def begun(**fields: Any) -> Record:
    return Record(
        block="syn-drop", policy="sidedoor", rtt_ms=40, loss=0.0, warm=True, seed=1, round=1, client="client1", **fields
    )


def event(t: float, source: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"t": round(t, 6), "source": source, "event": name} | fields


def story(*, hit: bool = True, recovers: bool = True) -> list[dict[str, Any]]:
    """Blocked at 3.0 s, on proxy1 0.3 s later, watched for 4 s more; a message every 50 ms, an ack 40 ms (80) later."""
    events = [
        event(0.1, "client1", "route_dialed", route="direct", connection=1),
        event(0.3, "client1", "route_dialed", route="proxy1", connection=2),
        event(2.99, "lab", "episode_started", block="syn-drop", rules=["addresses"], recovery="acks"),
        event(7.0, "lab", "unblocked", block="syn-drop"),
        event(7.0, "lab", "episode_ended", block="syn-drop"),
    ]
    if hit:
        events.append(event(3.0, "censor", "censor_hit", rule="addresses", source_address=CLIENT))
    if recovers:
        events += [
            event(3.29, "client1", "path_bad", route="direct", reason="ack_overdue"),
            event(3.30, "client1", "route_switched", old="direct", new="proxy1"),
            event(3.35, "client1", "route_failed", route="proxy2", stage="tcp", failure="generic_timeout_error"),
        ]
    for id_ in range(1, 130):
        queued = 0.5 + 0.05 * id_
        events.append(event(queued, "client1", "message_queued", id=id_, bytes=1000))
        blocked = queued > 2.95
        if blocked and not recovers:
            continue
        sent = max(queued, 3.3) if blocked else queued
        route, rtt = ("proxy1", 0.08) if blocked else ("direct", 0.04)
        events.append(event(sent, "client1", "message_sent", id=id_, route=route, attempt=1, connection=1))
        delivered = {"id": id_, "bytes": 1000, "sender": "client1", "reordered": False}
        events.append(event(sent + rtt / 2, "receiver", "message_delivered", **delivered))
        latency = sent + rtt - queued
        events.append(event(sent + rtt, "client1", "message_acked", id=id_, route=route, latency_seconds=latency))
    return events


def test_a_run_that_recovered() -> None:
    lab = [event(3.2, "lab", "timer_late", seconds=0.0301), event(6.0, "lab", "timer_late", seconds=0.4)]
    late = [event(2.9, "client1", "timer_late", seconds=0.012), event(1.0, "client1", "timer_late", seconds=0.3)]
    found = complete(begun(), story() + late, [CLIENT], wire_bytes=777, lab_late=lab)
    assert (found.t0, found.problem, found.censored_at_seconds) == (3.0, None, None)
    assert (found.ttd_seconds, found.tts_seconds) == (0.29, 0.3)
    assert found.ttr_seconds == pytest.approx(0.38)
    assert found.outage_seconds == pytest.approx(0.37)
    assert (found.route_before, found.route_after) == ("direct", "proxy1")
    assert (found.latency_before_seconds, found.latency_after_seconds) == (0.04, 0.08)
    assert (found.messages.sent, found.messages.delivered, found.messages.lost) == (129, 129, 0)
    # Shortly before t0 and until the recovery, not earlier, not later.
    assert (found.lateness_ms.client, found.lateness_ms.lab) == (12.0, 30.1)
    assert (found.cost.wire_bytes, found.cost.connections_opened, found.cost.false_switches) == (777, 2, 0)
    assert (found.cost.proxies_revealed_before, found.cost.proxies_revealed) == (1, 2)


def test_a_run_that_did_not() -> None:
    late = [event(6.9, "client1", "timer_late", seconds=0.07)]
    found = complete(begun(), story(recovers=False) + late, [CLIENT], wire_bytes=None, lab_late=[])
    assert (found.ttr_seconds, found.censored_at_seconds) == (None, 4.0)
    assert (found.route_after, found.latency_after_seconds) == (None, None)
    assert found.messages.lost == found.messages.sent - found.messages.delivered > 0
    assert found.lateness_ms.client == 70.0


def test_a_client_that_was_not_hit_does_not_count() -> None:
    found = complete(begun(), story(hit=False), [CLIENT], wire_bytes=None, lab_late=[])
    assert (found.t0, found.problem) == (None, "the block did not hit this client")
    assert (found.route_before, found.latency_before_seconds, found.diagnosis) == (None, None, Verdict())
    assert found.cost.proxies_revealed_before == 1
    kept = complete(begun(problem="it died"), story(hit=False), [CLIENT], wire_bytes=None, lab_late=[])
    assert kept.problem == "it died"


def test_the_last_opinion_on_the_route_that_was_hit_counts_while_the_block_stands() -> None:
    said = [
        event(2.0, "client1", "diagnosed", route="direct", kind="throttled", confidence=0.5),
        event(3.4, "client1", "diagnosed", route="direct", kind="address_drop", confidence=0.6),
        event(3.5, "client1", "diagnosed", route="proxy1", kind="proxy_dead", confidence=0.9),
        event(3.6, "client1", "diagnosed", route="direct", kind="flow_drop", confidence=0.6),
        event(4.4, "client1", "diagnosed", route="direct", kind="address_drop", confidence=0.9),
        event(7.5, "client1", "diagnosed", route="direct", kind="none", confidence=0.9),
    ]
    found = complete(begun(), story() + said, [CLIENT], wire_bytes=None, lab_late=[])
    assert found.diagnosis == Verdict(kind="address_drop", confidence=0.9, seconds=1.4)
    assert complete(begun(), story(), [CLIENT], wire_bytes=None, lab_late=[]).diagnosis == Verdict()


def test_a_copy_may_show_the_recovery_before_the_switch() -> None:
    events = [e for e in story() if e["event"] not in ("route_switched", "path_bad")]
    found = complete(begun(), events, [CLIENT], wire_bytes=None, lab_late=[])
    assert (found.route_before, found.route_after) == ("direct", "proxy1")


def test_a_switch_before_the_block_was_false() -> None:
    early = [
        event(1.0, "client1", "route_switched", old="direct", new="proxy1"),
        event(2.0, "client1", "failed_back", old="proxy1", new="direct"),
    ]
    found = complete(begun(), story() + early, [CLIENT], wire_bytes=None, lab_late=[])
    assert found.cost.false_switches == 1
    assert found.route_before == "direct"


def test_no_ack_shortly_before_is_no_latency() -> None:
    events = [e for e in story() if e["event"] != "message_acked" or e["t"] > 3.0]
    assert complete(begun(), events, [CLIENT], wire_bytes=None, lab_late=[]).latency_before_seconds is None


def test_a_quiet_run_counts_what_was_done_for_nothing() -> None:
    events = [e for e in story() if e["source"] in ("client1", "receiver")]
    events.append(event(5.0, "client1", "timer_late", seconds=0.02))
    found = complete_quiet(quiet(), events, [event(6.0, "lab", "timer_late", seconds=0.03)])
    assert (found.false_switches, found.path_bad, found.connections_opened, found.proxies_revealed) == (1, 1, 2, 2)
    assert (found.messages.sent, found.lateness_ms) == (129, 30.0)
    assert complete_quiet(quiet(), [], []).lateness_ms == 0.0


def test_what_is_left_in_the_queue_is_not_lost() -> None:
    log = [event(t, "client1", "message_queued", id=t, bytes=1) for t in (1, 2, 3)]
    log += [event(4.0, "receiver", "message_delivered", id=1, bytes=1)]
    left = event(5.0, "client1", account.QUEUE_LEFT, count=1)
    counted = [account._messages([*log, *more]) for more in ([], [left])]
    assert [(found.lost, found.pending) for found in counted] == [(2, 0), (1, 1)]


@pytest.mark.parametrize(
    ("fields", "route", "latency", "well"),
    [
        ({"warm": True}, "direct", 0.2, True),
        ({"warm": True}, "direct", 0.22, False),
        ({"warm": True}, "direct", None, False),
        ({"warm": False}, None, None, True),
        ({"warm": True, "killed": True}, "direct", None, True),
        ({"warm": True, "block": "proxies"}, "direct", None, True),
        ({"warm": True, "block": "proxies"}, "proxy1", None, False),
    ],
)
def test_a_queue_that_stood_before_the_block_is_no_part_of_its_times(
    fields: dict[str, Any], route: str | None, latency: float | None, well: bool
) -> None:
    record = msgspec.structs.replace(begun(), **fields)
    assert (account._unwell(record, route, latency) is None) == well


def test_the_diagnosis_is_of_what_was_blocked() -> None:
    assert account._blocked_route(begun(), "direct") == "direct"
    proxies = msgspec.structs.replace(begun(), block="proxies")
    assert account._blocked_route(proxies, "proxy2") == "proxy2"
    assert account._blocked_route(msgspec.structs.replace(proxies, warm=False), "direct") == account.FIRST_PROXY
