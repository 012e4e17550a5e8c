"""What is asked, and what made-up runs show of it."""

from __future__ import annotations

from typing import Any

import pytest

from lab.benchmarks.fallback.arms import NO_SPARE
from lab.benchmarks.fallback.goals import Outcome, bound_seconds, outcomes
from lab.benchmarks.fallback.records import Cost, Messages, Record, Verdict
from lab.benchmarks.fallback.results import Results
from tests.unit.lab.benchmarks.fallback.made_up import censored, record, recovered

OURS = [0.36, 0.38, 0.39, 0.40, 0.41, 0.44]
CONTROL = {"client_hours": 3.2, "false_switches": 0, "bytes_ratio": 1.05, "standby_connections": 1, "policies": {}}


def found(runs: list[Record], goal: str, **fields: Any) -> list[Outcome]:
    return [outcome for outcome in outcomes(Results(runs, **fields)) if outcome.goal.startswith(goal)]


def held(runs: list[Record], goal: str, **fields: Any) -> list[bool | None]:
    return [outcome.held for outcome in found(runs, goal, **fields)]


def test_silent_and_warm_five_times_as_fast() -> None:
    assert held([*recovered(OURS), *recovered([2.0] * 6, policy="outline")], "p50 of ttr: times") == [True]
    (slow,) = found([*recovered(OURS), *recovered([1.9] * 6, policy="outline")], "p50 of ttr: times")
    assert (slow.held, slow.where) == (False, "syn-drop, warm, 40 ms, 0 %")
    assert slow.measured.startswith("4.87 (")
    assert slow.measured.endswith(", outline")
    (never,) = found([*recovered(OURS), *censored(6, 60.0, policy="outline")], "p50 of ttr: times")
    assert (never.held, never.measured[:6]) == (True, ">= 153")
    assert never.measured.endswith("no baseline recovered")
    (ours,) = found([*censored(6, 60.0), *recovered([1.9] * 6, policy="outline")], "p50 of ttr: times")
    assert (ours.held, ours.measured) == (None, "not recovered in the time watched")


def test_signalled_or_cold_never_slower_as_far_as_chance_goes() -> None:
    near = [0.37, 0.38, 0.385, 0.39, 0.40, 0.42]
    for fields in ({"block": "rst"}, {"block": "syn-drop", "warm": False}):
        assert held([*recovered(OURS, **fields), *recovered(near, policy="signal", **fields)], "never slower") == [True]
        slower = [*recovered(OURS, **fields), *recovered([0.1] * 6, policy="signal", **fields)]
        assert held(slower, "never slower") == [False]
    few = [*recovered([0.4], "rst"), *recovered([0.3], "rst", "signal")]
    assert held(few, "never slower") == [False]
    assert held([*censored(2, 9.0, "rst"), *recovered([0.3] * 2, "rst", "signal")], "never slower") == [None]


def test_recovers_wherever_a_baseline_does() -> None:
    able = recovered([1.9] * 6, policy="outline")
    assert held([*recovered(OURS), *able], "recovers") == [True]
    assert held([*recovered(OURS), *censored(1, 60.0), *able], "recovers") == [False]
    assert held([*censored(6, 60.0), *censored(6, 60.0, policy="outline")], "recovers") == [True]


def test_p95_within_two_seconds_where_it_may_be_said() -> None:
    assert held(recovered([0.4] * 59), "p95") == [True]
    assert held(recovered([0.4] * 50 + [2.5] * 9), "p95") == [False]
    assert held(recovered([0.4] * 58), "p95") == [None]
    assert held(recovered([0.4] * 20) + censored(1, 15.0), "p95") == [False]
    for fields in ({"block": "rst"}, {"warm": False}, {"rtt_ms": 200}, {"policy": "outline"}, {"killed": True}):
        assert held(recovered([0.4] * 59, **fields), "p95") == []


def test_signalled_within_the_bound_and_50_ms() -> None:
    assert bound_seconds("rst", 0.04) == pytest.approx(0.12)
    assert bound_seconds("proxies", 0.04) == pytest.approx(0.16)
    assert held(recovered([0.16] * 6, "rst"), "p50 of ttr: 1 RTT") == [True]
    assert held(recovered([0.18] * 6, "rst"), "p50 of ttr: 1 RTT") == [False]
    assert held(recovered([0.62] * 6, "rst", rtt_ms=200), "p50 of ttr: 1 RTT") == [True]
    assert held(censored(6, 15.0, "rst"), "p50 of ttr: 1 RTT") == [False]
    assert held([record("rst", problem="not hit")], "p50 of ttr: 1 RTT") == [None]
    assert held(recovered([0.1] * 6), "p50 of ttr: 1 RTT") == []


def test_messages_none_lost_none_twice() -> None:
    many = record(messages=Messages(sent=100_000, delivered=100_000), killed=True)
    assert held([many], "messages") == [True]
    assert "1 of them with SIGKILL" in found([many], "messages")[0].where
    assert held([record()], "messages") == [None]
    assert (held([record()], "lost"), held([record()], "shown twice")) == ([True], [True])
    bad = record(messages=Messages(sent=10, delivered=9, lost=1, duplicated_application=1))
    assert (held([bad], "lost"), held([bad], "shown twice")) == ([False], [False])


def test_diagnosis_right_in_95_of_100_runs() -> None:
    wrong = record(diagnosis=Verdict(kind="reset"))
    assert held([record()] * 19 + [wrong], "diagnosis") == [True]
    (outcome,) = found([record()] * 18 + [wrong], "diagnosis")
    assert (outcome.held, outcome.measured) == (False, "94.7% (18 of 19)")
    assert held([record(policy="outline")], "diagnosis") == [None]


def test_proxies_revealed_before_a_block() -> None:
    one, two, none = (Cost(proxies_revealed_before=number) for number in (1, 2, 0))
    assert held([record(cost=one), record(policy=NO_SPARE, cost=none)], "proxies revealed") == [True, True]
    assert held([record(cost=two), record(policy=NO_SPARE, cost=one)], "proxies revealed") == [False, False]
    # Where the direct path was blocked before, proxies are in use already; cold, nothing is before.
    assert held([record("proxies", cost=two), record(warm=False, cost=two)], "proxies revealed") == [None, None]


def test_what_is_done_for_nothing() -> None:
    goals = ("false switches", "bytes", "standby")
    assert [held([], goal, control=CONTROL) for goal in goals] == [[True]] * 3
    bad = CONTROL | {"false_switches": 1, "bytes_ratio": 1.2, "standby_connections": 2}
    assert [held([], goal, control=bad) for goal in goals] == [[False]] * 3
    short = CONTROL | {"client_hours": 1.0, "bytes_ratio": None, "standby_connections": None}
    assert [held([], goal, control=short) for goal in goals] == [[None]] * 3
    assert held([], "false switches", control=short | {"false_switches": 1}) == [False]
    assert held([], "false switches") == []
