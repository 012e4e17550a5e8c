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


def direct(*good: str) -> History:
    return History(RouteFacts("direct", proxied=False), good=set(good))


def kind(trace: Trace, history: History, *, origin_alive: bool = False, hop: float | None = None) -> str:
    opinion = opinion_of(trace, history, origin_alive=origin_alive, hop=hop)
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
    assert kind(dial(stage, failure), direct()) == expected


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
    assert kind(dial(stage, failure), History(RouteFacts("proxy1", proxied=True))) == expected


@pytest.mark.parametrize("failure", [TIMEOUT, "connection_refused"])
def test_an_address_that_never_led_to_the_origin_while_another_did(failure: str) -> None:
    assert opinion_of(dial("tcp", failure, addresses=WRONG), direct(*RIGHT), origin_alive=False, hop=None) == Opinion(
        "dns_forged", 0.9
    )
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
        (RIGHT, 0.04, None, "reset"),
        ((), 0.001, 0.04, "reset"),
        ((), 0.04, 0.04, "dns_forged"),
        ((), 0.04, None, "dns_forged"),
    ],
    ids=["the right address", "from too near", "as far as a server", "how far is not known"],
)
def test_a_refusal_while_the_origin_is_reached_otherwise(
    good: tuple[str, ...], seconds: float, hop: float | None, expected: str
) -> None:
    trace = dial("tcp", "connection_refused", addresses=good, seconds=seconds)
    assert kind(trace, direct(*good), origin_alive=True, hop=hop) == expected


@pytest.mark.parametrize(
    ("stage", "failure", "origin_alive", "expected"),
    [
        ("tcp", "connection_refused", False, Opinion("origin_down", 0.4)),
        ("tcp", "connection_refused", True, Opinion("reset", 0.6)),
        ("tcp", TIMEOUT, True, Opinion("address_drop", 0.9)),
        ("tls", "ssl_unknown_authority", True, Opinion("tls_intercepted", 0.9)),
    ],
)
def test_a_route_that_asks_no_resolver_is_never_misled_by_one(
    stage: str, failure: str, origin_alive: bool, expected: Opinion
) -> None:
    """The address is bogus as names go: it was given, no name led there."""
    history = History(RouteFacts("alternate", proxied=False, evades=frozenset({"dns", "address"})))
    trace = dial(stage, failure, addresses=("127.0.0.1",))
    assert opinion_of(trace, history, origin_alive=origin_alive, hop=0.04) == expected
