from __future__ import annotations

import pytest

from client.diagnosis import KINDS
from client.diagnosis.dials import misled, opinion_of
from client.diagnosis.histories import History, Opinion
from client.diagnosis.trace import Trace
from client.policies import RouteFacts

TIMEOUT = "generic_timeout_error"
RIGHT, WRONG = ("203.0.113.10",), ("198.18.0.53",)


def dial(stage: str, failure: str | None, *, addresses: tuple[str, ...] = (), seconds: float = 0.04) -> Trace:
    return Trace(1, "direct", 0.0, stage=stage, stage_at=0.0, addresses=addresses, failure=failure, over_at=seconds)


def direct(*good: str, alive_since: float | None = None) -> History:
    return History(RouteFacts("direct", proxied=False), good=set(good), reached=bool(good), alive_since=alive_since)


def kind(trace: Trace, history: History, *, hop: float | None = None) -> str:
    opinion = opinion_of(trace, history, hop=hop)
    assert opinion.kind in KINDS
    assert 0 < opinion.confidence <= 1
    return opinion.kind


@pytest.mark.parametrize(
    ("stage", "failure", "expected"),
    [
        ("dns", "dns_nxdomain_error", "dns_nxdomain"),
        ("dns", "dns_bogon_error", "dns_forged"),
        ("dns", "dns_servfail_error", "dns_failed"),
        ("dns", TIMEOUT, "dns_drop"),
        ("tcp", TIMEOUT, "address_drop"),
        ("tcp", None, "address_drop"),
        ("tcp", "host_unreachable", "address_drop"),
        ("tcp", "connection_refused", "origin_down"),
        ("tls", TIMEOUT, "sni_drop"),
        ("tls", "connection_reset", "sni_reset"),
        ("tls", "eof_error", "sni_reset"),
        ("tls", "ssl_failed_handshake", "tls_intercepted"),
        ("tls", "ssl_invalid_hostname", "dns_forged"),
        ("upgrade", TIMEOUT, "flow_drop"),
        ("upgrade", "connection_reset", "reset"),
        ("upgrade", "unknown_failure: 502", "origin_down"),
    ],
)
def test_a_direct_dial(stage: str, failure: str | None, expected: str) -> None:
    assert kind(dial(stage, failure, addresses=RIGHT), direct()) == expected


@pytest.mark.parametrize(
    ("stage", "failure", "expected"),
    [
        ("dns", "dns_nxdomain_error", "proxy_dead"),
        ("tcp", TIMEOUT, "proxy_dead"),
        ("proxy_tls", "connection_reset", "proxy_dead"),
        ("socks_greeting", TIMEOUT, "proxy_dead"),
        ("socks_auth", TIMEOUT, "proxy_dead"),
        ("socks_greeting", "socks_error", "proxy_refuses"),
        ("socks_greeting", "unknown_failure: it does not speak SOCKS5", "proxy_mismatch"),
        ("socks_greeting", "eof_error", "proxy_mismatch"),
        ("proxy_tls", "ssl_failed_handshake", "proxy_mismatch"),
        ("proxy_tls", "ssl_invalid_hostname", "tls_intercepted"),
        ("socks_auth", "unknown_failure: wrong password", "proxy_refuses"),
        ("socks_request", "socks_connection_not_allowed", "proxy_refuses"),
        ("socks_request", "socks_host_unreachable", "proxy_upstream_dead"),
        ("http_connect", TIMEOUT, "proxy_upstream_dead"),
        ("tls", TIMEOUT, "proxy_upstream_dead"),
        ("tls", "ssl_unknown_authority", "tls_intercepted"),
    ],
)
def test_a_dial_through_a_proxy(stage: str, failure: str, expected: str) -> None:
    trace = dial(stage, failure)
    trace.passed = ("dns", "tcp", "socks_greeting", "socks_request")
    assert kind(trace, History(RouteFacts("proxy1", proxied=True))) == expected


@pytest.mark.parametrize(
    ("failure", "reached", "alive_since", "expected"),
    [
        (TIMEOUT, False, 0.0, Opinion("proxy_dead", 0.6)),
        (TIMEOUT, True, 0.0, Opinion("proxy_upstream_dead", 0.6)),
        ("connection_reset", False, None, Opinion("proxy_dead", 0.6)),
        ("eof_error", False, None, Opinion("proxy_upstream_dead", 0.6)),
        ("eof_error", False, 0.0, Opinion("proxy_mismatch", 0.6)),
        ("unknown_failure: an altered record", True, None, Opinion("proxy_mismatch", 0.9)),
        ("ssl_unknown_authority", False, None, Opinion("tls_intercepted", 0.6)),
        ("ssl_unknown_authority", False, 0.0, Opinion("tls_intercepted", 0.8)),
    ],
)
def test_a_bridge_which_says_nothing_of_its_own(
    failure: str, reached: bool, alive_since: float | None, expected: Opinion
) -> None:
    trace = dial("tls", failure)
    trace.passed = ("dns", "tcp")
    history = History(RouteFacts("bridge", proxied=True), reached=reached, alive_since=alive_since)
    assert opinion_of(trace, history, hop=None) == expected


@pytest.mark.parametrize(
    ("failure", "alive_since", "confidence"),
    [
        ("socks_connection_refused", None, 0.9),
        ("socks_connection_refused", 0.0, 0.9),
        ("socks_connection_refused", 9.0, 0.4),
        (TIMEOUT, 9.0, 0.9),
    ],
)
def test_a_proxy_that_was_refused_by_the_origin_before_that_was_reached_at_all(
    failure: str, alive_since: float | None, confidence: float
) -> None:
    history = History(RouteFacts("proxy1", proxied=True), alive_since=alive_since)
    found = opinion_of(dial("socks_request", failure), history, hop=None)
    assert found == Opinion("proxy_upstream_dead", confidence)


def test_behind_tls_it_is_the_origin_that_is_silent() -> None:
    trace = dial("upgrade", TIMEOUT)
    trace.passed = ("dns", "tcp", "tls")
    assert kind(trace, History(RouteFacts("bridge", proxied=True))) == "proxy_upstream_dead"


@pytest.mark.parametrize("failure", [TIMEOUT, "connection_refused"])
def test_an_address_that_never_led_to_the_origin_while_another_did(failure: str) -> None:
    assert opinion_of(dial("tcp", failure, addresses=WRONG), direct(*RIGHT), hop=None) == Opinion("dns_forged", 0.9)
    assert kind(dial("tcp", TIMEOUT, addresses=RIGHT), direct(*RIGHT)) == "address_drop"


def test_somebody_elses_certificate_at_the_right_address() -> None:
    assert kind(dial("tls", "ssl_unknown_authority", addresses=RIGHT), direct(*RIGHT)) == "tls_intercepted"


def test_bogus_addresses_need_no_comparison() -> None:
    assert misled(["127.0.0.1", "::1"], set())
    assert misled(["10.1.2.3"], set())
    assert not misled(["127.0.0.1", "203.0.113.10"], set())
    assert not misled(["127.0.0.1"], {"127.0.0.1"}), "a lab on one machine"
    assert not misled([], {"203.0.113.10"})


def test_a_refusal_after_an_rst_is_the_same_censors() -> None:
    history = direct()
    history.traces.append(Trace(1, "direct", 0.0, established_at=1.0, failure="connection_reset"))
    assert kind(dial("tcp", "connection_refused"), history) == "reset"


@pytest.mark.parametrize(
    ("good", "seconds", "hop", "expected"),
    [
        (RIGHT, 0.04, None, Opinion("reset", 0.8)),
        ((), 0.001, 0.04, Opinion("reset", 0.8)),
        ((), 0.04, 0.04, Opinion("dns_forged", 0.6)),
        ((), 0.04, None, Opinion("dns_forged", 0.6)),
        ((), 0.0002, 0.001, Opinion("dns_forged", 0.6)),
    ],
    ids=["the right address", "from too near", "as far as a server", "how far is not known", "on one machine"],
)
def test_a_refusal_while_the_origin_is_reached_otherwise(
    good: tuple[str, ...], seconds: float, hop: float | None, expected: Opinion
) -> None:
    trace = dial("tcp", "connection_refused", addresses=RIGHT, seconds=seconds)
    assert opinion_of(trace, direct(*good, alive_since=0.0), hop=hop) == expected


def test_one_refusal_from_too_near_is_remembered_when_the_next_takes_longer() -> None:
    history = direct(alive_since=0.0)
    near, later = (dial("tcp", "connection_refused", addresses=RIGHT, seconds=seconds) for seconds in (0.001, 0.039))
    history.traces += [near, dial("tls", "eof_error", addresses=RIGHT, seconds=0.0), later]
    assert opinion_of(later, history, hop=0.04) == Opinion("reset", 0.8)


@pytest.mark.parametrize("addresses", [(), RIGHT], ids=["no look-up", "a look-up"])
def test_a_refusal_before_the_origin_was_reached_otherwise_may_be_a_restart(addresses: tuple[str, ...]) -> None:
    trace = dial("tcp", "connection_refused", addresses=addresses)
    assert opinion_of(trace, direct(alive_since=0.05), hop=0.04).confidence == 0.4


def test_a_refusal_from_too_near_is_no_restart() -> None:
    trace = dial("tcp", "connection_refused", addresses=RIGHT, seconds=0.001)
    assert opinion_of(trace, direct(alive_since=0.05), hop=0.04) == Opinion("reset", 0.8)


@pytest.mark.parametrize(
    ("stage", "failure", "origin_alive", "expected"),
    [
        ("tcp", "connection_refused", False, Opinion("origin_down", 0.4)),
        ("tcp", "connection_refused", True, Opinion("reset", 0.6)),
        ("tcp", TIMEOUT, True, Opinion("address_drop", 0.9)),
        ("tls", "ssl_unknown_authority", True, Opinion("tls_intercepted", 0.9)),
    ],
)
@pytest.mark.parametrize(
    ("evades", "addresses"),
    [(frozenset({"dns", "address"}), ("127.0.0.1",)), (frozenset(), ())],
    ids=["fixed", "known"],
)
def test_a_route_that_asks_no_resolver_is_never_misled_by_one(
    evades: frozenset[str],
    addresses: tuple[str, ...],
    stage: str,
    failure: str,
    origin_alive: bool,
    expected: Opinion,
) -> None:
    """The address is bogus as names go: it was given, no resolver led there."""
    history = History(RouteFacts("direct", proxied=False, evades=evades), alive_since=0.0 if origin_alive else None)
    assert opinion_of(dial(stage, failure, addresses=addresses), history, hop=0.04) == expected


@pytest.mark.parametrize(
    ("failure", "kind", "known", "unknown"),
    [
        ("ssl_unknown_authority", "tls_intercepted", 0.9, 0.6),
        ("ssl_failed_handshake", "tls_intercepted", 0.6, 0.4),
        ("eof_error", "sni_reset", 0.7, 0.4),
        ("connection_reset", "sni_reset", 0.9, 0.9),
    ],
)
def test_where_nothing_has_led_to_the_origin_its_port_and_its_authority_may_be_wrong(
    failure: str, kind: str, known: float, unknown: float
) -> None:
    trace, before = dial("tls", failure), History(RouteFacts("direct", proxied=False), reached=True)
    assert opinion_of(trace, direct(), hop=None) == Opinion(kind, unknown)
    assert opinion_of(trace, direct(alive_since=9.0), hop=None) == Opinion(kind, known)
    assert opinion_of(trace, before, hop=None) == Opinion(kind, known)
