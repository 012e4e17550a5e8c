from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.policies import (
    DIRECT,
    Abort,
    Dial,
    Established,
    NetworkChanged,
    PathBad,
    Ping,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    StageReached,
    Use,
)
from client.policies.signal import Outcomes, Signal, SignalSettings
from tests.unit.client.policies.drill import Path, StrictDrill

CONNECT_SECONDS = SignalSettings().stage_seconds
BY_ONE_FAILURE = 30 * (10**0.2 - 1) / 9
"""Seconds that a route is held back right after its first failure: 1.95."""


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name != DIRECT) for name in names)


def drill(
    *,
    proxies: int = 2,
    blocked: str = "",
    interval: float = 0.02,
    connect_seconds: float = CONNECT_SECONDS,
    seed: int = 1,
    **others: Path,
) -> StrictDrill:
    paths = {DIRECT: Path(blocked=blocked)} | {f"proxy{n}": Path(0.08, blocked) for n in range(1, proxies + 1)} | others
    made = Signal(facts(*paths), SignalSettings(), Random(seed), Recollection())
    return StrictDrill(made, paths, interval, connect_seconds=connect_seconds)


def healthy(interval: float = 0.02) -> StrictDrill:
    made = drill(interval=interval)
    made.run(10)
    assert made.route == DIRECT
    assert [type(command) for _, command in made.log] == [Dial, Use]
    return made


def alone(*names: str) -> Signal:
    """A policy that the test drives itself."""
    policy = Signal(facts(*names), SignalSettings(), Random(1), Recollection())
    policy.start(0.0)
    return policy


# -- Happy Eyeballs 300 ms: the dial does it, see test_catalogue; next route after 500 ms x attempts in progress


def test_the_next_route_after_half_a_second_for_each_attempt_in_progress() -> None:
    made = drill(proxies=4, blocked="drop")
    made.run(6)
    assert made.times(Dial) == [0.0, 0.5, 1.5, 3.0, 5.0]
    assert [command.route for _, command in made.log if isinstance(command, Dial)] == list(made.paths)


def test_an_attempt_that_fails_brings_the_next_forward() -> None:
    made = drill(proxies=4, blocked="drop", proxy1=Path(0.2, "refuse"))
    made.run(6)
    assert made.times(Dial)[:3] == [0.0, 0.5, pytest.approx(1.0)], "0.5 s after the last, for the one in progress"


def test_a_failure_with_none_in_progress_begins_the_next_at_once() -> None:
    made = drill(direct=Path(0.04, "refuse"))
    made.run(1)
    assert made.times(Dial, "proxy1") == [0.04]
    assert made.times(PathBad) == [0.04]
    assert made.route == "proxy1"


def test_the_first_that_stands_is_used_and_the_others_are_given_up() -> None:
    made = drill(direct=Path(0.04, "drop"))
    made.run(2)
    assert [command for _, command in made.log] == [
        Dial(1, DIRECT),
        Dial(2, "proxy1"),
        PathBad(DIRECT, "dial_failed"),
        Use(2, "proxy1"),
        Abort(1),
    ]
    assert made.times(Use) == [pytest.approx(0.5 + 4 * 0.08)]


# -- failed-route delay up to 30 s, decays over 5 min


def test_a_route_that_failed_is_held_back_the_longer_the_more_often_up_to_thirty_seconds() -> None:
    outcomes = Outcomes(SignalSettings())
    delays = []
    for count in range(7):
        delays.append(outcomes.delay(DIRECT, 100.0 + count))
        outcomes.failed(DIRECT, 101.0 + count, 101.0 + count)
    assert delays[:2] == [0.0, pytest.approx(BY_ONE_FAILURE)]
    assert all(sooner < later for sooner, later in itertools.pairwise(delays[:6]))
    assert delays[5] == delays[6] == pytest.approx(30.0)


def test_the_delay_decays_over_five_minutes() -> None:
    outcomes = Outcomes(SignalSettings())
    outcomes.failed(DIRECT, 0.0, 0.0)
    delays = [outcomes.delay(DIRECT, time) for time in (0.0, 100.0, 200.0, 299.0, 300.0, 400.0)]
    assert delays[0] == pytest.approx(BY_ONE_FAILURE)
    assert all(sooner > later for sooner, later in itertools.pairwise(delays[:5]))
    assert delays[4:] == [0.0, 0.0]


def test_a_failure_after_five_minutes_is_the_first_again() -> None:
    outcomes = Outcomes(SignalSettings())
    for time in (0.0, 1.0, 302.0):
        outcomes.failed(DIRECT, time, time)
    assert outcomes.delay(DIRECT, 302.0) == pytest.approx(BY_ONE_FAILURE)


def test_a_success_clears_the_delay() -> None:
    outcomes = Outcomes(SignalSettings())
    outcomes.failed(DIRECT, 0.0, 0.0)
    outcomes.succeeded(DIRECT)
    outcomes.succeeded("proxy1")
    assert outcomes.delay(DIRECT, 0.0) == 0.0


def test_a_route_that_failed_is_begun_after_those_that_did_not() -> None:
    made = drill(direct=Path(0.04, "refuse"))
    made.run(1)
    made.paths["proxy1"].blocked = "drop"
    made.reset()
    made.run(3)
    assert made.times(Dial, "proxy1")[1:] == [1.0]
    assert made.times(Dial, "proxy2") == [1.5]
    assert made.route == "proxy2"
    assert made.times(Dial, DIRECT) == [0.0], "proxy2 stood before the direct path's time came"


def test_when_all_have_failed_each_is_tried_when_its_delay_is_over() -> None:
    made = drill(proxies=0, blocked="refuse")
    made.run(3)
    # It is counted from when the attempt that failed began.
    assert made.times(Dial) == [0.0, pytest.approx(0.04 + BY_ONE_FAILURE, abs=0.01)]


# -- when all fail: the pause of the program


def test_after_the_first_time_that_all_fail_it_pauses_four_seconds_then_eight_up_to_thirty() -> None:
    made = drill(proxies=0, blocked="refuse")
    made.run(400)
    dials = made.times(Dial)
    gaps = [later - sooner for sooner, later in itertools.pairwise(dials)]
    delays = [1.95, 5.04, 9.94, 17.72, 30.0]  # of Outcomes, a little less for their age
    for gap, delay, pause in zip(gaps, delays, [0, 4, 8, 16, 30], strict=False):
        assert delay * 0.95 + pause * 0.75 <= gap <= delay + pause * 1.25 + 0.1
    assert len({round(gap, 1) for gap in gaps[5:]}) > 1, "jitter"
    assert len(made.times(PathBad)) == 1


def test_it_connects_again_after_the_pause() -> None:
    made = drill(blocked="refuse")
    made.run(4)
    assert not made.lines, "a pause"
    assert made.policy.tick(made.now) == [], "nothing is due"
    made.run(26)
    for path in made.paths.values():
        path.blocked = ""
    made.run(60)
    assert made.route is not None


# -- limits of a dial


@pytest.mark.parametrize(
    ("before", "limit"), [pytest.param(0.1, 3.0, id="at least 3 s"), pytest.param(1.0, 5.0, id="5 x TCP's time")]
)
def test_tls_has_a_limit_that_depends_on_what_came_before(before: float, limit: float) -> None:
    policy = alone(DIRECT)
    policy.observe(StageReached(1, "tcp"), 0.2)
    policy.observe(StageReached(1, "tls"), 0.2 + before)
    assert policy.deadline() == pytest.approx(0.2 + before + limit)
    assert policy.tick(0.2 + before + limit) == [Abort(1), PathBad(DIRECT, "dial_failed")]


def test_tls_that_is_passed_has_none() -> None:
    policy = alone(DIRECT)
    for stage in ("tcp", "tls", "upgrade"):
        policy.observe(StageReached(1, stage), 0.2)
    assert policy.deadline() == 60.0


def test_a_tick_for_the_next_route_leaves_a_handshake_its_time() -> None:
    policy = alone(DIRECT, "proxy1")
    policy.observe(StageReached(1, "tls"), 0.1)
    assert policy.tick(0.5) == [Dial(2, "proxy1")]


def test_all_routes_together_have_sixty_seconds() -> None:
    made = drill(blocked="drop", connect_seconds=1000.0)
    made.run(59.9)
    assert not made.times(Abort)
    made.run(2)
    assert made.times(Abort) == [60.0] * 3
    assert [command for _, command in made.log if isinstance(command, PathBad)] == [PathBad(DIRECT, "dial_failed")]
    assert made.times(Dial)[3:] == [60.0, 60.5, 61.5], "that is held against no route"


def test_sixty_seconds_without_the_direct_path_in_progress_say_nothing_new_of_it() -> None:
    made = drill(direct=Path(0.04, "refuse"), proxies=1, proxy1=Path(0.08, "drop"), connect_seconds=1000.0)
    made.run(61)
    assert made.times(PathBad) == [0.04]


# -- ping 31 s, idle 45 s


def test_silence_is_pinged_after_thirty_one_seconds_and_dead_after_forty_five() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "drop"
    made.run(46)
    (ping,) = made.times(Ping)
    (bad,) = made.times(PathBad)
    assert ping == pytest.approx(10 + 31, abs=0.05)
    assert bad == pytest.approx(10 + 45, abs=0.05)
    assert made.last(PathBad) == PathBad(DIRECT, "ack_overdue")
    assert made.times(Dial, DIRECT)[1:] == [bad], "at once, the direct path first: nothing is held against it"
    made.run(1)
    assert made.times(Use, "proxy1") == [pytest.approx(bad + 0.5 + 4 * 0.08)]


def test_an_idle_connection_is_pinged_each_thirty_one_seconds() -> None:
    made = healthy(interval=0.0)
    made.run(190)
    assert made.times(Ping) == [pytest.approx(0.16 + 31 * n) for n in range(1, 7)]
    assert not made.times(PathBad)


def test_a_connection_that_only_hears_is_pinged_too() -> None:
    policy = alone(DIRECT)
    policy.observe(Established(1, 0.1), 0.0)
    assert policy.deadline() == 31.0
    assert policy.tick(30.0) == []
    assert policy.tick(31.0) == [Ping(1, 1)]


def test_pongs_keep_a_connection_that_carries_no_messages() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "data"
    made.run(300)
    assert not made.times(PathBad)


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_a_signalled_end_acts_at_once(failure: str, reason: str) -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset(failure)
    assert made.log[-2:] == [(10.0, PathBad(DIRECT, reason)), (10.0, Dial(2, DIRECT))]
    made.run(1)
    assert made.times(Use, "proxy1") == [pytest.approx(10.04 + 4 * 0.08)]


# -- what it does not do


def test_nobody_goes_back_to_the_direct_path_while_the_connection_lasts() -> None:
    made = drill(direct=Path(0.04, "refuse"))
    made.run(1)
    made.paths[DIRECT].blocked = ""
    made.run(600)
    assert made.route == "proxy1"
    assert len(made.times(Dial)) == 2
    made.reset()
    made.run(1)
    assert made.route == DIRECT, "the delay is over, and it comes first"


def test_nothing_is_remembered() -> None:
    made = healthy()
    assert not made.times(Remember)


# -- changes from outside


def test_on_another_network_nothing_is_held_against_a_route() -> None:
    made = drill(proxies=0, blocked="refuse")
    made.run(100)
    assert not made.lines, "held back, or in a pause"
    assert made.policy.observe(NetworkChanged(Recollection()), made.now) == [Dial(len(made.times(Dial)) + 1, DIRECT)]


def test_another_network_leaves_a_connection_and_a_dial_alone() -> None:
    made = drill(blocked="drop")
    made.run(0.1)
    assert made.policy.observe(NetworkChanged(Recollection()), made.now) == []
    made = healthy()
    assert made.policy.observe(NetworkChanged(Recollection()), made.now) == []


def test_a_list_that_changes_is_gone_by_from_then_on() -> None:
    made = drill(blocked="drop")
    made.run(0.1)
    made.paths["fresh"] = Path()
    assert made.policy.observe(RoutesChanged(facts(DIRECT, "fresh")), made.now) == []
    made.run(60)
    assert not made.times(Dial, "proxy1")
    assert made.route == "fresh"
    assert made.policy.observe(RoutesChanged(facts(DIRECT)), made.now) == []


# -- whatever happens


ROUTES = [DIRECT, "proxy1", "proxy2"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(ROUTES), st.sampled_from(["", "drop", "refuse", "data"])), max_size=10),
    st.randoms(use_true_random=False),
)
def test_random_blocks_leave_no_dead_end(blocks: list[tuple[str, str]], random: Random) -> None:
    made = drill(interval=0.5, seed=random.randrange(100))
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(random.uniform(0.01, 40))
        if made.in_use is not None and random.random() < 0.5:
            made.reset()
    for route in ROUTES:
        made.paths[route].blocked = ""
    made.run(120)
    assert made.route is not None
