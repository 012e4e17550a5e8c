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
        "proxy1: no proxy answers at its address (proxy_dead, 90% sure).",
        "Messages would go by direct.",
    ]


def tried(stage: str, failure: str | None, kind: str = "none", **stages: float) -> RouteVerdict:
    return RouteVerdict("a", {**stages, stage: 0.1}, failure, diagnosis=Diagnosed("a", kind, 0.6))


REFUSED = tried("tcp", "connection_refused")


@pytest.mark.parametrize(
    ("failure", "what"),
    [
        ("ssl_unknown_authority", "The CA file (--ca-file)"),
        ("ssl_invalid_hostname", "The origin's name (--origin)"),
        ("ssl_failed_handshake", "The origin's port (--origin)"),
        ("eof_error", "The origin's port (--origin)"),
    ],
)
def test_a_call_that_may_be_wrong_is_told_first(failure: str, what: str) -> None:
    stranger = tried("tls", failure)
    for verdicts in ([stranger], [REFUSED, stranger, stranger]):
        assert in_sentences(verdicts, None)[0].startswith(f"{what} may be the wrong one: ")
    for others in ([tried("ping", None, tls=0.1)], [tried("tls", "generic_timeout_error")]):
        assert in_sentences([stranger, *others], None)[0].startswith("a: what is wrong")


def test_a_tls_failure_that_is_no_sign_of_a_wrong_call_is_told_without_one() -> None:
    for verdict in (REFUSED, tried("tls", "connection_reset"), tried("ping", "eof_error", tls=0.1, upgrade=0.1)):
        assert in_sentences([verdict], None)[0].startswith("a: what is wrong")


@pytest.mark.parametrize(
    ("stage", "kind", "hint"),
    [
        ("tcp", "proxy_dead", "sure)."),
        ("socks_greeting", "proxy_dead", "is it the proxy's port?"),
        ("tls", "proxy_dead", "a clock that differs by more than 5 minutes."),
        ("tls", "sni_drop", "sure)."),
    ],
)
def test_where_no_proxy_answered_it_is_said_what_else_a_silence_may_mean(stage: str, kind: str, hint: str) -> None:
    assert in_sentences([tried(stage, "generic_timeout_error", kind)], None)[0].endswith(hint)


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
