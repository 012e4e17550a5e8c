"""The row of `tg-android`: "sequential; connect timeout 12 s first, then 8 s; next of 4 ports, then next address after
1 retry (3 if data had flowed); data idle 25 s; back-off 50->400 ms on RST or unreachable, else 1 s; proxies: after 10 s
in "connecting" ping those not checked for 2 min, 4 at a time, take the fastest; last good address kept".

The source has 4 s, growing by 2 s, where the row has 25 s.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.policies import (
    Abort,
    Dial,
    DialFailed,
    NetworkChanged,
    PathBad,
    Ping,
    ProbeStarted,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
    Use,
)
from client.policies.tg_android import TgAndroid
from client.policies.tg_android_settings import TgAndroidSettings
from tests.unit.client.policies.drill import Path, StrictDrill

RTT = 0.04
DIAL = 4 * RTT
ROTATION = TgAndroidSettings(proxies="rotation")
ONE_PORT = TgAndroidSettings(ports=1)


def facts(*names: str) -> tuple[RouteFacts, ...]:
    return tuple(RouteFacts(name, proxied=name.startswith("proxy")) for name in names)


def drill(
    constants: TgAndroidSettings = TgAndroidSettings(),  # noqa: B008 - immutable
    names: tuple[str, ...] = ("direct", "proxy1", "proxy2"),
    *,
    interval: float = 0.02,
    blocked: str = "",
    recollection: Recollection = Recollection(),  # noqa: B008 - immutable
) -> StrictDrill:
    paths = {name: Path(RTT, blocked) for name in names}
    policy = TgAndroid(facts(*names), constants, Random(1), recollection)
    return StrictDrill(policy, paths, interval=interval, connect_seconds=20.0)


def routes(made: StrictDrill) -> list[str]:
    return [command.route for _, command in made.log if isinstance(command, Dial)]


# -- connecting


def test_connect_timeout_12_s_first_then_8_s() -> None:
    made = drill(blocked="drop")
    made.run(31)
    assert made.times(Dial) == [0.0, 13.0, 22.0]
    assert made.times(Abort) == [12.0, 21.0, 30.0]
    assert made.times(PathBad) == [12.0]
    assert made.last(PathBad) == PathBad("direct", "dial_failed")


def test_connect_timeout_counts_from_the_last_event() -> None:
    made = drill(blocked="stall")
    made.run(13)
    assert made.times(Abort) == [pytest.approx(RTT + 12.0)]


def test_connect_timeout_goes_on_until_data_come() -> None:
    made = drill(blocked="data")
    made.run(13)
    assert made.times(PathBad) == [pytest.approx(RTT + 12.0)]
    assert made.last(PathBad) == PathBad("direct", "ack_overdue")


def test_sequential_next_of_4_ports_then_next_address_after_1_retry() -> None:
    made = drill(names=("direct", "other"), blocked="refuse")
    made.run(18)
    assert routes(made) == ["direct"] * 8 + ["other"] * 8 + ["direct"] * 2
    times = made.times(Dial)
    assert times == pytest.approx([n * (1.0 + RTT) for n in range(len(times))])


@pytest.mark.parametrize(
    ("seconds", "tries"), [(3.0, 1), (6.0, 3)], ids=["1 retry", "3 if data had flowed, 4 s before"]
)
def test_next_address_after_1_retry_3_if_data_had_flowed(seconds: float, tries: int) -> None:
    made = drill(ONE_PORT, ("direct", "other"))
    made.run(seconds)
    made.paths["direct"].blocked = "refuse"
    made.reset("eof_error")
    made.run(8)
    assert routes(made) == ["direct"] * (1 + tries) + ["other"]
    assert made.route == "other"


def test_next_address_at_once_when_a_connection_stood_and_carried_nothing() -> None:
    made = drill(ONE_PORT, ("direct", "other"))
    made.paths["direct"].blocked = "data"
    made.run(14)
    assert routes(made) == ["direct", "other"]
    assert made.route == "other"


# -- silence


def until_bad(made: StrictDrill) -> float:
    """Seconds from the last data to the verdict."""
    made.paths["direct"].blocked = "drop"
    began, seen = made.now, len(made.times(PathBad))
    made.run(20)
    made.paths["direct"].blocked = ""
    made.run(20)
    assert made.route == "direct"
    return made.times(PathBad)[seen] - began


def test_data_idle_4_s_then_2_s_more_each_time_up_to_16() -> None:
    made = drill()
    made.run(10)
    assert [until_bad(made) for _ in range(8)] == pytest.approx([4, 6, 8, 10, 12, 14, 16, 16], abs=0.02)
    assert made.last(PathBad) == PathBad("direct", "ack_overdue")


def test_data_idle_25_s_as_in_the_row() -> None:
    made = drill(TgAndroidSettings(idle_seconds=25.0))
    made.run(10)
    made.paths["direct"].blocked = "drop"
    made.run(30)
    assert made.times(PathBad) == pytest.approx([35.0], abs=0.02)


def test_silence_without_a_question_is_none_and_pings_ask_every_19_s() -> None:
    made = drill(interval=0.0)
    made.run(60)
    assert made.times(Ping) == [19.0, 38.0, 57.0]
    assert made.times(PathBad) == []
    made.paths["direct"].blocked = "drop"
    made.run(10)
    assert made.times(PathBad) == []
    made.run(16)
    assert len(made.times(PathBad)) == 1


# -- pauses


def test_back_off_50_to_400_ms_on_rst_cleared_by_data() -> None:
    made = drill(blocked="data")
    pauses = []
    for _ in range(5):
        while made.in_use is None:
            made.run(0.01)
        made.reset()
        ended = made.now
        made.run(0.45)
        pauses.append(next(time for time in made.times(Dial) if time >= ended) - ended)
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.4])
    made.paths["direct"].blocked = ""
    made.run(2)
    made.reset()
    made.run(0.06)
    assert made.times(Dial)[-1] == pytest.approx(made.now - 0.01)


@pytest.mark.parametrize(
    ("failure", "pause"),
    [("host_unreachable", 0.05), ("connection_refused", 1.0), ("generic_timeout_error", 1.0)],
)
def test_back_off_on_unreachable_else_1_s(failure: str, pause: float) -> None:
    policy = TgAndroid(facts("direct"), TgAndroidSettings(), Random(1), Recollection())
    assert policy.start(5.0) == [Dial(1, "direct")]
    assert policy.observe(DialFailed(1, "tcp", failure), 6.0) == [PathBad("direct", "dial_failed")]
    assert policy.deadline() == 6.0 + pause
    assert policy.tick(6.0 + pause) == [Dial(2, "direct")]


# -- what is kept


def test_last_good_address_kept() -> None:
    made = drill(names=("direct", "other"), recollection=Recollection({"gone": 0.1, "other": 0.2}))
    made.run(1)
    assert routes(made) == ["other"]
    (kept,) = [command for _, command in made.log if isinstance(command, Remember)]
    assert kept.route == "other"
    assert kept.rtt_seconds == pytest.approx(RTT)


def test_a_network_change_changes_nothing() -> None:
    made = drill()
    made.run(1)
    assert made.policy.observe(NetworkChanged(Recollection()), 1.0) == []


@pytest.mark.parametrize(("names", "then"), [(("other", "direct"), "direct"), (("other",), "other")])
def test_another_list_of_routes(names: tuple[str, ...], then: str) -> None:
    made = drill(names=("direct", "other"))
    made.run(1)
    assert made.policy.observe(RoutesChanged(facts(*names)), 1.0) == []
    made.reset()
    made.run(1)
    assert routes(made) == ["direct", then]


# -- proxies


@pytest.mark.parametrize("blocked", ["drop", "refuse", "stall", "data"])
def test_no_proxy_by_itself(blocked: str) -> None:
    made = drill()
    made.run(5)
    made.paths["direct"].blocked = blocked
    made.run(120)
    assert set(routes(made)) == {"direct"}
    made.paths["direct"].blocked = ""
    made.run(30)
    assert made.route == "direct"


def test_proxies_after_10_s_in_connecting_4_at_a_time_take_the_fastest() -> None:
    names = ("direct", *(f"proxy{n}" for n in range(1, 7)))
    made = drill(ROTATION, names)
    made.paths["proxy3"].rtt = 0.02
    made.run(20)
    assert set(routes(made)) == {"proxy1"}
    made.paths["proxy1"].blocked = "drop"
    made.run(20)
    (bad,) = made.times(PathBad)
    assert bad == pytest.approx(24.0, abs=0.02)
    probed = made.times(ProbeStarted)
    assert probed[:4] == pytest.approx([bad + 10.0] * 4)
    assert probed[4] == pytest.approx(bad + 10.0 + 5 * 0.02)
    assert made.times(Use, "proxy3") == [pytest.approx(bad + 10.0 + 9 * 0.02)]
    assert made.route == "proxy3"


def test_without_data_for_10_s_from_the_start_the_proxies_rotate_too() -> None:
    made = drill(ROTATION)
    made.paths["proxy1"].blocked = "data"
    made.run(11)
    assert made.route == "proxy2"
    assert made.times(PathBad) == [pytest.approx(10.0 + DIAL + RTT)]


def test_proxies_while_the_pause_lasts_the_next_is_dialed_at_once() -> None:
    made = drill(ROTATION)
    made.paths["proxy1"].blocked = "refuse"
    made.run(12)
    assert made.route == "proxy2"


def test_a_list_of_proxies_alone_means_that_the_user_has_set_one() -> None:
    made = drill(names=("proxy1", "proxy2"))
    made.run(5)
    made.paths["proxy1"].blocked = "drop"
    made.run(60)
    assert set(routes(made)) == {"proxy1"}
    assert made.times(ProbeStarted) == []


def test_a_proxy_that_is_gone_from_the_list_is_replaced() -> None:
    made = drill(ROTATION)
    made.run(1)
    made.policy.observe(RoutesChanged(facts("direct", "proxy2")), 1.0)
    made.reset()
    made.run(1)
    assert made.route == "proxy2"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([TgAndroidSettings(), ROTATION]),
    st.lists(
        st.tuples(
            st.sampled_from(["direct", "other", "proxy1", "proxy2", "proxy3"]),
            st.sampled_from(["", "drop", "refuse", "data", "stall"]),
        ),
        max_size=12,
    ),
    st.data(),
)
def test_random_blocks_leave_no_dead_end(
    constants: TgAndroidSettings, blocks: list[tuple[str, str]], data: st.DataObject
) -> None:
    made = drill(constants, ("direct", "other", "proxy1", "proxy2", "proxy3"), interval=0.1)
    for route, blocked in blocks:
        made.paths[route].blocked = blocked
        made.run(data.draw(st.floats(0.01, 15.0)))
        if made.in_use is not None and data.draw(st.booleans()):
            made.reset()
    for path in made.paths.values():
        path.blocked = ""
    made.run(40)
    assert made.route is not None
