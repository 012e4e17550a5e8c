from __future__ import annotations

import pytest

from client.policies import Dial, PathBad, Ping, ProbeEnded, ProbeStarted, Remember, Use
from client.policies.orders import Orders, reason_of


def test_connections_and_pings_are_numbered_and_taken_once() -> None:
    orders = Orders("direct")
    assert orders.dial("direct") == 1
    assert orders.probe("proxy") == 2
    assert (orders.ping(1), orders.ping(2)) == (1, 2)
    orders.probe_ended(2, "proxy", None)
    orders.remember("direct", 0.1)
    assert orders.take() == [
        Dial(1, "direct"),
        Dial(2, "proxy"),
        ProbeStarted(2, "proxy"),
        Ping(1, 1),
        Ping(2, 2),
        ProbeEnded(2, "proxy", None),
        Remember("direct", 0.1),
    ]
    assert orders.take() == []


def test_a_bad_path_is_reported_once_until_it_is_used_again() -> None:
    orders = Orders("direct")
    orders.bad("reset")
    orders.bad("dial_failed")
    orders.use(1, "direct")
    orders.bad("eof")
    assert orders.take() == [PathBad("direct", "reset"), Use(1, "direct"), PathBad("direct", "eof")]


def test_a_path_that_is_left_is_reported_before() -> None:
    orders = Orders("direct")
    orders.use(1, "proxy")
    assert orders.take() == [PathBad("direct", "dial_failed"), Use(1, "proxy")]
    assert orders.path == "proxy"


@pytest.mark.parametrize(
    ("failure", "reason"), [("eof_error", "eof"), ("connection_reset", "reset"), ("timed_out", "reset")]
)
def test_reasons(failure: str, reason: str) -> None:
    assert reason_of(failure) == reason
