from __future__ import annotations

import pytest

from client.diagnosis.histories import TRACES, History, patience
from client.diagnosis.trace import Trace
from client.policies import RouteFacts


def history(*, proxied: bool = False) -> History:
    return History(RouteFacts("direct", proxied=proxied))


def test_a_slow_dial_is_no_certain_symptom_until_another_comes() -> None:
    made = history()
    assert not made.certain
    made.symptom("dial_slow", 1.0)
    assert not made.certain
    made.symptom("reset", 2.0)
    assert made.certain
    made.symptom("eof", 3.0)
    assert (made.since, made.reason) == (1.0, "reset")


def test_traces_are_kept_once_and_not_for_ever() -> None:
    made = history()
    for number in range(TRACES + 3):
        trace = Trace(number, "direct", 0.0)
        made.concern(trace)
        made.concern(trace)
    assert [trace.number for trace in made.traces] == list(range(3, TRACES + 3))


def test_the_least_round_trip_and_the_best_rate_are_kept() -> None:
    made = history()
    made.measured(0.05, 500, 0.5)
    made.measured(0.04, 1500, 1.0)
    made.measured(0.06, 1000, 2.5)
    assert (made.base, made.best_rate) == (0.04, 2000.0)


@pytest.mark.parametrize(("proxied", "base"), [(False, 0.03), (True, None)])
def test_a_tcp_handshake_is_a_round_trip_to_the_first_hop(proxied: bool, base: float | None) -> None:
    made = history(proxied=proxied)
    for stage, seconds in (("dns", 0.001), ("tcp", 0.04), ("tcp", 0.03), ("tls", 0.01)):
        made.stage_took(stage, seconds)
    assert (made.hop, made.base) == (0.03, base)


def test_a_route_is_well_when_a_connection_has_answered_for_five_seconds() -> None:
    made = history()
    trace = Trace(1, "direct", 0.0)
    trace.established(1.0)
    trace.pinged(1, 1.0)
    trace.pong(1, 6.0)
    made.symptom("reset", 0.5)
    made.concern(trace)
    assert made.healed(6.0, by_data=False)
    assert not made.healed(6.0, by_data=True)
    trace.answered = 1
    assert made.healed(6.0, by_data=True)
    made.since = 1.5
    assert not made.healed(6.0, by_data=False), "less than five seconds since the trouble"
    made.since = 0.5
    trace.over(6.0)
    assert not made.healed(6.0, by_data=False)
    made.forget()
    assert not made.certain
    assert not made.traces


def carried(at: float, count: int) -> Trace:
    trace = Trace(1, "direct", at)
    trace.established(at)
    for number in range(count):
        trace.sent(number, 1000, at)
        trace.answer(number, at + 0.04, base=0.04, best_rate=0.0)
    trace.over(at + 0.5)
    return trace


def test_two_connections_in_a_row_that_carried_enough_are_as_good() -> None:
    made = history()
    made.symptom("reset", 0.5)
    made.concern(carried(1.0, 24))
    assert not made.healed(2.0, by_data=True)
    made.concern(carried(2.0, 23))
    assert not made.healed(3.0, by_data=True)
    made.concern(carried(4.0, 24))
    made.concern(carried(6.0, 24))
    assert made.healed(7.0, by_data=True)
    made.since = 5.0
    assert not made.healed(7.0, by_data=True)


def test_patience() -> None:
    assert patience("tcp", 0.1, certain=True) == pytest.approx(0.6)
    assert patience("", 0.1, certain=False) == pytest.approx(1.6)
    assert patience("dns", 0.1, certain=True) == patience("dns", 9.0, certain=False) == 2.3
