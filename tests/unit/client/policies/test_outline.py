"""The row of `outline`: "staged strategies, next candidate on failure or after 250 ms, 5 s per test, one cached winner,
no failover afterwards"."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.policies import Abort, Dial, PathBad, Recollection, Remember, RouteFacts, RoutesChanged, Use
from client.policies.outline import Outline, OutlineSettings
from tests.unit.client.policies.drill import Drill, Path, StrictDrill

DIRECT_LIKE = ("direct", "doh")
ALL = (*DIRECT_LIKE, "proxy1", "proxy2")


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name.startswith("proxy")) for name in names)


def drill(
    recollection: Recollection = Recollection(),  # noqa: B008 - immutable
    constants: OutlineSettings = OutlineSettings(),  # noqa: B008 - immutable
    **blocked: str,
) -> Drill:
    paths = {name: Path(blocked=blocked.get(name, "")) for name in ALL}
    policy = Outline(facts(*ALL), constants, Random(1), recollection)
    return StrictDrill(policy, paths, interval=0.05, connect_seconds=20.0)


def test_staged_strategies_the_proxies_come_after_all_others_have_failed() -> None:
    made = drill(direct="refuse", doh="refuse")
    made.run(1)
    assert [command.route for _, command in made.log if isinstance(command, Dial)] == ["direct", "doh", "proxy1"]
    assert made.route == "proxy1"


def test_next_candidate_on_failure() -> None:
    made = drill(direct="refuse")
    made.run(1)
    assert made.times(Dial, "doh") == [pytest.approx(0.04)]  # a round trip: the refusal
    assert made.route == "doh"


def test_next_candidate_after_250_ms() -> None:
    made = drill(direct="drop")
    made.run(1)
    assert made.times(Dial, "doh") == [0.25]
    assert made.times(Use, "doh") == [pytest.approx(0.25 + 4 * 0.04)]
    assert made.times(Abort) == made.times(Use), "the winner ends the race"


def test_5_s_per_test_and_the_next_stage_waits_for_all_of_this_one() -> None:
    made = drill(direct="drop", doh="drop")
    made.run(8)
    assert made.times(Abort) == [5.0, 5.25]
    assert made.times(Dial, "proxy1") == [5.25]
    assert made.times(PathBad) == [5.0]
    assert made.route == "proxy1"


def test_a_search_that_fails_is_repeated_after_a_pause() -> None:
    made = drill(direct="refuse", doh="refuse", proxy1="refuse", proxy2="refuse")
    made.run(4)
    firsts = made.times(Dial, "direct")
    assert firsts[1] == pytest.approx(4 * 0.04 + 1.0)
    made.paths["proxy2"].blocked = ""
    made.run(2)
    assert made.route == "proxy2"
    assert len(made.times(PathBad)) == 1


def test_one_cached_winner_a_proxy_is_tested_alone_first() -> None:
    made = drill(Recollection({"proxy2": 0.1}))
    made.run(1)
    assert made.times(Dial, "direct") == []
    assert made.route == "proxy2"


def test_one_cached_winner_another_route_goes_to_the_front() -> None:
    made = drill(Recollection({"doh": 0.1}), doh="drop")
    made.run(1)
    assert (made.times(Dial, "doh"), made.times(Dial, "direct")) == ([0.0], [0.25])


def test_a_cached_winner_that_fails_is_followed_by_the_whole_search() -> None:
    made = drill(Recollection({"proxy2": 0.1}), proxy2="drop")
    made.run(6)
    assert made.times(Dial, "direct") == [5.0]
    assert made.route == "direct"


def test_the_winner_is_kept_once_it_has_carried_and_forgotten_when_nothing_works() -> None:
    made = drill(direct="refuse")
    made.run(0.21)
    made.send(2)
    made.run(1)
    (kept,) = [command for _, command in made.log if isinstance(command, Remember)]
    assert kept.route == "doh"
    assert kept.rtt_seconds == pytest.approx(0.04)
    blocked = drill(Recollection({"doh": 0.1}), direct="refuse", doh="refuse", proxy1="refuse", proxy2="refuse")
    blocked.run(3)
    assert [command for _, command in blocked.log if isinstance(command, Remember)] == [Remember("doh", None)]


def test_no_failover_afterwards_silence_is_not_noticed() -> None:
    made = drill()
    made.run(2)
    made.paths["direct"].blocked = "drop"
    made.run(120)
    assert made.times(PathBad) == []
    assert len(made.times(Dial)) == 1
    assert made.policy.deadline() is None


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_no_failover_afterwards_the_winner_is_dialed_again_and_again(failure: str, reason: str) -> None:
    made = drill()
    made.run(2)
    made.paths["direct"].blocked = "refuse"
    made.reset(failure)
    made.run(3.5)
    assert made.last(PathBad) == PathBad("direct", reason)
    assert made.times(Dial, "direct") == [0.0, 2.0, *(pytest.approx(2.0 + n * 1.04) for n in (1, 2, 3))]
    assert {command.route for _, command in made.log if isinstance(command, Dial)} == {"direct"}
    made.paths["direct"].blocked = ""
    made.run(2)
    assert made.route == "direct"


def test_a_program_may_search_again_when_a_dial_of_the_winner_has_failed() -> None:
    made = drill(constants=OutlineSettings(search_again=True))
    made.run(2)
    made.paths["direct"].blocked = made.paths["doh"].blocked = "refuse"
    made.reset()
    made.run(1)
    assert [command.route for _, command in made.log if isinstance(command, Dial)][1:] == [
        "direct",
        "direct",
        "doh",
        "proxy1",
    ]
    assert made.route == "proxy1"


def test_a_winner_that_is_in_the_list_no_more_is_searched_for_anew() -> None:
    made = drill()
    made.run(1)
    assert made.policy.observe(RoutesChanged(facts("doh", "proxy1")), made.now) == []
    made.reset()
    made.run(1)
    assert made.route == "doh"


def test_routes_that_are_gone_are_not_tested_any_more() -> None:
    made = drill(direct="drop", proxy1="refuse")
    made.policy.observe(RoutesChanged(facts("direct", "proxy1")), made.now)
    made.run(8)
    assert [command.route for _, command in made.log if isinstance(command, Dial)] == ["direct", "proxy1", "direct"]


@settings(deadline=None, max_examples=60)
@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(["", "drop", "refuse", "data"])), max_size=12),
    st.data(),
)
def test_random_blocks_leave_no_dead_end(
    search_again: bool, blocks: list[tuple[str, str]], data: st.DataObject
) -> None:
    made = drill(constants=OutlineSettings(search_again=search_again))
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(data.draw(st.floats(0.01, 7.0)))
        if made.in_use is not None and data.draw(st.booleans()):
            made.reset()
