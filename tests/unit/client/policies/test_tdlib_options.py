from __future__ import annotations

import pytest

from client.policies.tdlib_options import Backoff, FloodControl, Option, Options, State


def options() -> Options:
    made = Options(recent_error_seconds=10.0)
    made.set_routes(["direct", "doh"])
    return made


@pytest.mark.parametrize(
    ("option", "state"),
    [
        (Option("direct"), State.OK),
        (Option("direct", ok_at=1.0, error_at=2.0), State.ERROR),
        (Option("direct", ok_at=1.0, error_at=2.0, check_at=3.0), State.CHECKING),
        (Option("direct", ok_at=4.0, error_at=2.0, check_at=3.0), State.OK),
        (Option("direct", error_at=2.0, check_at=2.0), State.ERROR),
    ],
)
def test_what_happened_last_counts(option: Option, state: State) -> None:
    assert option.state is state


def test_unused_routes_are_good_and_the_first_is_preferred() -> None:
    assert options().best(0.0) == ("direct", False)


def test_after_an_error_another_route_is_better_and_all_are_in_doubt_for_10_s() -> None:
    made = options()
    made.failed("direct", 5.0)
    assert made.best(5.0) == ("doh", True)
    assert made.best(15.0) == ("doh", False)


def test_of_two_that_failed_the_one_whose_failure_is_longer_ago() -> None:
    made = options()
    made.failed("doh", 5.0)
    made.failed("direct", 6.0)
    assert made.best(100.0) == ("doh", True)


def test_one_that_is_being_checked_comes_last_until_it_has_worked() -> None:
    made = options()
    made.failed("doh", 5.0)
    made.checked("direct", 6.0)
    assert made.best(100.0) == ("doh", True)
    made.worked("direct", 7.0)
    assert made.best(100.0) == ("direct", False)


def test_what_is_known_stays_when_the_routes_change() -> None:
    made = options()
    made.failed("doh", 5.0)
    made.set_routes(["doh"])
    made.failed("direct", 6.0)
    made.worked("direct", 6.0)
    assert made.best(100.0) == ("doh", True)


def test_flood_control_keeps_all_limits() -> None:
    flood = FloodControl(((1.0, 2), (5.0, 3)))
    assert flood.wake_at() == 0.0
    flood.opened(10.0)
    assert flood.wake_at() == 0.0
    flood.opened(10.5)
    assert flood.wake_at() == 11.0
    flood.opened(11.0)
    assert flood.wake_at() == 15.0
    flood.opened(15.0)
    assert flood.wake_at() == 15.5, "the oldest is forgotten"
    flood.clear()
    assert flood.wake_at() == 0.0


def test_backoff_doubles_up_to_its_most() -> None:
    backoff = Backoff(1.0, 4.0)
    pauses = []
    for now in (0.0, 10.0, 20.0, 30.0):
        backoff.opened(now)
        pauses.append(backoff.wake_at - now)
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    backoff.clear()
    assert backoff.wake_at == 0.0
    backoff.opened(0.0)
    assert backoff.wake_at == 1.0
