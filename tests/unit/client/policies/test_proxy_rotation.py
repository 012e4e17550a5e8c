from __future__ import annotations

from client.policies import (
    Abort,
    Close,
    Command,
    Dial,
    DialFailed,
    Ended,
    Established,
    Heard,
    Ping,
    Ponged,
    ProbeEnded,
    ProbeStarted,
)
from client.policies.orders import Orders
from client.policies.proxy_rotation import ProxyRotation
from client.policies.tg_android_settings import TgAndroidSettings


def rotation(*proxies: str) -> tuple[ProxyRotation, Orders]:
    orders = Orders(proxies[0])
    made = ProxyRotation(TgAndroidSettings(), orders)
    made.set_proxies(proxies)
    return made, orders


def dials(commands: list[Command]) -> list[tuple[int, str]]:
    return [(command.connection, command.route) for command in commands if isinstance(command, Dial)]


def test_a_check_is_a_dial_and_a_ping_and_is_announced() -> None:
    made, orders = rotation("a", "b")
    made.connecting(0.0)
    assert made.deadline() == 10.0
    assert made.tick(9.0) is None
    assert made.tick(10.0) is None
    assert orders.take() == [Dial(1, "a"), ProbeStarted(1, "a"), Dial(2, "b"), ProbeStarted(2, "b")]
    assert made.observe(Established(2, 0.2), 10.2) is None
    assert orders.take() == [Ping(2, 1)]
    assert made.observe(Ponged(2, 1), 10.3) == "b"
    assert orders.take() == [ProbeEnded(2, "b", None), Close(2)]
    assert (made.current, made.owns(1), made.owns(2)) == ("b", True, False)


def test_4_at_a_time() -> None:
    made, orders = rotation(*"abcdef")
    made.connecting(0.0)
    made.tick(10.0)
    assert dials(orders.take()) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert made.observe(DialFailed(2, "tcp", "connection_refused"), 10.1) is None
    assert orders.take() == [ProbeEnded(2, "b", "connection_refused"), Dial(5, "e"), ProbeStarted(5, "e")]


def test_a_check_without_an_event_for_5_s_has_failed() -> None:
    made, orders = rotation("a", "b")
    made.connecting(0.0)
    made.tick(10.0)
    made.observe(Established(1, 0.1), 12.0)
    made.observe(Heard(1), 13.0)
    orders.take()
    assert made.tick(15.0) is None
    assert orders.take() == [ProbeEnded(2, "b", "generic_timeout_error"), Abort(2)]
    assert made.deadline() == 18.0
    assert made.observe(Ended(1, "connection_reset"), 16.0) is None
    assert made.deadline() == 26.0, "without a proxy that works, again after 10 s"


def test_the_current_one_is_checked_but_not_taken() -> None:
    made, _ = rotation("a", "b")
    made.connecting(0.0)
    made.tick(10.0)
    made.observe(Established(1, 0.1), 10.1)
    assert made.observe(Ponged(1, 1), 10.2) is None
    made.observe(Established(2, 0.1), 10.3)
    assert made.observe(Ponged(2, 2), 10.4) == "b"


def test_those_checked_in_the_last_2_min_are_not_checked_again_and_the_fastest_is_taken() -> None:
    made, orders = rotation("a", "b", "c", "d")
    made.connecting(0.0)
    made.tick(10.0)
    for number in (1, 2, 3, 4):
        made.observe(Established(number, 0.1), 11.0)
    assert made.observe(Ponged(4, 4), 11.4) == "d"
    for number, pinged_at in ((2, 11.3), (3, 11.2), (1, 11.5)):
        assert made.observe(Ponged(number, number), pinged_at) is None, "it was taken already"
    orders.take()
    made.connected()
    made.connecting(60.0)
    assert made.tick(70.0) == "c"
    assert orders.take() == []
    made.connecting(200.0)
    assert made.tick(210.0) is None
    assert [route for _, route in dials(orders.take())] == ["a", "b", "c", "d"]


def test_data_end_it_though_checks_go_on() -> None:
    made, orders = rotation("a", "b")
    made.connecting(0.0)
    made.tick(10.0)
    made.connected()
    made.observe(Established(2, 0.1), 10.1)
    assert made.observe(Ponged(2, 1), 10.2) is None
    assert made.deadline() == 15.0
    orders.take()
    made.connecting(11.0)
    assert made.tick(15.0) is None
    assert orders.take() == [ProbeEnded(1, "a", "generic_timeout_error"), Abort(1)]
    assert made.tick(21.0) == "b", "both were checked a moment ago"
    assert orders.take() == []


def test_connecting_again_while_it_rotates_starts_no_second_round() -> None:
    made, _ = rotation("a", "b")
    made.connecting(0.0)
    made.tick(10.0)
    made.connecting(11.0)
    assert made.deadline() == 15.0


def test_one_proxy_does_not_rotate() -> None:
    made, _ = rotation("a")
    made.connecting(0.0)
    assert made.deadline() is None


def test_another_list() -> None:
    made, orders = rotation(*"abcdef")
    made.connecting(0.0)
    made.tick(10.0)
    orders.take()
    made.set_proxies(("f", "b"))
    assert made.current == "f"
    made.observe(DialFailed(1, "tcp", "connection_refused"), 10.1)
    assert dials(orders.take()) == [(5, "f")]
    made.set_proxies(())
    assert made.current == "f"
