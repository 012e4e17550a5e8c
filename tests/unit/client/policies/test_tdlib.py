"""The row of `tdlib`: "up to 3 direct checks race, a path counts only after a protocol pong; silent-drop: r = max(2,
1.5 rtt + 1) s, ping after 2.5 r, dead after 3.5 r (>= 5 / 7 s); proxy handshake and ping 10 s each; back-off 1->16 s,
cleared on network change; no switch to a proxy by itself".

In the source 2.5 r and 3.5 r are two ways to be dead: so long without a pong, or without any byte. Pings go each r.
"""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.policies import (
    Abort,
    Close,
    Dial,
    NetworkChanged,
    PathBad,
    Ping,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Use,
)
from client.policies.tdlib import Tdlib
from client.policies.tdlib_settings import TdlibSettings
from tests.unit.client.policies.drill import Path, StrictDrill

RTT = 0.04
DIAL = 4 * RTT
BY_PROXY = TdlibSettings(proxies="user")
OFFLINE = TdlibSettings(online=False)


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name.startswith("proxy")) for name in names)


def drill(
    constants: TdlibSettings = TdlibSettings(),  # noqa: B008 - immutable
    names: tuple[str, ...] = ("direct", "proxy1", "proxy2"),
    *,
    interval: float = 0.02,
    rtt: float = RTT,
    blocked: str = "",
) -> StrictDrill:
    paths = {name: Path(rtt, blocked) for name in names}
    policy = Tdlib(facts(*names), constants, Random(1), Recollection())
    return StrictDrill(policy, paths, interval=interval, connect_seconds=20.0)


def dialed(made: StrictDrill) -> set[str]:
    return {command.route for _, command in made.log if isinstance(command, Dial)}


def last_pong(made: StrictDrill, before: float, rtt: float = RTT) -> float:
    return max(time + rtt for time in made.times(Ping) if time + rtt < before)


# -- silent drop


def test_the_first_connection_is_used_unchecked_and_pinged_at_once() -> None:
    made = drill()
    made.run(1)
    assert made.times(Use) == [pytest.approx(DIAL)]
    assert made.times(Ping) == made.times(Use)
    assert made.times(Dial) == [0.0]


@pytest.mark.parametrize(("interval", "spacing"), [(0.0, 2.0), (0.02, 1.0)], ids=["idle: r", "busy: half of r"])
def test_silent_drop_a_ping_each_r_or_with_a_message_after_half_of_it(interval: float, spacing: float) -> None:
    made = drill(interval=interval)
    made.run(10)
    times = made.times(Ping)
    assert len(times) > 4
    for earlier, later in itertools.pairwise(times):
        assert spacing <= later - earlier + 1e-9 <= spacing + 0.03


@pytest.mark.parametrize("interval", [0.0, 0.02])
def test_silent_drop_dead_two_and_a_half_r_after_the_last_pong(interval: float) -> None:
    made = drill(interval=interval)
    made.run(10)
    made.paths["direct"].blocked = "drop"
    made.run(6)
    assert made.last(PathBad) == PathBad("direct", "ack_overdue")
    assert made.times(PathBad) == [pytest.approx(last_pong(made, 10.0) + 5.0)]
    commands = [command for _, command in made.log]
    assert commands.index(PathBad("direct", "ack_overdue")) + 1 == commands.index(Abort(1))


def test_silent_drop_dead_three_and_a_half_r_after_the_last_byte() -> None:
    made = drill(TdlibSettings(pong_factor=100.0), interval=0.0)
    made.run(10)
    made.paths["direct"].blocked = "drop"
    made.run(8)
    assert made.times(PathBad) == [pytest.approx(last_pong(made, 10.0) + 7.0)]


def test_bytes_that_are_no_pong_do_not_count_for_the_pong() -> None:
    made = drill(TdlibSettings(ping_factor=100.0, piggyback_factor=100.0))
    made.run(8)
    assert made.times(PathBad) == [pytest.approx(DIAL + RTT + 5.0)]


def test_r_grows_with_the_rtt_of_the_check() -> None:
    made = drill(interval=0.0, rtt=2.0, blocked="refuse")
    made.run(5)
    made.paths["direct"].blocked = ""
    made.run(40)
    assert made.route == "direct"
    made.paths["direct"].blocked = "drop"
    made.run(12)
    bad = [time for time in made.times(PathBad) if time > 40]
    assert bad == [pytest.approx(last_pong(made, 45.0, 2.0) + 2.5 * 4.0)]


def test_a_first_dial_without_an_answer_is_given_up_as_a_session_is() -> None:
    made = drill(blocked="drop")
    made.run(6)
    assert made.times(PathBad) == made.times(Abort) == [5.0]
    assert made.last(PathBad) == PathBad("direct", "dial_failed")


# -- checks


def test_up_to_3_direct_checks_race() -> None:
    made = drill()
    made.run(2)
    made.paths["direct"].blocked = "drop"
    made.reset()
    made.run(8)
    assert made.times(Dial) == [0.0, 2.0, 2.0, 2.0]
    assert dialed(made) == {"direct"}


def test_a_path_counts_only_after_a_protocol_pong() -> None:
    made = drill()
    made.run(2)
    made.reset()
    made.run(1)
    assert made.times(Use)[1] == pytest.approx(2.0 + DIAL + 2 * RTT), "a dial and two pings"
    made.paths["direct"].blocked = "drop"
    made.run(0.1)
    assert made.route == "direct"


def test_checks_that_are_not_needed_are_kept_for_10_s() -> None:
    made = drill()
    made.run(2)
    made.reset()
    made.run(11)
    assert made.times(Close) == [pytest.approx(2.0 + DIAL + 2 * RTT + 10.0)] * 2


def test_a_checked_connection_takes_over_at_once() -> None:
    made = drill()
    made.run(2)
    made.reset()
    made.run(1)
    made.reset("eof_error")
    assert made.last(PathBad) == PathBad("direct", "eof")
    assert made.times(Use)[2] == 3.0
    assert len(made.times(Dial)) == 4


def test_a_kept_connection_that_ends_is_no_loss() -> None:
    made = drill()
    made.run(2)
    made.reset()
    made.run(1)
    in_use, kept = made.in_use, max(made.lines)
    assert in_use is not None
    made.in_use = kept
    made.reset()
    made.in_use = in_use
    made.run(3)
    assert (made.route, len(made.times(PathBad))) == ("direct", 1)


def test_an_unchecked_route_is_checked_too_while_another_has_just_failed() -> None:
    made = drill(names=("direct", "doh"))
    made.run(2)
    made.paths["direct"].blocked = "drop"
    made.reset()
    made.run(1)
    assert [command.route for _, command in made.log if isinstance(command, Dial)] == [
        "direct",
        "doh",
        "direct",
        "direct",
    ]
    assert made.times(Use, "doh") == [pytest.approx(2.0 + DIAL + 2 * RTT)]


# -- how often


def test_online_there_is_flood_control_and_no_back_off() -> None:
    made = drill(blocked="refuse")
    made.run(11)
    assert made.times(Dial)[:5] == [0.0, 0.04, 0.04, 0.04, 1.0]
    assert made.times(Dial)[5:] == pytest.approx([5.0, 5.04, 5.04, 5.04, 6.0, 10.0, 10.04, 10.04, 10.04])


def test_back_off_from_1_to_16_s_when_not_online() -> None:
    made = drill(OFFLINE, blocked="refuse")
    made.run(90)
    assert made.times(Dial) == [0.0, 1.0, 4.0, 8.0, 12.0, 20.0, 36.0, 52.0, 68.0, 84.0]


def test_back_off_is_cleared_on_network_change() -> None:
    made = drill(OFFLINE, blocked="refuse")
    made.run(55)
    made.paths["direct"].blocked = ""
    assert made.policy.observe(NetworkChanged(Recollection()), 55.0) == [Dial(9, "direct")]


def test_a_network_change_closes_the_session() -> None:
    made = drill()
    made.run(2)
    assert made.policy.observe(NetworkChanged(Recollection()), 2.0) == [Abort(1), Dial(2, "direct")]


def test_not_online_dead_after_135_s() -> None:
    made = drill(OFFLINE, interval=0.0)
    made.run(100)
    assert made.times(Ping) == [pytest.approx(DIAL), pytest.approx(DIAL + 60.0)]
    made.paths["direct"].blocked = "drop"
    made.run(130)
    assert made.times(PathBad) == [pytest.approx(last_pong(made, 100.0) + 135.0)]


# -- proxies


@pytest.mark.parametrize("blocked", ["drop", "refuse", "stall"])
def test_no_switch_to_a_proxy_by_itself(blocked: str) -> None:
    made = drill()
    made.run(2)
    made.paths["direct"].blocked = blocked
    made.reset()
    made.run(120)
    assert dialed(made) == {"direct"}
    made.paths["direct"].blocked = ""
    made.run(15)
    assert made.route == "direct"


def test_a_proxy_that_the_user_has_set_carries_all() -> None:
    made = drill(BY_PROXY)
    made.run(5)
    assert (dialed(made), made.route) == ({"proxy1"}, "proxy1")


def test_proxy_handshake_10_s() -> None:
    made = drill(BY_PROXY, blocked="drop")
    made.run(12)
    assert made.times(PathBad) == [10.0]
    assert made.times(Abort) == [10.0]
    assert made.times(Dial) == [0.0, 10.0, 10.0, 10.0]


def test_proxy_handshake_and_ping_10_s_each() -> None:
    made = drill(BY_PROXY)
    made.run(2)
    made.paths["proxy1"].blocked = "stall"
    made.reset()
    made.run(11)
    assert made.times(Dial)[1:4] == [2.0, 2.0, 2.0]
    assert made.times(Abort) == [pytest.approx(2.0 + RTT + 10.0)] * 3


def test_a_session_through_a_proxy_begins_when_the_proxy_has_answered() -> None:
    made = drill(BY_PROXY, blocked="stall")
    made.run(6)
    assert made.times(PathBad) == [pytest.approx(RTT + 5.0)]


def test_through_a_proxy_nothing_is_opened_beside_a_dial() -> None:
    made = drill(BY_PROXY)
    made.run(20)
    made.paths["proxy1"].blocked = "drop"
    made.run(31)
    counts = {time: made.times(Dial).count(time) for time in made.times(Dial)}
    assert list(counts.values()) == [1, 3, 3, 3]


# -- other routes


def test_routes_that_are_gone_are_not_dialed_again() -> None:
    made = drill(names=("direct", "doh"))
    made.run(2)
    assert made.policy.observe(RoutesChanged(facts("doh")), 2.0) == []
    made.run(2)
    assert made.route == "direct", "the connection goes on"
    made.reset()
    made.run(1)
    assert made.route == "doh"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([TdlibSettings(), BY_PROXY, OFFLINE, TdlibSettings(proxies="user", online=False)]),
    st.lists(
        st.tuples(
            st.sampled_from(["direct", "doh", "proxy1"]), st.sampled_from(["", "drop", "refuse", "data", "stall"])
        ),
        max_size=12,
    ),
    st.data(),
)
def test_random_blocks_leave_no_dead_end(
    constants: TdlibSettings, blocks: list[tuple[str, str]], data: st.DataObject
) -> None:
    made = drill(constants, ("direct", "doh", "proxy1"), interval=0.1)
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(data.draw(st.floats(0.01, 12.0)))
        if made.in_use is not None and data.draw(st.booleans()):
            made.reset()
    for path in made.paths.values():
        path.blocked = ""
    made.run(40)
    assert made.route is not None
