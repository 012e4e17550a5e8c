from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.policies import (
    DIRECT,
    Abort,
    Close,
    Copy,
    Diagnosed,
    Dial,
    PathBad,
    Ping,
    ProbeEnded,
    ProbeStarted,
    Recollection,
    Remember,
    RouteFacts,
    Use,
)
from client.policies.links import LOSS_SECONDS
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings
from tests.unit.client.policies.drill import Drill, Path, StrictDrill, lossy

COLD = SidedoorSettings(standby="cold")
WARM = SidedoorSettings(standby="warm")
RTT, PROXY_RTT = 0.04, 0.08
DIAL = 4 * PROXY_RTT
DOH = RouteFacts("doh", proxied=False, evades=frozenset({"dns"}))
FRAGMENTED = RouteFacts("fragmented", proxied=False, evades=frozenset({"sni"}))


def drill(
    policy: SidedoorSettings = COLD,
    *more: RouteFacts,
    proxies: int = 2,
    interval: float = 0.02,
    recollection: Recollection = Recollection(),  # noqa: B008 - immutable
    **from_the_start: Path,
) -> StrictDrill:
    """`more`: routes between the direct one and the proxies; `from_the_start`: paths that are not as usual."""
    routes = [RouteFacts(DIRECT, proxied=False), *more, *facts(*(f"proxy{n}" for n in range(1, proxies + 1)))]
    paths = {route.name: Path(PROXY_RTT if route.proxied else RTT) for route in routes} | from_the_start
    return StrictDrill(Sidedoor(routes, policy, Random(1), recollection), paths, interval)


def facts(*proxies: str) -> list[RouteFacts]:
    return [RouteFacts(name, proxied=True) for name in proxies]


def healthy(
    policy: SidedoorSettings = COLD, *more: RouteFacts, proxies: int = 2, interval: float = 0.02
) -> StrictDrill:
    made = drill(policy, *more, proxies=proxies, interval=interval)
    made.run(10)
    assert made.route == "direct"
    assert not made.times(PathBad)
    return made


def on_proxy(policy: SidedoorSettings = COLD, *more: RouteFacts, proxies: int = 2) -> StrictDrill:
    """The direct path is blocked, proxy1 carries."""
    made = healthy(policy, *more, proxies=proxies)
    made.paths["direct"].blocked = "drop"
    made.run(10)
    assert made.route == "proxy1"
    return made


def until(made: Drill, route: str, seconds: float = 60.0) -> float:
    """Run until messages go by `route`; how long that took."""
    began = made.now
    while made.route != route:
        assert made.now - began < seconds, f"{made.route}, not {route}, after {seconds} s"
        made.run(0.01)
    return made.now - began


def failures(made: Drill) -> list[str | None]:
    return [command.failure for _, command in made.log if isinstance(command, ProbeEnded)]


def copies(made: Drill, by: int | None = None) -> list[Copy]:
    """The copies that were ordered, by this connection."""
    return [command for _, command in made.log if isinstance(command, Copy) and by in (None, command.connection)]


def kept(made: Drill) -> list[str]:
    return sorted(line.route for line in made.lines.values())


# -- a silent block, warm: hedges, then the verdict


def test_a_copy_goes_by_the_spare_at_the_hedge_delay_and_answers_go_on() -> None:
    made = healthy(WARM)
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(0.9)
    assert made.route == "direct", "no verdict yet"
    first = made.times(Copy)[0]
    oldest_unanswered = t0 - RTT  # its answer was on its way
    assert first - oldest_unanswered == pytest.approx(0.1, abs=0.021)
    assert made.recovered_after(t0) <= 0.1 + PROXY_RTT + 0.021
    assert made.longest_silence(t0) <= 0.1 + PROXY_RTT + 0.021


def test_once_a_hedge_has_won_each_new_message_is_copied_at_once() -> None:
    made = healthy(WARM)
    made.paths["direct"].blocked = "drop"
    made.run(0.4)
    began = made.now
    made.run(0.2)
    assert [time for time in made.times(Copy) if time >= began] == [
        pytest.approx(time) for time in made.sent_at.values() if time >= began
    ]
    answers = [made.answered_at[id_] - at for id_, at in made.sent_at.items() if began <= at < began + 0.1]
    assert answers == [pytest.approx(PROXY_RTT)] * len(answers)


def test_the_verdict_comes_when_the_path_is_a_second_behind() -> None:
    made = healthy(WARM)
    t0 = made.now
    old = made.in_use
    made.paths["direct"].blocked = "drop"
    made.run(2)
    (bad,) = made.times(PathBad)
    assert bad - t0 == pytest.approx(0.8 + 5 * RTT - RTT, abs=0.021)
    at_once = [command for time, command in made.log if time == bad]
    number = made.in_use
    assert at_once[:4] == [
        PathBad("direct", "ack_overdue"),
        Remember("direct", None),
        Use(number or 0, "proxy1"),
        Abort(old or 0),
    ]


@pytest.mark.parametrize("rtt", [0.005, 0.2])
def test_the_hedge_delay_follows_the_round_trip(rtt: float) -> None:
    made = drill(WARM)
    made.paths["direct"].rtt = rtt
    made.run(20)
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(2)
    first = next(time for time in made.times(Copy) if time >= t0)
    assert first - (t0 - rtt) == pytest.approx(max(0.1, 2 * rtt), abs=0.03)


def test_a_path_that_trickles_is_slow() -> None:
    made = healthy(WARM)
    t0 = made.now
    made.paths["direct"].bytes_per_second = 5_000
    made.run(5)
    (bad,) = made.times(PathBad)
    assert made.log[[time for time, _ in made.log].index(bad)][1] == PathBad("direct", "slow")
    assert made.route == "proxy1"
    assert made.longest_silence(t0) < 0.3


def test_a_path_that_catches_up_is_kept_and_copies_end() -> None:
    made = healthy(WARM)
    made.paths["direct"].extra = lambda number, first=made.paths["direct"].trips: 0.3 if number == first + 1 else 0.0  # type: ignore[misc] # the first answer from now on
    made.run(0.5)
    assert made.times(Copy)
    began = made.now
    made.run(60)
    assert made.times(Use) == [pytest.approx(DIAL / 2)]
    assert not made.times(PathBad)
    assert max(made.times(Copy)) < began


def test_a_path_that_became_slower_for_good_is_kept_and_copied_only_until_it_is_known() -> None:
    made = healthy(WARM)
    made.paths["direct"].rtt = 0.35
    made.run(70)
    assert not made.times(PathBad)
    began = made.now
    made.run(30)
    assert made.times(Copy)[-1] < began


def test_hedges_that_lost_do_not_delay_one_beyond_the_time_of_a_path_without_a_spare() -> None:
    made = healthy(WARM)
    made.paths["proxy1"].rtt = 0.5
    slow = Random(3)
    made.paths["direct"].extra = lambda _: 0.2 * (slow.random() < 0.01)
    made.run(60)
    assert not made.times(PathBad)
    made.paths["direct"].extra = lambda _: 0.0
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(2)
    assert min(time for time in made.times(Copy) if time > t0) - (t0 - RTT) <= 0.38 + 3 * RTT + 0.021


def test_a_hedge_that_never_wins_postpones_the_verdict_and_does_not_prevent_it() -> None:
    """The spare is too slow to win before the verdict, and not slow enough to be overdue itself."""
    made = healthy(WARM)
    made.paths["proxy1"].rtt = 3.0
    made.run(40)
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(4)
    assert made.times(PathBad)[0] - t0 < 2 * (0.8 + 5 * RTT) + 0.021


# -- a silent block without a spare that helps


def test_without_a_spare_a_proxy_is_dialed_when_the_path_is_half_a_second_behind() -> None:
    made = healthy(COLD)
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(3)
    (bad,) = made.times(PathBad)
    assert bad - t0 == pytest.approx(0.38 + 3 * RTT - RTT, abs=0.021)
    assert made.times(Dial, "proxy1") == [bad]
    assert made.times(Use, "proxy1") == [pytest.approx(bad + DIAL)]
    assert not made.times(Copy)


def test_the_new_path_is_used_before_the_old_connection_is_aborted() -> None:
    made = healthy()
    old = made.in_use
    assert old is not None
    made.paths["direct"].blocked = "drop"
    made.run(2)
    commands = [command for _, command in made.log]
    assert commands.index(Abort(old)) == commands.index(Use(2, "proxy1")) + 1


def test_the_path_that_answers_again_before_another_stands_is_kept_and_remembered() -> None:
    made = healthy()
    for name in ("proxy1", "proxy2"):
        made.paths[name].blocked = "drop"
    made.paths["direct"].blocked = "drop"
    made.run(0.8)
    assert made.times(PathBad)
    made.paths["direct"].blocked = ""
    made.run(1)
    assert made.route == "direct"
    assert made.times(Use) == [pytest.approx(0.16)]
    kept_path = made.last(Remember)
    assert isinstance(kept_path, Remember)
    assert (kept_path.route, kept_path.rtt_seconds is None) == ("direct", False)
    assert kept(made) == ["direct"]


def test_a_path_that_is_kept_is_doubted_anew() -> None:
    made = healthy()
    for name in ("proxy1", "proxy2"):
        made.paths[name].blocked = "drop"
    for path_bad in (1, 2):
        made.paths["direct"].blocked = "drop"
        made.run(0.8)
        assert len(made.times(PathBad)) == path_bad
        made.paths["direct"].blocked = ""
        made.run(2)
        assert made.route == "direct"


def test_a_reset_of_a_path_that_is_to_be_left_changes_nothing() -> None:
    made = healthy()
    made.paths["direct"].blocked = made.paths["proxy1"].blocked = "drop"
    made.run(0.6)
    made.reset()
    assert len(made.times(PathBad)) == 1
    made.run(2)
    assert made.route == "proxy2"


def test_a_spare_that_died_with_the_path_is_passed_by() -> None:
    made = healthy(WARM)
    t0 = made.now
    made.paths["direct"].blocked = made.paths["proxy1"].blocked = "drop"
    made.run(3)
    assert made.route == "proxy2"
    assert made.times(Use, "proxy2")[0] - t0 <= 0.5 + DIAL + 0.05
    assert made.times(Dial, "proxy1")[1:2] >= made.times(Use, "proxy2")[:1], "it is dialed already, and silent"


def test_a_spare_that_passes_pings_and_drops_data_is_passed_by() -> None:
    made = healthy(WARM)
    made.paths["direct"].blocked = "drop"
    made.paths["proxy1"].blocked = "data"
    made.run(3)
    assert made.route == "proxy2"


def test_a_spare_that_dies_after_its_hedges_won_is_passed_by() -> None:
    made = healthy(WARM)
    made.paths["direct"].blocked = "drop"
    made.run(0.4)
    made.paths["proxy1"].blocked = "drop"
    t0 = made.now
    made.run(3)
    assert made.route == "proxy2"
    assert made.times(Use, "proxy2")[0] - t0 < 0.8


def test_what_a_spare_took_along_is_copied_by_the_next() -> None:
    """The first spare ends while it has copies that it never answered; the next one gets them."""
    made = healthy(WARM)
    made.paths["proxy1"].blocked = "data"
    made.paths["proxy2"].rtt = 0.01
    made.paths["direct"].blocked = "drop"
    made.run(0.15)
    first = copies(made)[0].ids[0]
    made.end("proxy1")
    made.run(0.4)
    assert first in copies(made, by=3)[0].ids


def test_a_spare_whose_proxy_is_withdrawn_leaves_its_copies_to_the_next() -> None:
    made = healthy(WARM)
    made.paths["proxy1"].blocked = "data"
    made.paths["proxy2"].rtt = 0.01
    made.paths["direct"].blocked = "drop"
    made.run(0.12)
    first = copies(made)[0].ids[0]
    made.change_routes(RouteFacts(DIRECT, proxied=False), *facts("proxy2"))
    made.run(0.3)
    assert first in copies(made, by=3)[0].ids


# -- a signalled block


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_a_signalled_end_acts_at_once(failure: str, reason: str) -> None:
    made = healthy()
    made.reset(failure)
    now = [command for time, command in made.log if time == made.now]
    assert now == [PathBad("direct", reason), Remember("direct", None), Dial(2, "proxy1")]


def test_a_signalled_end_with_a_warm_spare_costs_nothing() -> None:
    made = healthy(WARM)
    t0 = made.now
    made.reset()
    assert made.route == "proxy1"
    made.run(1)
    assert made.recovered_after(t0) <= PROXY_RTT + 0.021


def test_a_dead_proxy_is_followed_by_the_next() -> None:
    made = healthy()
    made.paths["proxy1"].blocked = "refuse"
    made.reset()
    made.run(1)
    assert made.times(Use, "proxy2")[0] - made.times(PathBad)[0] == pytest.approx(PROXY_RTT + DIAL)


def test_a_proxy_that_does_not_answer_is_passed_by_when_its_stage_is_stuck() -> None:
    made = healthy()
    made.paths["proxy1"].blocked = "drop"
    made.reset()
    made.run(3)
    assert made.times(Use, "proxy2")[0] - made.times(PathBad)[0] == pytest.approx(0.3 + DIAL)
    assert Abort(2) in [command for _, command in made.log], "the dial of proxy1 is given up"


def test_a_proxy_whose_upstream_is_dead_is_passed_by_in_its_later_stage() -> None:
    made = healthy()
    made.paths["proxy1"].blocked = "stall"
    made.reset()
    made.run(3)
    stuck = PROXY_RTT + 2.5 * PROXY_RTT + 0.1
    assert made.times(Use, "proxy2")[0] - made.times(PathBad)[0] == pytest.approx(stuck + DIAL)


@pytest.mark.parametrize("policy", [COLD, WARM], ids=["cold", "warm"])
def test_proxies_are_blocked_one_by_one(policy: SidedoorSettings) -> None:
    made = healthy(policy, proxies=4)
    for name in ("direct", "proxy1", "proxy2", "proxy3"):
        t0 = made.now
        made.paths[name].blocked = "drop"
        made.run(8)
        assert made.route not in (None, "direct", name)
        assert made.recovered_after(t0) <= (0.3 if policy is WARM else 1.6)
    assert made.route == "proxy4"


def test_all_routes_blocked_backs_off_with_a_cap_and_recovers() -> None:
    made = healthy()
    for path in made.paths.values():
        path.blocked = "refuse"
    made.reset()
    made.run(60)
    assert made.route is None
    gaps = [later - earlier for earlier, later in itertools.pairwise(made.times(Dial, "proxy1"))]
    assert max(gaps) == pytest.approx(8.0, abs=0.5)
    assert gaps[1] < gaps[2] < gaps[3]
    assert len(made.times(PathBad)) == 1
    made.paths["proxy2"].blocked = ""
    made.run(10)
    assert made.route == "proxy2"


def test_without_a_proxy_the_direct_path_is_dialed_again() -> None:
    made = healthy(proxies=0)
    made.reset()
    made.run(1)
    assert made.route == "direct"
    assert not made.times(ProbeStarted), "there is nothing else, so this is no probe"


# -- the last resort


def last_resort() -> Drill:
    """Everything is blocked, and the direct path has been dialed again."""
    made = healthy(SidedoorSettings(standby="cold", probe_direct="periodic"))
    for path in made.paths.values():
        path.blocked = "refuse"
    made.reset()
    while not made.times(ProbeStarted):
        made.run(0.01)
    return made


def test_the_direct_path_as_the_last_resort_is_an_announced_attempt() -> None:
    made = last_resort()
    made.run(20)
    assert len(made.times(Dial, "direct")) - 1 == len(made.times(ProbeStarted)) == len(made.times(ProbeEnded, "direct"))
    assert made.last(ProbeEnded) == ProbeEnded(made.last_dialed("direct"), "direct", "connection_refused")


def test_a_last_resort_that_stands_is_announced_as_a_success_before_it_is_used() -> None:
    made = last_resort()
    made.paths["direct"].blocked = ""
    made.run(20)
    assert made.route == "direct"
    number = made.in_use
    assert number is not None
    commands = [command for _, command in made.log]
    assert commands.index(ProbeEnded(number, "direct", None)) + 1 == commands.index(Use(number, "direct"))


def test_a_last_resort_that_is_given_up_is_announced_as_interrupted() -> None:
    made = last_resort()
    number = made.last_dialed("direct")
    made.change_routes(*facts("proxy1", "proxy2"))
    commands = [command for _, command in made.log]
    assert commands[commands.index(Abort(number)) - 1] == ProbeEnded(number, "direct", "interrupted")


def test_a_last_resort_that_is_overtaken_by_a_proxy_goes_on_as_a_probe_announced_once() -> None:
    made = last_resort()
    made.paths["direct"].blocked = "drop"
    made.paths["proxy1"].blocked = ""
    made.run(10)
    assert made.route == "proxy1"
    made.paths["direct"].blocked = ""
    until(made, "direct")
    starts = [command.connection for _, command in made.log if isinstance(command, ProbeStarted)]
    ends = [command.connection for _, command in made.log if isinstance(command, ProbeEnded)]
    assert starts == sorted(set(starts)) == ends


# -- the start


@pytest.mark.parametrize("policy", [COLD, WARM], ids=["cold", "warm"])
@pytest.mark.parametrize("blocked", ["refuse", "drop", "stall"])
def test_blocked_from_the_start(blocked: str, policy: SidedoorSettings) -> None:
    made = drill(policy, direct=Path(blocked=blocked))
    made.run(5)
    assert made.route == "proxy1"
    bad = next(command for _, command in made.log if isinstance(command, PathBad))
    assert bad == PathBad("direct", "dial_failed" if blocked == "refuse" else "dial_overdue")
    assert made.times(Use)[0] <= (0.33 if policy is WARM else 0.3 + DIAL + 0.001)


def test_no_further_proxy_is_dialed_before_every_dial_is_stuck() -> None:
    made = drill(WARM, proxies=4, direct=Path(blocked="drop"), proxy1=Path(blocked="drop"))
    made.run(0.29)
    assert made.shown == {"proxy1"}
    made.run(0.02)
    assert made.shown == {"proxy1", "proxy2", "proxy3"}, "two are stuck, and so two are begun"
    made.run(3)
    assert (made.route, len(made.shown)) == ("proxy2", 3)


def test_who_asks_for_it_dials_more_proxies_at_once_where_nothing_is_known() -> None:
    blocked = {route: Path(blocked="drop") for route in ("direct", "proxy1", "proxy2")}
    made = drill(SidedoorSettings(first_proxies=4), proxies=5, **blocked)
    assert made.times(Dial) == [0.0] * 5
    assert made.shown == {"proxy1", "proxy2", "proxy3", "proxy4"}
    made.run(1)
    assert (made.route, made.times(Use)) == ("proxy3", [pytest.approx(DIAL)])
    assert "proxy4" not in kept(made), "it was beaten"
    assert made.shown == {"proxy1", "proxy2", "proxy3", "proxy4"}


@pytest.mark.parametrize(
    "recollection",
    [Recollection({"direct": RTT}), Recollection(failed=frozenset({"direct"}))],
    ids=["worked", "failed"],
)
def test_where_something_is_known_only_the_spare_is_dialed(recollection: Recollection) -> None:
    made = drill(SidedoorSettings(first_proxies=4), proxies=4, recollection=recollection)
    assert made.shown == {"proxy1"}


def test_without_a_block_the_direct_path_wins_the_race() -> None:
    made = drill(SidedoorSettings(first_proxies=4), proxies=4)
    made.run(5)
    assert made.times(Use) == made.times(Use, "direct") == [pytest.approx(4 * RTT)]
    assert kept(made) == ["direct", "proxy1"]


def test_a_spare_that_stands_first_does_not_win_against_a_direct_path_that_goes_on() -> None:
    made = drill(WARM, direct=Path(0.15), proxy1=Path(0.02))
    made.run(20)
    assert made.times(Use) == made.times(Use, "direct") == [pytest.approx(0.6)]
    assert not made.times(PathBad)
    assert kept(made) == ["direct", "proxy1"]


def test_a_spare_that_stands_carries_as_soon_as_the_direct_dial_is_stuck() -> None:
    made = drill(WARM, direct=Path(blocked="drop"), proxy1=Path(0.02))
    made.run(2)
    assert made.times(Use)[0] == pytest.approx(0.3)
    assert made.route == "proxy1"


def test_a_spare_that_stands_carries_as_soon_as_the_direct_dial_has_failed() -> None:
    made = drill(WARM, direct=Path(0.2, blocked="refuse"), proxy1=Path(0.02))
    made.run(2)
    assert made.times(Use)[0] == pytest.approx(0.2)


def test_the_direct_dial_that_was_too_slow_goes_on_as_a_probe() -> None:
    made = drill(COLD, direct=Path(0.35), proxy1=Path(0.04))
    made.run(1.0)
    assert made.route == "proxy1"
    assert made.times(ProbeStarted) == made.times(Use, "proxy1")
    made.run(10)
    assert made.route == "direct"


# -- what the censor gets to see


def test_before_a_block_one_proxy_is_dialed_with_a_warm_spare_and_none_without() -> None:
    for policy, shown in ((WARM, {"proxy1"}), (COLD, set())):
        made = healthy(policy, proxies=4)
        made.run(120)
        assert made.shown == shown
        assert len(made.lines) == 1 + len(shown)


def test_a_direct_dial_that_is_late_at_the_start_shows_no_second_proxy() -> None:
    made = drill(WARM, proxies=4, direct=Path(0.35))  # as when its first segment is lost: it stands after 1.4 s
    made.run(1)
    assert made.route == "proxy1"
    until(made, "direct")
    made.run(20)
    assert (made.route, made.shown, kept(made)) == ("direct", {"proxy1"}, ["direct", "proxy1"])


def test_a_direct_dial_that_fails_late_makes_room_for_a_spare() -> None:
    made = drill(WARM, proxies=4, direct=Path(blocked="drop"))
    made.run(LOSS_SECONDS)
    assert (made.route, made.shown) == ("proxy1", {"proxy1"})
    made.run(0.1)
    assert (made.route, made.shown) == ("proxy1", {"proxy1", "proxy2"})


def test_after_a_block_no_other_proxy_is_dialed_while_the_known_one_works() -> None:
    made = on_proxy(COLD, proxies=4)
    made.run(60)
    assert made.shown == {"proxy1"}
    made.paths["direct"].blocked = ""
    until(made, "direct")
    made.paths["direct"].blocked = "drop"
    made.run(5)
    assert (made.route, made.shown) == ("proxy1", {"proxy1"})


def test_a_warm_client_shows_one_more_proxy_after_a_block_as_the_spare_of_the_first() -> None:
    made = on_proxy(WARM, proxies=4)
    made.run(60)
    assert made.shown == {"proxy1", "proxy2"}
    for _ in range(2):
        made.paths["direct"].blocked = ""
        until(made, "direct")
        made.run(60)
        made.paths["direct"].blocked = "drop"
        made.run(5)
    assert made.shown == {"proxy1", "proxy2"}


def test_a_proxy_that_ends_its_idle_sessions_is_no_reason_to_show_another() -> None:
    made = healthy(WARM)
    made.run(10)
    for _ in range(3):
        made.end("proxy1", "eof_error")
        made.run(20)
    assert made.shown == {"proxy1"}
    assert kept(made) == ["direct", "proxy1"]


def test_a_spare_that_is_ended_soon_is_one_that_does_not_work() -> None:
    made = drill(WARM)
    made.run(1)
    made.end("proxy1")
    made.run(2)
    assert kept(made) == ["direct", "proxy2"]


# -- memory


def test_the_proxy_that_worked_here_comes_first_and_the_one_that_failed_last() -> None:
    worked = Recollection({"proxy3": PROXY_RTT}, frozenset({"proxy1"}))
    made = drill(WARM, proxies=3, recollection=worked)
    made.run(10)
    assert made.shown == {"proxy3"}
    made.paths["proxy3"].blocked = "refuse"
    made.end("proxy3")
    made.run(2)
    assert made.shown == {"proxy3", "proxy2"}


def test_the_dials_round_trip_or_a_remembered_one_serves_before_the_first_sample() -> None:
    delays = []
    for recollection in (Recollection(), Recollection({"direct": 1.5 * RTT})):
        made = drill(WARM, recollection=recollection, interval=0.0)
        made.run(0.9)
        made.paths["direct"].blocked = "drop"
        made.send()
        made.run(0.9)
        delays.append([time - 0.9 for time in made.times(Copy)])
    assert delays == [[pytest.approx(4 * RTT)], [pytest.approx(6 * RTT)]]


def test_what_works_and_what_fails_is_to_be_remembered() -> None:
    made = on_proxy()
    memory = [command for _, command in made.log if isinstance(command, Remember)]
    assert [command.route for command in memory] == ["direct", "direct", "proxy1"]
    assert [command.rtt_seconds for command in memory] == [pytest.approx(RTT), None, pytest.approx(PROXY_RTT)]


# -- the world changes


def test_on_another_network_what_was_learned_is_forgotten() -> None:
    made = on_proxy(WARM, proxies=3)
    made.paths["direct"].blocked = ""
    made.change_network(Recollection({"proxy3": PROXY_RTT}))
    until(made, "direct")
    made.reset()
    made.run(30)
    assert "proxy3" in made.shown


def test_on_another_network_connections_that_died_show_it() -> None:
    made = healthy(WARM, interval=0.0)
    made.paths["direct"].blocked = made.paths["proxy1"].blocked = "drop"
    made.change_network(Recollection())
    assert len([time for time in made.times(Ping) if time == made.now]) == 2
    made.run(3)
    assert made.route == "proxy2"


def test_on_another_network_a_search_begins_anew() -> None:
    made = healthy()
    for path in made.paths.values():
        path.blocked = "refuse"
    made.reset()
    made.run(30)
    for path in made.paths.values():
        path.blocked = ""
    made.change_network(Recollection())
    made.run(1)
    assert made.route == "direct"


def test_a_probe_goes_on_over_a_change_of_network() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    while "direct" not in kept(made):
        made.run(0.01)
    made.run(0.5)
    made.change_network(Recollection())
    until(made, "direct")


def test_a_new_proxy_is_used_when_it_is_needed() -> None:
    made = healthy(COLD, proxies=1)
    made.paths["proxy9"] = Path(PROXY_RTT)
    made.change_routes(RouteFacts(DIRECT, proxied=False), *facts("proxy9"))
    made.reset()
    made.run(1)
    assert (made.route, made.shown) == ("proxy9", {"proxy9"})


def test_a_proxy_that_is_withdrawn_is_no_spare_any_more() -> None:
    made = healthy(WARM)
    made.change_routes(RouteFacts(DIRECT, proxied=False), *facts("proxy2"))
    made.run(1)
    assert kept(made) == ["direct", "proxy2"]


def test_the_path_in_use_goes_on_though_its_route_is_withdrawn_until_it_fails() -> None:
    made = on_proxy(COLD)
    made.change_routes(RouteFacts(DIRECT, proxied=False), *facts("proxy2"))
    made.run(5)
    assert made.route == "proxy1"
    made.reset()
    made.run(3)
    assert made.route == "proxy2"
    assert len(made.times(Dial, "proxy1")) == 1


def test_a_search_goes_on_with_the_new_routes() -> None:
    made = healthy()
    for path in made.paths.values():
        path.blocked = "drop"
    made.reset()
    made.run(0.1)
    made.paths["proxy9"] = Path(PROXY_RTT)
    made.change_routes(RouteFacts(DIRECT, proxied=False), *facts("proxy9"))
    made.run(2)
    assert made.route == "proxy9"


def test_a_probe_of_a_route_that_is_withdrawn_is_reported() -> None:
    made = on_proxy()
    while failures(made) and len(made.times(ProbeStarted)) == len(failures(made)):
        made.run(0.01)
    made.change_routes(*facts("proxy1", "proxy2"))
    assert failures(made)[-1] == "interrupted"
    assert len(made.times(ProbeStarted)) == len(failures(made))
    made.run(20)
    assert len(made.times(ProbeStarted)) == len(failures(made))


def test_without_any_route_it_waits_for_some() -> None:
    made = healthy(COLD, proxies=1)
    made.change_routes()
    made.reset()
    made.run(30)
    assert made.route is None
    made.change_routes(RouteFacts(DIRECT, proxied=False))
    made.run(1)
    assert made.route == "direct"


# -- little traffic


def test_one_message_alone_is_followed_by_a_ping_as_the_second_witness() -> None:
    made = healthy(interval=0.0)
    for _ in range(50):
        made.send()
        made.run(0.2)
    assert not made.times(Ping)
    made.paths["direct"].blocked = "drop"
    t0 = made.now
    made.send()
    made.run(2)
    assert made.times(Ping)[0] - t0 == pytest.approx(0.1, abs=0.01)
    assert made.times(PathBad)[0] - t0 == pytest.approx(0.38 + 3 * RTT)


def test_an_idle_path_is_pinged_and_its_death_noticed() -> None:
    made = healthy(interval=0.0)
    made.run(30)
    assert len(made.times(Ping)) >= 3
    made.paths["direct"].blocked = "drop"
    made.run(12)
    assert made.route == "proxy1"


# -- hiccups and jitter


def test_a_timer_that_is_late_is_no_verdict() -> None:
    """The process stands still for half a second; the answers have arrived and are read right after the timer."""
    made = healthy()
    policy = made.policy
    made.paths["direct"].blocked = "drop"
    made.run(0.1)
    deadline = policy.deadline() or 0.0
    assert policy.tick(deadline + 0.6) == []
    assert policy.deadline() == pytest.approx(deadline + 0.65)


def test_a_process_that_stood_still_does_not_show_another_proxy() -> None:
    made = drill(COLD)
    made.run(0.1)
    deadline = made.policy.deadline()
    assert deadline is not None
    assert made.policy.tick(deadline + 1.0) == []
    assert made.policy.deadline() == pytest.approx(deadline + 1.05)


def test_a_process_that_stood_still_does_not_fail_a_trial() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    while "direct" not in kept(made):
        made.run(0.01)
    made.run(0.5)
    deadline = made.policy.deadline() or 0.0
    assert not [command for command in made.policy.tick(deadline + 1.0) if isinstance(command, ProbeEnded)]


def test_a_machine_that_is_always_late_still_gets_its_verdict() -> None:
    made = healthy()
    made.late = lambda number: 0.05
    made.paths["direct"].blocked = "drop"
    made.run(3)
    assert made.route == "proxy1"


@pytest.mark.parametrize("rtt", [RTT, 0.2])
def test_no_switch_and_few_copies_in_an_hour_of_loss_and_jitter(rtt: float) -> None:
    made = drill(WARM, interval=rtt)
    chance = Random(5)
    for path in made.paths.values():
        path.rtt = path.rtt - RTT + rtt
        path.extra = lossy(chance, path.rtt, 0.01, 0.02)
    made.run(3600)
    assert made.times(Use) == made.times(Use, "direct")
    assert not made.times(PathBad)
    assert 0 < sum(len(copy.ids) for copy in copies(made)) <= 0.1 * len(made.sent_at)
    assert made.shown == {"proxy1"}


@pytest.mark.parametrize("rtt", [0.01, RTT, 0.1, 0.2, 0.3])
def test_a_segment_that_is_lost_three_times_in_a_row_is_no_reason_to_leave(rtt: float) -> None:
    made = drill(WARM)
    made.paths["direct"].rtt = rtt
    made.run(20)
    recovery = (rtt + 0.06) + (0.2 + rtt) + 2 * (0.2 + rtt)
    made.paths["direct"].extra = lambda number, first=made.paths["direct"].trips: (number == first + 1) * recovery  # type: ignore[misc] # the first answer from now on
    made.run(5)
    assert made.times(Copy)
    assert not made.times(PathBad)


@pytest.mark.parametrize("rtt", [0.01, RTT, 0.1, 0.2, 0.3])
def test_a_segment_that_is_lost_twice_is_no_reason_to_dial_a_proxy(rtt: float) -> None:
    made = drill(COLD)
    made.paths["direct"].rtt = rtt
    made.run(20)
    shown = made.shown
    recovery = (rtt + 0.06) + (0.2 + rtt)
    made.paths["direct"].extra = lambda number, first=made.paths["direct"].trips: (number == first + 1) * recovery  # type: ignore[misc] # the first answer from now on
    made.run(5)
    assert (made.shown, made.times(PathBad)) == (shown, [])


@settings(max_examples=25, deadline=None)
@example(seed=0, rtt=0.1875, jitter=0.046875)
@given(seed=st.integers(0, 2**32), rtt=st.floats(0.005, 0.2), jitter=st.floats(0.0, 0.05))
def test_no_switch_under_jitter_and_loss(seed: int, rtt: float, jitter: float) -> None:
    """Any segment may be lost, and once more when it is sent again."""
    chance = Random(seed)
    made = drill(WARM)
    made.paths["direct"].rtt = rtt
    lost_once, lost_twice = rtt + 0.06, 2 * rtt + 0.26
    made.paths["direct"].extra = lambda _: (
        chance.random() * jitter + chance.choices((0.0, lost_once, lost_twice), (0.99, 0.0099, 0.0001))[0]
    )
    made.run(60)
    assert not made.times(PathBad)
    assert made.times(Use) == made.times(Use, "direct")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), gap=st.floats(0.3, 3.0))
def test_whatever_is_blocked_in_turn_a_free_route_is_found(seed: int, gap: float) -> None:
    """And no tick is in vain (the drill counts them), nothing is commanded that is not there, nothing forgotten."""
    chance = Random(seed)
    made = drill(chance.choice([COLD, WARM]), DOH, interval=0.05)
    everything = [RouteFacts(DIRECT, proxied=False), DOH, *facts("proxy1", "proxy2")]
    for _ in range(8):
        free = chance.choice(list(made.paths))
        for name, path in made.paths.items():
            path.blocked = "" if name == free else chance.choice(["drop", "refuse", "data", "stall", ""])
            path.bytes_per_second = chance.choice([5_000.0, 1e9]) if path.blocked != "" else 1e9
        made.late = chance.choice([lambda _: 0.0, lambda number: 0.03 * (number % 3)])
        match chance.randrange(6):
            case 0 if made.in_use is not None:
                made.reset()
            case 1:
                made.change_network(Recollection({"proxy2": 0.1}, frozenset({"proxy1"})))
            case 2:
                made.change_routes(*(route for route in everything if chance.random() < 0.7))
            case _:
                pass
        made.run(gap)
    made.change_routes(*everything)
    for path in made.paths.values():
        path.blocked, path.bytes_per_second = "drop", 1e9
    made.paths[chance.choice(list(made.paths))].blocked = ""
    made.run(40)
    assert made.route is not None
    assert made.paths[made.route].blocked == ""
    for path in made.paths.values():
        path.blocked = ""
    made.run(200)
    assert made.route == "direct", "with everything free again, it ends where it began"
    assert len(made.lines) <= 2
    starts = [command.connection for _, command in made.log if isinstance(command, ProbeStarted)]
    ends = [command.connection for _, command in made.log if isinstance(command, ProbeEnded)]
    assert sorted(starts) == sorted(ends)


# -- the way back: trials by data


@pytest.mark.parametrize("policy", [COLD, WARM], ids=["cold", "warm"])
def test_two_trials_in_a_row_bring_it_back(policy: SidedoorSettings) -> None:
    made = on_proxy(policy)
    made.paths["direct"].blocked = ""
    took = until(made, "direct")
    assert 2.0 < took < 3.0 + 2 * 2.0 + 0.5
    assert failures(made)[-2:] == [None, None]
    made.run(1)
    assert kept(made) == (["direct"] if policy is COLD else ["direct", "proxy1"])


def test_a_trial_carries_copies_of_what_is_said() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    until(made, "direct")
    trial = made.in_use
    assert 24_000 / 500 <= len(copies(made, by=trial)) <= 1.5 / 0.02 + 5


def test_little_traffic_returns_as_well() -> None:
    made = healthy(interval=0.0)
    made.paths["direct"].blocked = "drop"
    made.reset()
    made.run(1)
    made.paths["direct"].blocked = ""
    until(made, "direct", 12)
    assert made.times(Close)[-1] == made.times(Use, "direct")[-1], "nothing is awaited from the proxy"


def test_failed_probes_are_reported_and_bounded() -> None:
    made = on_proxy()
    assert set(failures(made)) == {"generic_timeout_error"}
    ends, starts = made.times(ProbeEnded), made.times(ProbeStarted)
    assert all(end - start == pytest.approx(3.0) for start, end in zip(starts, ends, strict=False))


@pytest.mark.parametrize("block", ["freeze", "data", "throttle", "reset"])
def test_a_path_that_passes_probes_and_no_data_is_not_gone_back_to(block: str) -> None:
    made = on_proxy(WARM)
    direct = made.paths["direct"]
    direct.blocked = "data" if block == "data" else ""
    direct.freeze_bytes = 16_000 if block == "freeze" else 1e9
    direct.bytes_per_second = 2_000 if block == "throttle" else 1e9
    for _ in range(3000):
        made.run(0.1)
        if block == "reset":
            for number in [number for number, line in made.lines.items() if line.route == DIRECT]:
                if made.lines[number].bytes >= 16_000:
                    made.end(DIRECT)
    assert len(made.times(Use, "direct")) <= 1 + 1, "it may be misled once"
    assert made.route == "proxy1"
    direct.blocked, direct.freeze_bytes, direct.bytes_per_second = "", 1e9, 1e9
    until(made, "direct", 240)


def test_a_path_that_fails_by_bytes_is_not_believed_by_time_where_little_is_said() -> None:
    """Each connection freezes after 16 KB; at two messages a second a trial is over before."""
    made = drill(WARM, interval=0.5)
    made.run(5)
    made.paths["direct"].freeze_bytes = 4_000
    made.run(600)
    uses = made.times(Use, "direct")
    assert len(uses) <= 9, "at most once a minute or so"


def test_cold_failback_closes_the_proxy_only_after_its_last_answers() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    made.run(10)
    back = made.times(Use, "direct")[-1]
    assert made.times(Close)[-1] - back == pytest.approx(PROXY_RTT, abs=0.021)


def test_an_answer_that_never_comes_aborts_the_proxy_after_failback() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    until(made, "direct")
    made.paths["proxy1"].blocked = "drop"
    made.run(2)
    assert kept(made) == ["direct"]
    assert isinstance(made.last(Abort), Abort)


def test_a_proxy_that_ends_while_its_last_answers_are_awaited_is_gone() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    until(made, "direct")
    assert kept(made) == ["direct", "proxy1"]
    made.end("proxy1")
    made.run(2)
    assert kept(made) == ["direct"]


def test_a_proxy_in_doubt_is_not_kept_as_the_spare_after_failback() -> None:
    """The other spare, which works, stays."""
    made = on_proxy(WARM)
    made.paths["direct"].blocked = ""
    while failures(made)[-1:] != [None]:
        made.run(0.01)
    while "direct" not in kept(made):
        made.run(0.01)
    made.run(0.75)
    made.paths["proxy1"].blocked = "drop"
    made.run(0.95)
    assert made.route == "direct"
    spare = next(number for number, line in made.lines.items() if line.route == "proxy2")
    made.run(1)
    assert kept(made) == ["direct", "proxy2"]
    assert spare in made.lines


def test_a_probe_that_fails_once_begins_the_count_anew() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    while None not in failures(made):
        made.run(0.05)
    made.paths["direct"].blocked = "refuse"
    made.run(2.5)
    made.paths["direct"].blocked = ""
    until(made, "direct")
    assert failures(made)[-3:] == ["connection_refused", None, None]


def test_a_return_that_does_not_last_makes_the_next_one_harder() -> None:
    made = on_proxy()
    made.paths["direct"].blocked = ""
    until(made, "direct")
    needed = []
    for _ in range(3):
        made.paths["direct"].blocked = "data"
        until(made, "proxy1")
        made.paths["direct"].blocked = ""
        ended = len(failures(made))
        until(made, "direct", 300)
        needed.append(failures(made)[ended:].count(None))
    assert needed == [4, 8, 16]


def test_a_good_probe_is_taken_at_once_when_the_proxy_has_just_died() -> None:
    made = healthy(proxies=1)
    made.reset()
    made.run(1)
    assert made.route == "proxy1"
    while not made.times(ProbeStarted):
        made.run(0.01)
    made.paths["proxy1"].blocked = "refuse"
    made.reset()
    made.run(0.3)
    assert made.route == "direct"


def test_a_trial_under_way_is_taken_when_the_proxy_dies() -> None:
    made = on_proxy(proxies=1)
    made.paths["direct"].blocked = ""
    while "direct" not in kept(made):
        made.run(0.01)
    made.run(0.5)
    made.paths["proxy1"].blocked = "refuse"
    made.reset()
    until(made, "direct", 2.0)


def test_a_probe_that_hangs_is_given_up_when_another_dial_of_its_path_stands() -> None:
    made = on_proxy(proxies=1)
    while "direct" not in kept(made):
        made.run(0.01)
    made.run(0.1)
    made.paths["direct"].blocked = ""
    made.paths["proxy1"].blocked = "refuse"
    made.reset()
    made.run(1)
    assert made.route == "direct"
    assert kept(made) == ["direct"]
    assert "interrupted" in failures(made)


def test_with_probes_off_the_direct_path_is_not_touched_again() -> None:
    made = healthy(SidedoorSettings(standby="cold", probe_direct="never"))
    made.paths["direct"].blocked = "drop"
    made.run(5)
    before = len(made.times(Dial, "direct"))
    made.paths["proxy1"].blocked = made.paths["proxy2"].blocked = "refuse"
    made.run(20)
    made.paths["direct"].blocked = ""
    made.run(20)
    assert len(made.times(Dial, "direct")) == before == 1
    assert not made.times(ProbeStarted)


# -- remedies without a proxy


@pytest.mark.parametrize(
    ("kind", "remedy"), [("dns_nxdomain", "doh"), ("dns_forged", "doh"), ("sni_drop", "fragmented")]
)
def test_the_diagnosis_picks_the_way_around_that_shows_no_proxy(kind: str, remedy: str) -> None:
    made = on_proxy(COLD, DOH, FRAGMENTED)
    dialed = {command.route for _, command in made.log if isinstance(command, Dial)}
    assert dialed == {"direct", "proxy1"}
    assert isinstance(made.policy, Sidedoor)
    made.policy.diagnosed(Diagnosed("direct", kind, 0.9))
    until(made, remedy, 20)
    made.paths["direct"].blocked = ""
    until(made, "direct")


@pytest.mark.parametrize(
    "diagnosis",
    [
        Diagnosed("direct", "dns_forged", 0.5),
        Diagnosed("proxy1", "dns_forged", 1.0),
        Diagnosed("direct", "throttled", 1.0),
    ],
    ids=["not sure", "of another route", "nothing gets around it"],
)
def test_other_diagnoses_pick_nothing(diagnosis: Diagnosed) -> None:
    made = on_proxy(COLD, DOH, FRAGMENTED)
    assert isinstance(made.policy, Sidedoor)
    made.policy.diagnosed(diagnosis)
    made.run(30)
    assert not made.times(Dial, "doh") + made.times(Dial, "fragmented")


def test_the_spare_stays_when_the_direct_path_takes_over_from_another_without_a_proxy() -> None:
    made = on_proxy(WARM, DOH)
    assert isinstance(made.policy, Sidedoor)
    made.policy.diagnosed(Diagnosed("direct", "dns_forged", 0.9))
    until(made, "doh", 30)
    made.run(2)
    spare = next(number for number, line in made.lines.items() if line.route == "proxy1")
    made.paths["direct"].blocked = ""
    until(made, "direct")
    made.run(2)
    assert kept(made) == ["direct", "proxy1"]
    assert spare in made.lines


# -- the spare


def test_a_spare_that_dies_is_replaced_by_the_next_proxy_after_a_pause() -> None:
    made = healthy(WARM)
    assert kept(made) == ["direct", "proxy1"]
    made.paths["proxy1"].blocked = "drop"
    made.run(20)
    assert kept(made) == ["direct", "proxy2"]
    assert not made.times(PathBad)


def test_a_spare_that_fails_before_the_direct_path_stands_is_replaced_when_it_does() -> None:
    made = drill(WARM, proxy1=Path(blocked="refuse"))
    made.run(2)
    assert made.times(Dial, "proxy2")[0] > made.times(Use, "direct")[0]
    assert kept(made) == ["direct", "proxy2"]


def test_spares_that_fail_are_tried_ever_more_rarely() -> None:
    made = drill(WARM)
    made.paths["proxy1"].blocked = made.paths["proxy2"].blocked = "refuse"
    made.run(60)
    dials = sorted(made.times(Dial, "proxy1") + made.times(Dial, "proxy2"))
    assert dials[-1] - dials[-2] == pytest.approx(8.0, abs=0.2)
    assert len(dials) < 15


def test_on_a_proxy_the_spare_is_another_proxy() -> None:
    made = on_proxy(WARM)
    assert "proxy2" in kept(made)
    made.reset()
    assert made.route == "proxy2"


def test_the_only_proxy_has_no_spare() -> None:
    made = on_proxy(WARM, proxies=1)
    made.run(20)
    assert len(made.times(Dial, "proxy1")) == 1


def test_a_spare_under_way_becomes_the_candidate() -> None:
    made = drill(WARM)
    made.run(0.16 + 0.1)
    assert made.times(Dial, "proxy1")
    made.reset()
    made.run(0.3)
    assert made.route == "proxy1"
    assert len(made.times(Dial, "proxy1")) == 1


def test_a_spare_that_is_behind_is_used_when_it_answers() -> None:
    made = healthy(WARM, interval=0.0)
    while len(made.times(Ping)) < 2:
        made.run(0.005)
    made.paths["proxy2"].blocked = "drop"
    made.paths["proxy1"].extra = lambda _: 0.6
    made.run(10)
    made.run(0.3)
    made.reset()
    made.run(1)
    assert made.route == "proxy1"
    assert len(made.times(Dial, "proxy1")) == 1
