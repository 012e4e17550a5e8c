"""What a dial that did not come to its end says about its route. Sans-IO.

Stages are those of `client.routes`, failures OONI's strings (spec df-007). A stage that has not ended yet counts as one
that timed out; how long it took is the caller's matter.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from client.diagnosis import (
    ADDRESS_DROP,
    DNS_DROP,
    DNS_FAILED,
    DNS_FORGED,
    DNS_NXDOMAIN,
    FLOW_DROP,
    ORIGIN_DOWN,
    PROXY_DEAD,
    PROXY_MISMATCH,
    PROXY_REFUSES,
    PROXY_UPSTREAM_DEAD,
    RESET,
    SNI_DROP,
    SNI_RESET,
    TLS_INTERCEPTED,
)
from client.diagnosis.histories import History, Opinion
from client.diagnosis.trace import Trace

RESETS = frozenset({"connection_reset", "connection_aborted"})
SILENCES = frozenset({"generic_timeout_error", "timed_out"})
STRANGERS = frozenset({"ssl_unknown_authority", "ssl_invalid_hostname", "ssl_invalid_certificate"})
QUICK_SHARE = 0.5
"""A refusal that came in less than this share of the least round trip known came from nearer than any server."""
_BOGUS = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
]
"""Addresses that no public name has (RFC 6890): what forgers like to answer."""


def opinion_of(trace: Trace, history: History, *, origin_alive: bool, hop: float | None) -> Opinion:
    """What a failed or overdue dial suggests, and how far it can be trusted at best.

    `origin_alive`: another route has led to the origin since; `hop`: the least round trip to any server, in seconds.
    """
    failure = trace.failure or "generic_timeout_error"
    if history.facts.proxied:
        return Opinion(*_proxied(trace, failure))
    if trace.stage == "dns":
        return Opinion(*_dns(failure))
    looked_up = "dns" not in history.facts.evades
    if looked_up and trace.stage in ("dial", "tcp", "tls") and misled(trace.addresses, history.good):
        return Opinion(DNS_FORGED, 0.9)
    if trace.stage == "tls":
        return Opinion(*_tls(failure, right=bool(history.good) or not looked_up))
    if trace.stage == "upgrade":
        return Opinion(*_upgrade(failure))
    if failure == "connection_refused" or failure in RESETS:
        return Opinion(*_refused(trace, history, origin_alive=origin_alive, hop=hop))
    return Opinion(ADDRESS_DROP, 0.9 if failure in SILENCES else 0.6)


def misled(addresses: Iterable[str], good: set[str]) -> bool:
    """Whether a look-up's addresses are bogus, or none of those by which the origin was reached before."""
    found = set(addresses)
    if not found or found & good:
        return False
    return bool(good) or all(_is_bogus(address) for address in found)


def _is_bogus(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return any(address in network for network in _BOGUS)


def _dns(failure: str) -> tuple[str, float]:
    if failure == "dns_nxdomain_error":
        return DNS_NXDOMAIN, 0.9
    if failure == "dns_bogon_error":
        return DNS_FORGED, 0.9
    return (DNS_DROP if failure in SILENCES else DNS_FAILED), 0.8


def _tls(failure: str, *, right: bool) -> tuple[str, float]:
    """`right`: the address is one that has led to the origin, or comes from no resolver that could be lied for."""
    if failure in SILENCES:
        return SNI_DROP, 0.9
    if failure in STRANGERS:
        return (TLS_INTERCEPTED, 0.9) if right else (DNS_FORGED, 0.7)
    if failure in RESETS:
        return SNI_RESET, 0.9
    return (SNI_RESET, 0.7) if failure == "eof_error" else (TLS_INTERCEPTED, 0.6)


def _upgrade(failure: str) -> tuple[str, float]:
    if failure in SILENCES:
        return FLOW_DROP, 0.8
    return (RESET, 0.8) if failure in RESETS else (ORIGIN_DOWN, 0.5)


def _refused(trace: Trace, history: History, *, origin_alive: bool, hop: float | None) -> tuple[str, float]:
    """A refusal is an RST: the censor's, the origin's own kernel's, or of a host that is not the origin."""
    if any(other.established_at is not None and other.failure in RESETS for other in history.traces):
        return RESET, 0.9
    if not origin_alive:
        return ORIGIN_DOWN, 0.4
    if history.good:
        return RESET, 0.8
    if "dns" in history.facts.evades:
        return RESET, 0.6  # No look-up that could have been forged; the address may be a wrong one.
    took = ((trace.over_at or trace.stage_at) - trace.stage_at) / max(1, len(trace.addresses))
    return (RESET, 0.8) if hop is not None and took < QUICK_SHARE * hop else (DNS_FORGED, 0.6)


def _proxied(trace: Trace, failure: str) -> tuple[str, float]:
    if trace.stage in ("proxy_tls", "socks_greeting", "socks_auth") and failure not in SILENCES | RESETS:
        return _answered_by_proxy(trace.stage, failure)
    if failure == "socks_connection_not_allowed":
        return PROXY_REFUSES, 0.8
    if trace.stage in ("dial", "dns", "tcp", "proxy_tls", "socks_greeting", "socks_auth"):
        return PROXY_DEAD, 0.9
    if failure in STRANGERS:
        return TLS_INTERCEPTED, 0.8
    return PROXY_UPSTREAM_DEAD, 0.9


def _answered_by_proxy(stage: str, failure: str) -> tuple[str, float]:
    """What stands at the proxy's address has said something, if only that it hangs up."""
    if stage == "socks_auth" or failure == "socks_error":
        return PROXY_REFUSES, 0.9
    if failure in STRANGERS:
        return TLS_INTERCEPTED, 0.8
    return PROXY_MISMATCH, 0.6 if failure == "eof_error" else 0.9
