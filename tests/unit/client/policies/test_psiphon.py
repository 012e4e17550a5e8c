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
    NetworkChanged,
    PathBad,
    Ping,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    Use,
)
from client.policies.psiphon import Psiphon, PsiphonSettings
from tests.unit.client.policies.drill import Path, StrictDrill

DEFAULT = PsiphonSettings()
FOREVER = 1000.0


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name != DIRECT) for name in names)


def drill(
    *,
    proxies: int = 2,
    blocked: str = "",
    remembered: tuple[str, ...] = (),
    policy: PsiphonSettings = DEFAULT,
    interval: float = 0.02,
    seed: int = 1,
    **others: Path,
) -> StrictDrill:
    """The driver waits for as long as the policy does: dials that are dropped end when the policy ends them."""
    paths = {DIRECT: Path(blocked=blocked)} | {f"proxy{n}": Path(0.08, blocked) for n in range(1, proxies + 1)} | others
    recollection = Recollection(dict.fromkeys(remembered, 0.08))
    made = Psiphon(facts(*paths), policy, Random(seed), recollection)
    return StrictDrill(made, paths, interval, connect_seconds=FOREVER)


def healthy(interval: float = 0.02) -> StrictDrill:
    made = drill(interval=interval)
    made.run(10)
    assert made.route == DIRECT
    assert not made.times(PathBad)
    return made


def dials(made: StrictDrill) -> list[str]:
    return [command.route for _, command in made.log if isinstance(command, Dial)]


# -- 10 parallel workers


def test_ten_parallel_workers() -> None:
    made = drill(proxies=14, blocked="drop")
    made.run(0.5)
    assert len(set(dials(made))) == 10
    assert set(made.times(Dial)) == {0.0}


def test_the_first_that_stands_wins_and_the_others_are_given_up() -> None:
    made = drill(proxies=3, proxy2=Path(0.01))
    made.run(1)
    assert made.route == "proxy2"
    assert made.times(Use) == [pytest.approx(4 * 0.01)]
    assert made.times(Abort) == [pytest.approx(4 * 0.01)] * 3
    assert (0.04, PathBad(DIRECT, "dial_failed")) in made.log, "it was dialed, too, and is left for a faster one"


def test_a_worker_that_is_free_takes_the_next() -> None:
    made = drill(proxies=14, blocked="refuse")
    made.run(0.1)
    assert sorted(made.times(Dial)) == [0.0] * 10 + [pytest.approx(0.08)] * 5


# -- 20 s connect


def test_twenty_seconds_connect() -> None:
    made = drill(proxies=14, blocked="drop")
    made.run(19.9)
    assert len(dials(made)) == 10
    assert not made.times(Abort)
    made.run(0.2)
    assert made.times(Abort) == [20.0] * 10
    assert made.times(Dial)[10:] == [20.0] * 5


def test_a_path_whose_dial_takes_too_long_is_reported_bad() -> None:
    made = drill(blocked="drop")
    made.run(21)
    assert [(time, command) for time, command in made.log if isinstance(command, PathBad)] == [
        (20.0, PathBad(DIRECT, "dial_failed"))
    ]


# -- last good server 1 s head start


def test_the_last_good_server_has_a_head_start_of_one_second() -> None:
    made = drill(remembered=("proxy1",), proxy1=Path(0.08, "drop"))
    made.run(3)
    assert made.times(Dial, "proxy1") == [0.0]
    assert made.times(Dial, DIRECT) == made.times(Dial, "proxy2") == [1.0]
    assert made.route == DIRECT


def test_the_head_start_ends_with_the_dial() -> None:
    made = drill(remembered=("proxy1",), proxy1=Path(0.08, "refuse"))
    made.run(3)
    assert made.times(Dial, DIRECT) == [0.08]


def test_a_last_good_server_that_answers_in_time_is_the_only_one_dialed() -> None:
    made = drill(remembered=("proxy1",))
    made.run(3)
    assert dials(made) == ["proxy1"]
    assert not made.times(PathBad), "nothing is known against the direct path"


def test_a_last_good_server_that_is_in_the_list_no_more_has_none() -> None:
    made = drill(remembered=("proxy9",))
    made.run(0.01)
    assert set(dials(made)) == {DIRECT, "proxy1", "proxy2"}


def test_the_only_server_is_dialed_again_after_the_pause() -> None:
    made = drill(proxies=0, remembered=(DIRECT,), blocked="drop")
    made.run(8)
    assert len(made.times(Dial)) == 2
    assert 1.0 + 4.5 <= made.times(Dial)[1] <= 1.0 + 5.5


# -- candidates with stored parameters for this network first


def test_candidates_with_stored_parameters_come_first() -> None:
    stored = ("proxy11", "proxy14", "proxy13")
    for seed in range(20):
        made = drill(proxies=14, blocked="drop", remembered=stored, seed=seed)
        made.run(1.5)
        assert dials(made)[0] == "proxy11", "the last good one"
        assert set(dials(made)[1:3]) == {"proxy14", "proxy13"}


def test_the_others_are_shuffled() -> None:
    assert len({tuple(dials(drill(proxies=14, seed=seed))) for seed in range(5)}) == 5


def test_parameters_are_stored_when_the_tunnel_has_carried_for_a_second() -> None:
    made = drill()
    made.run(0.16 + 0.9)
    assert not made.times(Remember)
    made.run(0.5)
    ((time, command),) = [entry for entry in made.log if isinstance(entry[1], Remember)]
    assert 1.16 <= time <= 1.19
    assert isinstance(command, Remember)
    assert command.route == DIRECT
    assert command.rtt_seconds == pytest.approx(0.04)


@pytest.mark.parametrize(("retained", "forgotten"), [(0.0, [Remember("proxy1", None)]), (1.0, [])])
def test_a_dial_that_fails_loses_them_with_a_probability(retained: float, forgotten: list[Remember]) -> None:
    policy = PsiphonSettings(replay_retained=retained)
    made = drill(remembered=("proxy1",), policy=policy, proxy1=Path(0.08, "refuse"))
    made.run(0.5)
    assert [command for _, command in made.log if isinstance(command, Remember)] == forgotten


def test_another_network_has_its_own_stored_parameters() -> None:
    made = drill(proxies=14, blocked="drop")
    made.run(0.5)
    made.policy.observe(NetworkChanged(Recollection({"proxy7": 0.1})), made.now)
    made.paths[DIRECT].blocked = ""
    made.run(40)
    assert made.route == DIRECT
    before = len(dials(made))
    made.paths[DIRECT].blocked = "drop"
    made.reset()
    made.run(1.5)
    assert dials(made)[before : before + 2] == [DIRECT, "proxy7"]


# -- 60 s rounds


def test_rounds_of_sixty_seconds() -> None:
    made = drill(proxies=69, blocked="drop")
    made.run(84)
    assert made.times(Dial) == [0.0] * 10 + [20.0] * 10 + [40.0] * 10 + [60.0] * 10 + [80.0], (
        "the list is not at its end"
    )
    made.run(2)
    assert len(made.times(Dial)) == 41 + 9, "a new round: the free workers begin again"
    assert 80 + 4.5 <= made.times(Dial)[-1] <= 80 + 5.5


def test_a_round_that_is_through_is_followed_by_another_after_five_seconds() -> None:
    made = drill(blocked="refuse")
    made.run(60)
    rounds = made.times(Dial)[::3]
    assert len(rounds) >= 10
    assert all(4.5 <= later - sooner <= 5.5 for sooner, later in itertools.pairwise(rounds))
    assert len(set(dials(made)[index] for index in range(0, 30, 3))) > 1, "each is shuffled anew"
    assert len(made.times(PathBad)) == 1


def test_a_dial_that_is_not_over_is_no_obstacle_to_another_of_the_same_server() -> None:
    made = drill(blocked="drop")
    made.run(6)
    assert made.times(Dial, DIRECT)[0] == 0.0
    assert 4.5 <= made.times(Dial, DIRECT)[1] <= 5.5


# -- the tunnel in use


def test_messages_without_an_answer_for_ten_seconds_are_probed_and_five_later_the_tunnel_is_dead() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "drop"
    made.run(20)
    (ping,) = made.times(Ping)
    assert ping == pytest.approx(10 + 10, abs=0.05)
    ((bad, command),) = [entry for entry in made.log if isinstance(entry[1], PathBad)]
    assert bad - ping == pytest.approx(5)
    assert command == PathBad(DIRECT, "ack_overdue")
    assert made.times(Dial, DIRECT)[1:] == [bad], "the server of the last tunnel has its head start"
    assert made.times(Dial, "proxy1")[1:] == [bad + 1]
    assert made.times(Use)[-1] == pytest.approx(bad + 1 + 4 * 0.08)


def test_a_probe_that_is_answered_keeps_the_tunnel_whatever_becomes_of_the_messages() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "data"
    made.run(100)
    assert not made.times(PathBad)
    assert len(made.times(Ping)) == 9


def test_an_idle_tunnel_is_kept_alive_after_one_to_two_minutes() -> None:
    made = healthy(interval=0.0)
    made.run(600)
    pings = [0.16, *made.times(Ping)]
    gaps = [later - sooner for sooner, later in itertools.pairwise(pings)]
    assert all(60 <= gap <= 120.001 for gap in gaps)
    assert len({round(gap) for gap in gaps}) > 1


def test_an_idle_tunnel_whose_keep_alive_lacks_its_answer_for_thirty_seconds_is_dead() -> None:
    made = healthy(interval=0.0)
    made.paths[DIRECT].blocked = "drop"
    made.run(140)
    ping = made.times(Ping)[0]
    assert made.times(PathBad) == [pytest.approx(ping + 30)]


def test_a_message_during_a_keep_alive_shortens_the_wait() -> None:
    made = healthy(interval=0.0)
    made.paths[DIRECT].blocked = "drop"
    while not made.times(Ping):
        made.run(1)
    made.send()
    sent = made.now
    made.run(20)
    assert made.times(PathBad) == [pytest.approx(sent + 10 + 5)]


def test_a_tunnel_that_carries_is_not_pinged() -> None:
    made = healthy()
    made.run(300)
    assert not made.times(Ping)
    assert made.policy.tick(made.now) == [], "nothing is due"


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_a_signalled_end_acts_at_once(failure: str, reason: str) -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset(failure)
    assert made.log[-2:] == [(10.0, PathBad(DIRECT, reason)), (10.0, Dial(4, DIRECT))]
    made.run(1)
    assert made.route == "proxy1"
    assert made.times(Use)[-1] == pytest.approx(10 + 0.04 + 4 * 0.08)


def test_nobody_goes_back_to_the_direct_path_while_the_tunnel_works() -> None:
    made = healthy()
    made.paths[DIRECT].blocked = "refuse"
    made.reset()
    made.run(1)
    assert made.route is not None
    assert made.route.startswith("proxy")
    made.paths[DIRECT].blocked = ""
    before = len(dials(made))
    made.run(600)
    assert len(dials(made)) == before


def test_a_list_that_changes_is_gone_by_from_then_on() -> None:
    made = drill(proxies=14, blocked="drop")
    made.run(1)
    made.paths["fresh"] = Path()
    made.policy.observe(RoutesChanged(facts("fresh", "proxy1")), made.now)
    made.run(30)
    assert made.route == "fresh"
    assert set(dials(made)[10:]) <= {"fresh", "proxy1"}


# -- whatever happens


ROUTES = [DIRECT, "proxy1", "proxy2"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(ROUTES), st.sampled_from(["", "drop", "refuse", "data"])), max_size=10),
    st.randoms(use_true_random=False),
)
def test_random_blocks_leave_no_dead_end(blocks: list[tuple[str, str]], random: Random) -> None:
    made = drill(interval=0.5, remembered=tuple(random.sample(ROUTES, 2)), seed=random.randrange(100))
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(random.uniform(0.01, 40))
        if made.in_use is not None and random.random() < 0.5:
            made.reset()
    for route in ROUTES:
        made.paths[route].blocked = ""
    made.run(60)
    assert made.route is not None
