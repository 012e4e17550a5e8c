from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.policies import (
    DIRECT,
    Abort,
    Close,
    Dial,
    NetworkChanged,
    PathBad,
    Ping,
    ProbeEnded,
    ProbeStarted,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    Use,
)
from client.policies.lantern import Lantern
from client.policies.lantern_ranking import LanternSettings
from tests.unit.client.policies.drill import Path, StrictDrill

CONNECT_SECONDS = LanternSettings().stage_seconds


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name != DIRECT) for name in names)


def drill(
    *,
    proxies: int = 2,
    blocked: str = "",
    interval: float = 0.02,
    remembered: dict[str, float] | None = None,
    **others: Path,
) -> StrictDrill:
    paths = {DIRECT: Path(blocked=blocked)} | {f"proxy{n}": Path(0.08, blocked) for n in range(1, proxies + 1)} | others
    made = Lantern(facts(*paths), LanternSettings(), Random(1), Recollection(remembered or {}))
    return StrictDrill(made, paths, interval, connect_seconds=CONNECT_SECONDS)


def healthy(interval: float = 0.02) -> StrictDrill:
    made = drill(interval=interval)
    made.run(10)
    assert made.route == DIRECT
    assert not made.times(PathBad)
    return made


def uses(made: StrictDrill) -> list[tuple[float, str]]:
    return [(round(time, 2), command.route) for time, command in made.log if isinstance(command, Use)]


def probed(made: StrictDrill) -> list[tuple[float, str]]:
    return [(round(time, 2), command.route) for time, command in made.log if isinstance(command, ProbeStarted)]


# -- background probes 180 s


def test_all_routes_are_probed_at_the_start_and_each_hundred_and_eighty_seconds() -> None:
    made = healthy()
    made.run(360)
    assert probed(made) == [(time, route) for time in (0.0, 180.0, 360.0) for route in made.paths]


def test_a_probe_is_a_dial_and_a_ping_and_is_closed() -> None:
    made = healthy()
    numbers = [command.connection for _, command in made.log if isinstance(command, ProbeStarted)]
    assert [command.connection for _, command in made.log if isinstance(command, Ping)] == numbers
    assert [command.connection for _, command in made.log if isinstance(command, Close)] == numbers
    assert [time for time in made.times(ProbeEnded, "proxy1")] == [pytest.approx(5 * 0.08)]


def test_without_traffic_for_ten_minutes_they_come_each_fifteen() -> None:
    made = healthy(interval=0.0)
    made.run(2600)
    assert sorted({time for time, _ in probed(made)}) == [0.0, 180.0, 360.0, 540.0, 720.0, 720.0 + 900, 720.0 + 1800]


def test_a_probe_that_takes_two_seconds_has_failed() -> None:
    made = drill(proxy1=Path(0.08, "drop"), proxy2=Path(0.08, "refuse"))
    made.run(3)
    ends = [(round(time, 2), command) for time, command in made.log if isinstance(command, ProbeEnded)]
    assert ends[0] == (0.08, ProbeEnded(4, "proxy2", "connection_refused"))
    assert ends[2] == (2.0, ProbeEnded(3, "proxy1", "generic_timeout_error"))
    assert (2.0, Abort(3)) in made.log


def test_a_probe_whose_connection_ends_has_failed() -> None:
    made = drill()
    made.run(0.17)
    number = next(command.connection for _, command in made.log if isinstance(command, Ping))
    made.in_use = number
    made.reset()
    assert made.last(ProbeEnded) == ProbeEnded(number, DIRECT, "connection_reset")


def test_six_probes_at_a_time() -> None:
    made = drill(proxies=9)
    assert len(made.times(ProbeStarted)) == 6
    made.run(1)
    assert len(made.times(ProbeStarted)) == 10
    assert len(made.times(ProbeEnded)) == 10


# -- the choice


def test_unmeasured_routes_are_used_in_their_order() -> None:
    made = drill()
    assert made.log[0][1] == Dial(1, DIRECT)


def test_what_is_remembered_of_the_network_is_the_first_ranking() -> None:
    made = drill(remembered={"proxy2": 0.08, "gone": 0.01})
    assert made.log[0][1] == Dial(1, "proxy2")
    made.run(1)
    assert not made.times(PathBad)


def test_a_faster_route_is_used_from_the_next_connection_on() -> None:
    """Switch hysteresis of 200 ms: see test_lantern_ranking, too."""
    made = healthy()
    made.paths[DIRECT].rtt = 0.2
    made.run(200)
    assert uses(made) == [(0.16, DIRECT)], "a connection that stands is not moved"
    made.reset("eof_error")
    made.run(1)
    assert made.route == "proxy1"


def test_a_difference_below_the_hysteresis_changes_nothing() -> None:
    made = healthy()
    made.paths[DIRECT].rtt = 0.11
    made.run(200)
    made.reset("eof_error")
    made.run(1)
    assert made.route == DIRECT


def test_nobody_goes_back_to_the_direct_path_while_the_connection_lasts() -> None:
    made = drill(direct=Path(0.04, "refuse"))
    made.run(1)
    made.paths[DIRECT].blocked = ""
    made.run(400)
    assert made.route == "proxy1"
    made.reset()
    made.run(1)
    assert made.route == DIRECT


def test_what_works_is_remembered_once_for_each_network() -> None:
    made = healthy()
    assert [command.route for _, command in made.log if isinstance(command, Remember)] == [DIRECT]
    made.policy.observe(NetworkChanged(Recollection()), made.now)
    made.send()
    made.run(1)
    assert [command.route for _, command in made.log if isinstance(command, Remember)] == [DIRECT, DIRECT]


# -- stall: 60 s silence after a write


def test_silence_for_sixty_seconds_after_a_write_is_a_stall() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "drop"
    made.run(80)
    assert made.times(PathBad) == [pytest.approx(70, abs=0.05)]
    assert made.last(PathBad) == PathBad(DIRECT, "ack_overdue")
    # One failure demotes nothing: the direct path is dialed again, and the best other one when that fails.
    bad = made.times(PathBad)[0]
    assert made.times(Dial, DIRECT)[-2:] == [bad, bad], "a probe, and the connection"
    assert made.times(Use, "proxy1") == [pytest.approx(bad + 0.04 + 5 + 4 * 0.08)]


def test_silence_without_a_write_is_none() -> None:
    made = healthy(interval=0.0)
    made.paths[DIRECT].blocked = "drop"
    made.run(100)
    assert not made.times(PathBad)


# -- probe results and user traffic judged apart: a good probe never clears user failures; soft at 2, hard at 3


def test_a_route_whose_probes_pass_and_whose_messages_do_not_is_left_at_the_second_failure() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "data"
    made.run(140)
    first, second = made.times(PathBad)
    assert first == pytest.approx(70, abs=0.05)
    assert second == pytest.approx(first + 0.04 + 60, abs=0.01), "a dial later"
    assert all(
        command.failure is None
        for _, command in made.log
        if isinstance(command, ProbeEnded) and command.route == DIRECT
    )
    assert [route for _, route in uses(made)] == [DIRECT, DIRECT, "proxy1"]


def test_of_routes_that_all_fail_the_messages_the_least_demoted_is_used() -> None:
    made = healthy()
    for path in made.paths.values():
        path.blocked = "data"
    made.run(400)
    assert [route for _, route in uses(made)] == [DIRECT, DIRECT, "proxy1", "proxy1", "proxy2", "proxy2", DIRECT]
    assert made.route is not None


# -- failures start a round of probes


def test_a_failure_starts_a_round_of_probes_unless_the_last_such_is_not_over_for_a_minute() -> None:
    made = healthy()
    made.reset()
    assert probed(made)[3:] == [(10.0, DIRECT), (10.0, "proxy1"), (10.0, "proxy2")]
    for _ in range(2):
        made.run(31)
        made.reset()
    assert len(probed(made)) == 9
    assert probed(made)[-1][0] == 72.0


def test_a_failure_during_a_round_of_probes_starts_no_other() -> None:
    made = drill()
    made.run(0.18)
    made.reset()
    made.run(0.1)
    assert len(probed(made)) == 3


def test_a_burst_of_failures_starts_one_round() -> None:
    made = healthy()
    made.reset()
    made.run(2)
    made.reset()
    made.run(2)
    assert len(probed(made)) == 6


# -- dials that fail, connections that end


def test_the_best_other_route_is_dialed_at_once_when_a_dial_fails() -> None:
    made = drill(direct=Path(0.04, "refuse"))
    made.run(2)
    assert made.times(PathBad) == [0.04]
    assert made.times(Dial, "proxy1") == [0.0, 0.04], "a probe, and the connection"
    assert uses(made) == [(0.36, "proxy1")]
    assert len(probed(made)) == 3, "the round at the start was under way"


def test_a_replacement_that_stands_is_followed_by_a_round_of_probes() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset("eof_error")
    made.run(3)
    assert made.route == "proxy1"
    assert {time for time, _ in probed(made)} == {0.0, 10.36}


def test_a_replacement_is_not_the_choice() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset("eof_error")
    made.run(3)
    made.paths[DIRECT].blocked = ""
    made.reset("eof_error")
    made.run(0.01)
    assert made.last(Dial) == Dial(made.last_dialed(DIRECT), DIRECT)


def test_when_the_replacement_fails_too_the_choice_is_made_anew_after_a_second() -> None:
    made = drill(proxies=3, blocked="refuse")
    made.run(2.05)
    traffic = [
        (round(time, 2), command.route)
        for time, command in made.log
        if isinstance(command, Dial) and ProbeStarted(command.connection, command.route) not in [c for _, c in made.log]
    ]
    assert [time for time, _ in traffic] == [0.0, 0.04, 1.0, 1.04, 2.0, 2.04]
    for path in made.paths.values():
        path.blocked = ""
    made.run(2)
    assert made.route is not None


def test_the_only_route_has_no_replacement() -> None:
    made = drill(proxies=0, blocked="refuse")
    made.run(0.5)
    assert made.times(Dial) == [0.0, 0.0]
    made.paths[DIRECT].blocked = ""
    made.run(1)
    assert made.route == DIRECT


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_a_signalled_end_acts_at_once(failure: str, reason: str) -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset(failure)
    assert made.times(PathBad) == [10.0]
    assert made.last(PathBad) == PathBad(DIRECT, reason)
    made.run(1)
    assert uses(made)[1:] == [(10.36, "proxy1")]


def test_a_reset_of_a_connection_that_lay_idle_is_no_failure() -> None:
    made = healthy(interval=0.0)
    made.reset()
    made.run(1)
    assert made.route == DIRECT
    assert len(probed(made)) == 3


def test_a_reset_of_a_connection_that_was_heard_just_now_is_one() -> None:
    made = healthy(interval=0.0)
    made.send()
    made.run(1)
    made.reset()
    assert len(probed(made)) == 6


def test_a_connection_that_ends_soon_is_dialed_again_a_second_after_the_last_dial() -> None:
    made = drill()
    made.run(0.2)
    made.reset("eof_error")
    made.run(0.79)
    assert made.in_use is None
    made.run(0.2)
    assert made.route == DIRECT
    assert made.times(Use)[-1] == pytest.approx(1.16)


# -- changes from outside


def test_on_another_network_all_are_probed() -> None:
    made = healthy()
    commands = made.policy.observe(NetworkChanged(Recollection()), made.now)
    assert [type(command) for command in commands] == [Dial, ProbeStarted] * 3


def test_a_list_that_changes_is_gone_by_from_then_on() -> None:
    made = drill(proxies=9)
    made.paths["fresh"] = Path(0.01)
    made.policy.observe(RoutesChanged(facts("fresh", "proxy1")), made.now)
    made.run(200)
    assert [route for _, route in uses(made)] == [DIRECT]
    assert {route for time, route in probed(made) if time > 0} == {"fresh", "proxy1"}
    made.reset()
    made.run(1)
    assert made.route == "fresh"


# -- whatever happens


ROUTES = [DIRECT, "proxy1", "proxy2"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(ROUTES), st.sampled_from(["", "drop", "refuse", "data"])), max_size=10),
    st.randoms(use_true_random=False),
)
def test_random_blocks_leave_no_dead_end(blocks: list[tuple[str, str]], random: Random) -> None:
    made = drill(interval=0.5)
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(random.uniform(0.01, 40))
        if made.in_use is not None and random.random() < 0.5:
            made.reset()
    for route in ROUTES:
        made.paths[route].blocked = ""
    made.run(120)
    assert made.route is not None
