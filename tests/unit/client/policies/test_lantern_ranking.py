from __future__ import annotations

import pytest

from client.policies.lantern_ranking import Demotion, LanternSettings, Ranking


def ranking(**delays: float) -> Ranking:
    made = Ranking(list(delays), LanternSettings())
    for route, delay in delays.items():
        if delay:
            made.probed(route, delay)
    return made


def fail(made: Ranking, route: str, *times: float) -> None:
    for time in times:
        assert made.user_failed(route, time)


# -- the user's failures: soft at 2, hard at 3 in 5 min


def test_soft_demotion_at_two_and_hard_at_three_failures() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    found = [made.demotion("direct", 0.0)]
    for time in (0.0, 60.0, 120.0):
        fail(made, "direct", time)
        found.append(made.demotion("direct", time))
    assert found == [Demotion.CLEAN, Demotion.CLEAN, Demotion.SOFT, Demotion.HARD]


def test_failures_are_forgotten_after_five_minutes() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    fail(made, "direct", 0.0, 60.0, 120.0)
    assert made.demotion("direct", 299.9) == Demotion.HARD
    assert made.demotion("direct", 300.0) == Demotion.SOFT
    assert made.demotion("direct", 360.0) == Demotion.CLEAN
    fail(made, "direct", 400.0)
    assert made.histories["direct"].user_failures == [120.0, 400.0], "the old ones are not kept"


def test_a_burst_is_one_failure() -> None:
    made = ranking(direct=0.2)
    fail(made, "direct", 0.0)
    assert not made.user_failed("direct", 29.9)
    fail(made, "direct", 30.0)


def test_a_good_probe_never_clears_user_failures() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    fail(made, "direct", 0.0, 60.0, 120.0)
    made.probed("direct", 0.2)
    assert made.demotion("direct", 120.0) == Demotion.HARD


# -- probes: a track of their own


def test_failed_probes_in_a_row_demote_hard_and_a_good_one_clears_them() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    for expected in (Demotion.CLEAN, Demotion.CLEAN, Demotion.HARD):
        made.probed("direct", None)
        assert made.demotion("direct", 0.0) == expected
    assert made.histories["direct"].delay_seconds == 0.2, "it keeps its rank within its tier"
    made.probed("direct", 0.3)
    assert made.demotion("direct", 0.0) == Demotion.CLEAN


def test_probes_are_no_failures_of_the_user() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    made.probed("direct", None)
    made.probed("direct", None)
    fail(made, "direct", 0.0)
    assert made.demotion("direct", 0.0) == Demotion.CLEAN


def test_twice_as_many_are_needed_when_the_others_are_three_times_slower() -> None:
    made = ranking(direct=0.1, proxy1=0.31)
    fail(made, "direct", 0.0, 30.0, 60.0)
    assert made.demotion("direct", 60.0) == Demotion.SOFT
    fail(made, "direct", 90.0, 120.0, 150.0)
    assert made.demotion("direct", 150.0) == Demotion.HARD
    made.probed("proxy1", 0.29)
    fail(made, "proxy1", 0.0, 30.0, 60.0)
    assert made.demotion("proxy1", 60.0) == Demotion.HARD


@pytest.mark.parametrize("delays", [{"direct": 0.1}, {"direct": 0.1, "proxy1": 0.0}, {"direct": 0.0, "proxy1": 0.4}])
def test_what_was_never_measured_is_not_slower(delays: dict[str, float]) -> None:
    made = ranking(**delays)
    fail(made, "direct", 0.0, 30.0, 60.0)
    assert made.demotion("direct", 60.0) == Demotion.HARD


# -- the order


def test_the_fastest_of_the_cleanest_is_best() -> None:
    made = ranking(direct=0.2, proxy1=0.4, proxy2=0.3)
    assert made.best(0.0) == "direct"
    assert made.best(0.0, without="direct") == "proxy2"
    fail(made, "direct", 0.0, 60.0)
    assert made.best(60.0) == "proxy2"
    for route in ("proxy1", "proxy2"):
        fail(made, route, 0.0, 30.0, 60.0)
    assert made.best(60.0) == "direct", "soft before hard"
    fail(made, "direct", 90.0)
    assert made.best(90.0) == "direct", "all are hard: the fastest of them"


def test_unknown_ones_come_last_in_their_order() -> None:
    made = ranking(direct=0.0, proxy1=0.0, proxy2=0.5)
    assert made.best(0.0) == "proxy2"
    assert made.best(0.0, without="proxy2") == "direct"
    assert ranking(direct=0.2).best(0.0, without="direct") is None


# -- the choice: hysteresis of 200 ms


def test_the_choice_stays_until_another_is_faster_by_two_hundred_milliseconds() -> None:
    made = ranking(direct=0.31, proxy1=0.5)
    assert made.choose(None, 0.0) == "direct"
    assert made.choose("proxy1", 0.0) == "proxy1", "190 ms"
    made.probed("direct", 0.3)
    assert made.choose("proxy1", 0.0) == "direct", "200 ms"


def test_the_choice_is_left_when_it_is_demoted_further_than_the_best() -> None:
    made = ranking(direct=0.2, proxy1=0.3)
    fail(made, "direct", 0.0)
    assert made.choose("direct", 0.0) == "direct"
    fail(made, "direct", 60.0)
    assert made.choose("direct", 60.0) == "proxy1"
    fail(made, "proxy1", 0.0, 60.0)
    assert made.choose("direct", 60.0) == "direct", "none is cleaner"


def test_a_choice_that_was_never_measured_is_left_for_one_that_was() -> None:
    assert ranking(direct=0.0, proxy1=1.9).choose("direct", 0.0) == "proxy1"


def test_routes_that_stay_in_the_list_keep_their_history() -> None:
    made = ranking(direct=0.2, proxy1=0.4)
    fail(made, "direct", 0.0, 60.0)
    made.reset(["proxy2", "direct"])
    assert made.demotion("direct", 60.0) == Demotion.SOFT
    assert made.choose("proxy1", 60.0) == "proxy2"
    made.probed("proxy1", 0.1)
    assert made.user_failed("proxy1", 60.0)
    assert list(made.histories) == ["proxy2", "direct"], "what still comes in of a route that is gone changes nothing"
