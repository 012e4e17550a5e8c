from __future__ import annotations

import itertools
import random
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.policies import (
    DIRECT,
    Abort,
    Close,
    Dial,
    PathBad,
    Ping,
    ProbeEnded,
    ProbeStarted,
    Recollection,
    RouteFacts,
    Use,
)
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings
from tests.unit.client.policies.drill import Drill, Path

COLD = SidedoorSettings(standby="cold")
WARM = SidedoorSettings(standby="warm")


def drill(policy: SidedoorSettings = COLD, *, proxies: int = 2, interval: float = 0.02) -> Drill:
    paths = {"direct": Path()} | {f"proxy{n}": Path(rtt=0.08) for n in range(1, proxies + 1)}
    routes = [RouteFacts(name, proxied=name != DIRECT) for name in paths]
    return Drill(Sidedoor(routes, policy, Random(1), Recollection()), paths, interval)


def healthy(policy: SidedoorSettings = COLD, *, proxies: int = 2, interval: float = 0.02) -> Drill:
    made = drill(policy, proxies=proxies, interval=interval)
    made.run(10)
    assert made.route == "direct"
    assert not made.times(PathBad)
    return made


# -- noticing, and going on by a proxy


@pytest.mark.parametrize(
    ("policy", "switch_seconds"),
    [pytest.param(COLD, 4 * 0.08, id="cold: one dial"), pytest.param(WARM, 0.0, id="warm: at once")],
)
def test_silence_is_noticed_within_the_least_timeout_and_the_proxy_carries_on(
    policy: SidedoorSettings, switch_seconds: float
) -> None:
    made = healthy(policy)
    t0 = made.now
    made.paths["direct"].blocked = "drop"
    made.run(5)
    (bad,) = made.times(PathBad)
    assert made.log[[time for time, _ in made.log].index(bad)][1] == PathBad("direct", "ack_overdue")
    assert 0.25 < bad - t0 <= 0.3 + 0.001
    (used,) = made.times(Use, "proxy1")
    assert used - bad == pytest.approx(switch_seconds)
    assert made.route == "proxy1"


def test_the_new_path_is_used_before_the_old_connection_is_aborted() -> None:
    made = healthy()
    old = made.in_use
    assert old is not None
    made.paths["direct"].blocked = "drop"
    made.run(2)
    commands = [command for _, command in made.log]
    assert commands.index(Abort(old)) == commands.index(Use(2, "proxy1")) + 1


@pytest.mark.parametrize(("failure", "reason"), [("connection_reset", "reset"), ("eof_error", "eof")])
def test_a_signalled_end_acts_at_once(failure: str, reason: str) -> None:
    made = healthy()
    made.reset(failure)
    assert made.log[-2:] == [(made.now, PathBad("direct", reason)), (made.now, Dial(2, "proxy1"))]


def test_a_signalled_end_with_a_warm_spare_costs_nothing() -> None:
    made = healthy(WARM)
    made.reset()
    assert made.route == "proxy1"


def test_a_dead_proxy_is_followed_by_the_next() -> None:
    made = healthy()
    made.paths["proxy1"].blocked = "refuse"
    made.reset()
    made.run(1)
    assert made.route == "proxy2"
    assert made.times(Use, "proxy2")[0] - made.times(PathBad)[0] == pytest.approx(0.08 + 4 * 0.08)


def test_a_proxy_that_does_not_answer_is_passed_by_after_the_stagger() -> None:
    made = healthy()
    made.paths["proxy1"].blocked = "drop"
    made.reset()
    made.run(3)
    assert made.route == "proxy2"
    assert made.times(Use, "proxy2")[0] - made.times(PathBad)[0] == pytest.approx(1.0 + 4 * 0.08)
    assert Abort(2) in [command for _, command in made.log], "the dial of proxy1 is given up"


def test_a_proxy_that_passes_dials_and_drops_data_is_left() -> None:
    made = healthy(proxies=2)
    made.paths["proxy1"].blocked = "data"
    made.paths["direct"].blocked = "drop"
    made.run(5)
    assert made.route == "proxy2"


def test_all_routes_blocked_backs_off_with_a_cap_and_recovers() -> None:
    made = healthy()
    for path in made.paths.values():
        path.blocked = "refuse"
    made.reset()
    made.run(60)
    assert made.route is None
    rounds = made.times(Dial, "proxy1")
    gaps = [later - earlier for earlier, later in itertools.pairwise(rounds)]
    assert max(gaps) == pytest.approx(8.0, abs=0.5)
    assert gaps[1] < gaps[2] < gaps[3]
    assert len(made.times(PathBad)) == 1
    made.paths["proxy2"].blocked = ""
    made.run(10)
    assert made.route == "proxy2"


def test_the_path_that_answers_again_before_another_stands_is_kept() -> None:
    made = healthy()
    for name in ("proxy1", "proxy2"):
        made.paths[name].blocked = "drop"
    made.paths["direct"].blocked = "drop"
    made.run(0.5)
    assert made.times(PathBad)
    made.paths["direct"].blocked = ""
    made.run(1)
    assert made.route == "direct"
    assert made.times(Use) == [pytest.approx(0.16)]
    made.paths["direct"].blocked = "drop"
    made.run(1)
    assert len(made.times(PathBad)) == 2, "the next silence is noticed anew"


def test_a_reset_of_the_doubted_path_changes_nothing() -> None:
    made = healthy()
    made.paths["direct"].blocked = made.paths["proxy1"].blocked = "drop"
    made.run(0.5)
    made.reset()
    assert len(made.times(PathBad)) == 1
    made.run(2)
    assert made.route == "proxy2"


def test_without_a_proxy_the_direct_path_is_dialed_again() -> None:
    made = healthy(proxies=0)
    made.reset()
    made.run(1)
    assert made.route == "direct"
    assert made.times(Use)[1] - made.times(PathBad)[0] == pytest.approx(0.16)
    assert not made.times(ProbeStarted)


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
    made.paths["direct"].blocked = "drop"
    made.paths["proxy1"].blocked = ""
    made.run(10)
    assert made.route == "proxy1"
    used = made.times(Use, "proxy1")[0]
    at_the_switch = [command for time, command in made.log if time == used]
    number = max(command.connection for command in at_the_switch if isinstance(command, ProbeEnded))
    assert at_the_switch[-2:] == [ProbeEnded(number, "direct", "interrupted"), Abort(number)]


# -- the start


@pytest.mark.parametrize("blocked", ["refuse", "drop"])
def test_blocked_from_the_start(blocked: str) -> None:
    made = drill()
    made.paths["direct"].blocked = blocked
    made.run(5)
    assert made.route == "proxy1"
    assert made.last(PathBad) == PathBad("direct", "dial_failed")
    assert made.times(Use, "proxy1")[0] <= 1.0 + 4 * 0.08


# -- the single message


def test_one_message_alone_is_followed_by_a_ping_before_the_verdict() -> None:
    made = healthy(interval=0.0)
    made.send()
    made.run(1)
    assert not made.times(Ping)
    made.paths["direct"].blocked = "drop"
    t0 = made.now
    made.send()
    made.run(2)
    assert made.times(Ping)[0] - t0 == pytest.approx(0.15)
    assert 0.3 <= made.times(PathBad)[0] - t0 < 0.32


def test_one_message_alone_can_be_made_to_suffice() -> None:
    made = healthy(SidedoorSettings(standby="cold", least_unanswered=1), interval=0.0)
    made.send()
    made.run(1)
    made.paths["direct"].blocked = "drop"
    t0 = made.now
    made.send()
    made.run(1)
    assert not made.times(Ping)
    assert made.times(PathBad)[0] - t0 == pytest.approx(0.3)


def test_a_long_round_trip_gives_the_second_witness_its_time() -> None:
    made = drill(interval=0.0)
    made.paths["direct"].rtt = 0.5
    made.run(5)
    for _ in range(30):
        made.send()
        made.run(1)
    made.paths["direct"].blocked = "drop"
    t0 = made.now
    made.send()
    made.run(3)
    (ping,) = made.times(Ping)[-1:]
    assert made.times(PathBad)[0] - ping > 0.5
    assert made.times(PathBad)[0] - t0 < 2.0


def test_an_idle_path_is_pinged_and_its_death_noticed() -> None:
    made = healthy(interval=0.0)
    made.run(30)
    assert len(made.times(Ping)) >= 3
    made.paths["direct"].blocked = "drop"
    made.run(12)
    assert made.route == "proxy1"


# -- hiccups and jitter


def test_a_timer_that_is_late_is_no_verdict() -> None:
    """The process stands still for 0.4 s; the answers have arrived and are read right after the timer."""
    made = healthy()
    policy = made.policy
    now = made.now
    assert policy.deadline() is not None
    late = (policy.deadline() or 0) + 0.4
    assert not [command for command in policy.tick(late) if isinstance(command, PathBad)]
    assert (policy.deadline() or 0) > late
    assert now < late


def test_a_machine_that_is_always_late_still_gets_its_verdict() -> None:
    made = healthy()
    made.late = lambda number: 0.05
    made.paths["direct"].blocked = "drop"
    made.run(3)
    assert made.route == "proxy1"


@settings(max_examples=40, deadline=None)
@example(seed=0, rtt=0.1875, jitter=0.046875, standby=COLD)
@given(
    seed=st.integers(0, 2**32),
    rtt=st.floats(0.005, 0.2),
    jitter=st.floats(0.0, 0.05),
    standby=st.sampled_from([COLD, WARM]),
)
def test_no_switch_under_jitter_and_loss(seed: int, rtt: float, jitter: float, standby: SidedoorSettings) -> None:
    """1 % of the round trips lose a packet, which TCP mends after a round trip and three more packets (RFC 5681)."""
    chance = random.Random(seed)
    made = drill(standby)
    made.paths["direct"].rtt = rtt
    made.paths["direct"].extra = lambda number: chance.random() * jitter + (chance.random() < 0.01) * (rtt + 0.06)
    made.run(60)
    assert not made.times(PathBad)
    assert made.times(Use) == made.times(Use, "direct")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), gap=st.floats(0.5, 3.0))
def test_whatever_is_blocked_in_turn_a_free_route_is_found(seed: int, gap: float) -> None:
    chance = random.Random(seed)
    made = drill(chance.choice([COLD, WARM]))
    for _ in range(8):
        free = chance.choice(list(made.paths))
        for name, path in made.paths.items():
            path.blocked = "" if name == free else chance.choice(["drop", "refuse", "data", ""])
        made.run(gap)
        if chance.random() < 0.3 and made.in_use is not None:
            made.reset()
    for path in made.paths.values():
        path.blocked = ""
    made.run(120)
    assert made.route == "direct", "with everything free again, it ends where it began"
    assert len(made.lines) == (2 if made.times(Dial, "proxy1") and _is_warm(made) else 1)


def _is_warm(made: Drill) -> bool:
    return any(line.route != "direct" for line in made.lines.values())


# -- the way back


def blocked_then_free(policy: SidedoorSettings = COLD) -> Drill:
    made = healthy(policy)
    made.paths["direct"].blocked = "drop"
    made.run(10)
    assert made.route == "proxy1"
    made.paths["direct"].blocked = ""
    return made


def test_failed_probes_are_reported_and_bounded() -> None:
    made = blocked_then_free()
    failures = [command.failure for _, command in made.log if isinstance(command, ProbeEnded)]
    assert set(failures) == {"generic_timeout_error"}
    ends, starts = made.times(ProbeEnded), made.times(ProbeStarted)
    assert all(end - start == pytest.approx(3.0) for start, end in zip(starts, ends, strict=False))


@pytest.mark.parametrize("policy", [COLD, WARM])
def test_two_probes_in_a_row_bring_it_back(policy: SidedoorSettings) -> None:
    made = blocked_then_free(policy)
    freed = made.now
    made.run(10)
    assert made.route == "direct"
    back = made.times(Use, "direct")[-1] - freed
    assert 2.0 < back < 3.0 + 2 * 2.0 + 0.5
    assert [failure.failure for _, failure in made.log if isinstance(failure, ProbeEnded)][-2:] == [None, None]
    made.run(1)
    kept = {line.route for line in made.lines.values()}
    assert kept == ({"direct"} if policy is COLD else {"direct", "proxy1"})


def test_cold_failback_closes_the_proxy_only_after_its_last_answers() -> None:
    made = blocked_then_free()
    made.run(10)
    back = made.times(Use, "direct")[-1]
    assert made.times(Close)[-1] - back == pytest.approx(0.08, abs=0.021)


def test_cold_failback_without_traffic_closes_the_proxy_at_once() -> None:
    made = healthy(interval=0.0)
    made.paths["direct"].blocked = "drop"
    made.reset()
    made.run(1)
    made.paths["direct"].blocked = ""
    made.run(8)
    assert made.route == "direct"
    assert made.times(Close)[-1] == made.times(Use, "direct")[-1]


def test_an_answer_that_never_comes_aborts_the_proxy_after_failback() -> None:
    made = blocked_then_free()
    while made.route != "direct":
        made.run(0.01)
    made.paths["proxy1"].blocked = "drop"
    made.run(1)
    assert {line.route for line in made.lines.values()} == {"direct"}
    assert isinstance(made.last(Abort), Abort)


def test_a_probe_that_fails_once_begins_the_count_anew() -> None:
    made = blocked_then_free()
    while not [command for _, command in made.log if isinstance(command, ProbeEnded) and command.failure is None]:
        made.run(0.05)
    made.paths["direct"].blocked = "refuse"
    made.run(2.5)
    made.paths["direct"].blocked = ""
    freed = made.now
    made.run(10)
    assert made.times(Use, "direct")[-1] - freed > 2.0


def test_a_return_that_does_not_last_makes_the_next_one_harder() -> None:
    made = blocked_then_free()
    needed = []
    while made.route != "direct":
        made.run(0.05)
    for _ in range(3):
        made.paths["direct"].blocked = "data"
        probes = len(made.times(ProbeEnded))
        made.run(1)
        assert made.route == "proxy1"
        made.paths["direct"].blocked = ""
        while made.route != "direct":
            made.run(0.05)
        needed.append(len(made.times(ProbeEnded)) - probes)
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


# -- the spare


def test_a_spare_that_dies_is_replaced_by_the_next_proxy_after_a_pause() -> None:
    made = healthy(WARM)
    assert {line.route for line in made.lines.values()} == {"direct", "proxy1"}
    made.paths["proxy1"].blocked = "drop"
    made.run(20)
    assert {line.route for line in made.lines.values()} == {"direct", "proxy2"}
    assert not made.times(PathBad)


def test_spares_that_fail_are_tried_ever_more_rarely() -> None:
    made = drill(WARM)
    made.paths["proxy1"].blocked = made.paths["proxy2"].blocked = "refuse"
    made.run(60)
    dials = sorted(made.times(Dial, "proxy1") + made.times(Dial, "proxy2"))
    assert dials[-1] - dials[-2] == pytest.approx(8.0, abs=0.2)
    assert len(dials) < 15


def test_on_a_proxy_the_spare_is_another_proxy() -> None:
    made = healthy(WARM)
    made.paths["direct"].blocked = "drop"
    made.run(1)
    assert sorted(line.route for line in made.lines.values() if line.route != "direct") == ["proxy1", "proxy2"]
    made.reset()
    assert made.route == "proxy2"


def test_a_spare_under_way_becomes_the_candidate() -> None:
    made = drill(WARM)
    made.run(0.16 + 0.1)
    assert made.times(Dial, "proxy1")
    made.reset()
    made.run(0.3)
    assert made.route == "proxy1"
    assert len(made.times(Dial, "proxy1")) == 1


def test_a_spare_whose_ping_is_under_way_is_used_when_it_answers() -> None:
    made = drill(WARM)
    while not made.times(Ping):
        made.run(0.005)
    made.paths["proxy2"].blocked = "drop"
    made.reset()
    made.run(0.1)
    assert made.route == "proxy1"


def test_the_spare_of_the_second_proxy_is_used_when_it_stands_first() -> None:
    made = healthy(WARM)
    made.paths["direct"].blocked = "drop"
    made.paths["proxy2"].rtt = 0.2
    made.run(0.3 + 0.5)
    assert made.route == "proxy1"
    made.paths["proxy1"].blocked = "drop"
    made.run(1.5)
    assert made.route == "proxy2"
