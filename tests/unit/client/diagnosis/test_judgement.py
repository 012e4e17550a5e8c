"""One route's history by hand: which of two signs counts, and how surely."""

from __future__ import annotations

from typing import Any

import pytest

from client.diagnosis.histories import History, Opinion
from client.diagnosis.judgement import failing, judge
from client.diagnosis.trace import Trace
from client.policies import RouteFacts

ROUND_TRIP = 0.04
TIMEOUT = "generic_timeout_error"


def history(reason: str, *traces: Trace, since: float = 10.0, proxied: bool = False) -> History:
    made = History(RouteFacts("proxy1" if proxied else "direct", proxied=proxied), since=since, reason=reason)
    for trace in traces:
        made.concern(trace)
    return made


def dial(at: float, stage: str, seconds: float | None = None, failure: str | None = None) -> Trace:
    """`seconds`: after which it failed or was given up; None: it goes on."""
    over = None if seconds is None else at + seconds
    return Trace(1, "direct", at, stage=stage, stage_at=at, over_at=over, failure=failure)


def flow(at: float, *, answered: int = 0, owed_at: float | None = None, **fields: Any) -> Trace:
    """A connection that carried so many messages of 1000 bytes; `owed_at`: when it was sent one that has no answer."""
    made = Trace(1, "direct", at, stage_at=at)
    made.established(at)
    for number in range(answered):
        made.sent(number, 1000, at)
        made.answer(number, at + ROUND_TRIP, base=None, best_rate=0.0)
    if owed_at is not None:
        made.sent(answered, 1000, owed_at)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def opinion(made: History, now: float) -> Opinion | None:
    return judge(made, now, round_trip=ROUND_TRIP, hop=ROUND_TRIP)


def test_one_slow_dial_waits_for_a_second_or_for_time() -> None:
    made = history("dial_slow", dial(10.0, "tcp"))
    assert failing(made, 10.5, ROUND_TRIP) == []
    assert len(failing(made, 11.5, ROUND_TRIP)) == 1
    made.concern(dial(10.1, "tcp"))
    assert len(failing(made, 10.6, ROUND_TRIP)) == 2


def test_a_slow_dial_does_not_overrule_one_that_failed() -> None:
    made = history("reset", dial(10.0, "tls", 0.01, "connection_reset"), dial(11.0, "tcp"))
    assert opinion(made, 13.5) == Opinion("sni_reset", 0.9)
    made.concern(dial(14.0, "tcp"))
    assert opinion(made, 15.0) == Opinion("address_drop", 0.9)


def test_a_dial_that_may_have_been_an_accident_is_forgotten_when_another_carries() -> None:
    made = history("ack_overdue", flow(0.0, answered=100, owed_at=9.0, over_at=10.0), dial(10.0, "tcp", 1.0))
    assert opinion(made, 11.0) == Opinion("address_drop", 0.6)
    made.concern(flow(11.2, answered=24))
    assert opinion(made, 12.0) == Opinion("flow_drop", 0.9)


def test_dials_that_failed_count_until_the_route_is_well_again() -> None:
    made = history("ack_overdue", dial(10.0, "tcp", 3.5, TIMEOUT))
    made.opinion = opinion(made, 13.5)
    made.concern(flow(14.0, answered=30))
    assert opinion(made, 16.0) == Opinion("address_drop", 0.9)


def test_a_handshake_that_falls_silent_where_others_passed_is_no_sni_block() -> None:
    made = history("ack_overdue", dial(10.0, "tls", 3.0))
    assert opinion(made, 13.0) == Opinion("sni_drop", 0.8)
    made.concern(flow(14.0, over_at=14.2, passed=("tls", "upgrade")))
    made.concern(dial(15.0, "tls", 3.0))
    assert opinion(made, 18.0) == Opinion("flow_drop", 0.8)


@pytest.mark.parametrize(("carried", "confidence"), [(1, 0.6), (23, 0.6), (24, 0.9)])
def test_new_connections_that_carry_leave_the_old_one_to_blame(carried: int, confidence: float) -> None:
    made = history("ack_overdue", flow(0.0, answered=100, owed_at=9.0, over_at=10.0), flow(10.5, answered=carried))
    assert opinion(made, 12.0) == Opinion("flow_drop", confidence)


@pytest.mark.parametrize(("over_at", "kind"), [(None, "flow_drop"), (11.39, "frozen"), (11.2, "flow_drop")])
def test_a_new_connection_that_the_policy_found_silent_froze_a_little_sooner(over_at: float | None, kind: str) -> None:
    """It counts from when the oldest unanswered message went out, which may be a round trip before the last answer."""
    made = history("ack_overdue", flow(0.0, answered=100, owed_at=9.0, over_at=10.0))
    made.concern(flow(10.5, answered=10, owed_at=11.0, over_at=over_at))
    assert opinion(made, 11.4) == Opinion(kind, 0.6)


def test_new_connections_that_carry_after_an_orderly_end_are_all_well() -> None:
    made = history("eof", flow(0.0, answered=9, over_at=10.0, failure="eof_error"), flow(10.5, answered=30))
    assert opinion(made, 12.0) is None
    assert opinion(history("eof"), 12.0) is None


@pytest.mark.parametrize(("carried", "confidence"), [(0, 0.6), (30, 0.8)])
def test_a_reset_alone(carried: int, confidence: float) -> None:
    made = history("reset", flow(0.0, answered=9, over_at=10.0, failure="connection_reset"))
    made.concern(flow(10.5, answered=carried))
    assert opinion(made, 12.0) == Opinion("reset", confidence)


def test_the_policys_word_that_a_path_is_slow_is_a_guess_after_a_while() -> None:
    made = history("slow")
    assert opinion(made, 11.0) is None
    assert opinion(made, 12.0) == Opinion("throttled", 0.4)


@pytest.mark.parametrize(
    ("spans", "confidence"), [([0.9], 0.6), ([1.5], 0.8), ([0.9, 0.9], 0.9)], ids=["short", "long", "twice"]
)
def test_a_slow_path(spans: list[float], confidence: float) -> None:
    made = history("slow", *(flow(float(n), slow_seconds=span) for n, span in enumerate(spans)))
    assert opinion(made, 12.0) == Opinion("throttled", confidence)


def test_a_slow_dial_on_a_path_that_trickles_is_no_other_block() -> None:
    made = history("slow", flow(0.0, slow_seconds=0.9), dial(10.5, "tls"))
    assert opinion(made, 12.0) == Opinion("throttled", 0.6)
    made.concern(dial(12.0, "tls", 0.01, "connection_reset"))
    assert opinion(made, 12.1) == Opinion("sni_reset", 0.9)


def test_a_silence_of_a_young_connection_is_a_guess_at_a_freeze_and_of_an_old_one_at_an_address_block() -> None:
    young = history("ack_overdue", flow(0.0, answered=9, owed_at=9.0, over_at=10.0))
    old = history("ack_overdue", flow(0.0, answered=100, owed_at=9.0, over_at=10.0))
    assert opinion(young, 11.0) is None
    assert opinion(young, 12.0) == Opinion("frozen", 0.4)
    assert opinion(old, 12.0) == Opinion("address_drop", 0.4)


@pytest.mark.parametrize(
    ("flows", "now", "kind", "confidence"),
    [
        ([flow(10.5, answered=9, owed_at=10.7)], 11.5, "frozen", 0.6),
        ([flow(10.5, answered=9, owed_at=10.7)], 12.5, "frozen", 0.8),
        ([flow(10.5, answered=9, owed_at=10.7), flow(12.5, answered=10, owed_at=12.7)], 13.5, "frozen", 0.9),
        ([flow(10.5, answered=9, owed_at=10.7), flow(12.5, answered=90, owed_at=12.7)], 13.5, "flow_drop", 0.6),
        ([flow(10.5, owed_at=10.7, ponged=1)], 11.5, "data_drop", 0.6),
        ([flow(10.5, owed_at=10.7)], 11.5, "flow_drop", 0.6),
        ([flow(10.5, owed_at=10.7), flow(12.5, owed_at=12.7, ponged=1)], 13.5, "flow_drop", 0.6),
    ],
)
def test_new_connections_that_fall_silent(flows: list[Trace], now: float, kind: str, confidence: float) -> None:
    assert opinion(history("ack_overdue", *flows), now) == Opinion(kind, confidence)


@pytest.mark.parametrize(("alive", "kind"), [(True, "proxy_upstream_dead"), (False, "proxy_dead")])
def test_tcp_tells_a_silent_proxy_from_what_is_behind_it(alive: bool, kind: str) -> None:
    old = history("ack_overdue", flow(0.0, owed_at=9.0, over_at=10.0, transport_alive=alive), proxied=True)
    assert opinion(old, 10.0) == Opinion(kind, 0.8)
    new = history("ack_overdue", flow(10.5, owed_at=10.7, transport_alive=alive), proxied=True)
    assert opinion(new, 11.5) == Opinion(kind, 0.6)


def test_a_silent_proxy_without_more_is_a_guess() -> None:
    assert opinion(history("ack_overdue", flow(0.0, owed_at=9.0), proxied=True), 12.0) == Opinion("proxy_dead", 0.4)
