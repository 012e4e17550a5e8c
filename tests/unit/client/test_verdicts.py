from __future__ import annotations

import pytest

from client.policies import Diagnosed, Recollection, RouteFacts
from client.verdicts import RouteVerdict, as_data, chosen, in_sentences, table

WORKS = RouteVerdict("direct", {"dns": 0.002, "tcp": 0.04, "ping": 0.041})
DEAD = RouteVerdict(
    "proxy1", {"tcp": 3.5}, "generic_timeout_error", "nothing came", Diagnosed("proxy1", "proxy_dead", 0.9)
)
FACTS = (RouteFacts("proxy1", True), RouteFacts("proxy2", True), RouteFacts("direct", False), RouteFacts("doh", False))


def working(*routes: str) -> list[RouteVerdict]:
    return [RouteVerdict(one.name, {"tcp": 0.1}, None if one.name in routes else "eof_error") for one in FACTS]


def test_the_table_has_a_line_for_each_route_in_columns() -> None:
    assert table([WORKS, DEAD]) == [
        "route   reached  ms    verdict            stages (ms)",
        "direct  ping     83    works              dns 2, tcp 40, ping 41",
        "proxy1  tcp      3500  no answer in time  tcp 3500",
    ]


def test_sentences_say_what_is_wrong_and_what_would_be_used() -> None:
    assert in_sentences([WORKS, DEAD], "direct") == [
        "proxy1: the proxy cannot be reached (proxy_dead, 90% sure).",
        "Messages would go by direct.",
    ]


@pytest.mark.parametrize("diagnosis", [None, Diagnosed("proxy1", "none", 0.9)])
def test_no_opinion_is_said_to_be_none(diagnosis: Diagnosed | None) -> None:
    verdict = RouteVerdict("proxy1", {}, "eof_error", diagnosis=diagnosis)
    assert in_sentences([verdict], None) == [
        "proxy1: what is wrong cannot be told from one attempt.",
        "No route leads to the origin.",
    ]
    assert verdict.reached == ""


@pytest.mark.parametrize(
    ("works", "recollection", "route"),
    [
        ((), Recollection(), None),
        (("proxy2",), Recollection(), "proxy2"),
        (("proxy1", "proxy2", "doh"), Recollection(), "doh"),
        (("proxy1", "doh", "direct"), Recollection(), "direct"),
        (("proxy1", "proxy2"), Recollection(), "proxy1"),
        (("proxy1", "proxy2"), Recollection(rtt_seconds={"proxy2": 0.1}), "proxy2"),
        (("proxy1", "proxy2"), Recollection(failed=frozenset({"proxy1"})), "proxy2"),
    ],
)
def test_which_route_would_be_used(works: tuple[str, ...], recollection: Recollection, route: str | None) -> None:
    assert chosen(working(*works), FACTS, recollection) == route


def test_the_same_for_programs() -> None:
    data = as_data("origin.example:443", [WORKS, DEAD], "direct")
    assert (data["origin"], data["chosen"]) == ("origin.example:443", "direct")
    assert data["routes"][1] == {
        "route": "proxy1",
        "works": False,
        "reached": "tcp",
        "failure": "generic_timeout_error",
        "detail": "nothing came",
        "stages": {"tcp": 3.5},
        "seconds": 3.5,
        "diagnosis": {"kind": "proxy_dead", "confidence": 0.9},
    }
    assert data["routes"][0]["diagnosis"] is None
