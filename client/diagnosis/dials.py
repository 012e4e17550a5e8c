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
ANSWERED_BY_PROXY = frozenset({"proxy_tls", "socks_greeting", "socks_request", "http_connect"})
"""Stages that are passed only where a proxy has said something."""
QUICK_SHARE = 0.5
"""A refusal that came in less than this share of the least round trip known came from nearer than any server."""
QUICK_SECONDS = 0.005
"""... if that is so much sooner at least: what is less may be a busy machine's."""
_BOGUS = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
]
"""Addresses that no public name has (RFC 6890): what forgers like to answer."""


def opinion_of(trace: Trace, history: History, *, hop: float | None) -> Opinion:
    """What a failed or overdue dial suggests, and how far it can be trusted at best.

    `hop`: the least round trip to any server, in seconds.
    """
    failure = trace.failure or "generic_timeout_error"
    if history.facts.proxied:
        return Opinion(*_proxied(trace, history, failure))
    if trace.stage == "dns":
        return Opinion(*_dns(failure))
    if trace.stage in ("dial", "tcp", "tls") and _looked_up(trace, history) and misled(trace.addresses, history.good):
        return Opinion(DNS_FORGED, 0.9)
    if trace.stage == "tls":
        return Opinion(*_tls(trace, history, failure))
    if trace.stage == "upgrade":
        return Opinion(*_upgrade(failure))
    if failure == "connection_refused" or failure in RESETS:
        return Opinion(*_refused(trace, history, hop=hop))
    return Opinion(ADDRESS_DROP, 0.9 if failure in SILENCES else 0.6)


def _looked_up(trace: Trace, history: History) -> bool:
    """Whether the addresses come from a resolver that could be lied for: a dial that asked none has none of them."""
    return bool(trace.addresses) and "dns" not in history.facts.evades


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


def _tls(trace: Trace, history: History, failure: str) -> tuple[str, float]:
    if failure in SILENCES:
        return SNI_DROP, 0.9
    if failure in RESETS:
        return SNI_RESET, 0.9
    # Where nothing has ever led to the origin, port and CA file may be wrong ones.
    known = history.reached or history.alive_since is not None
    if failure in STRANGERS:
        if _looked_up(trace, history) and not history.good:
            return DNS_FORGED, 0.7
        return TLS_INTERCEPTED, 0.9 if known else 0.6
    if failure == "eof_error":
        return SNI_RESET, 0.7 if known else 0.4
    return TLS_INTERCEPTED, 0.6 if known else 0.4


def _upgrade(failure: str) -> tuple[str, float]:
    if failure in SILENCES:
        return FLOW_DROP, 0.8
    return (RESET, 0.8) if failure in RESETS else (ORIGIN_DOWN, 0.5)


def _refused(trace: Trace, history: History, *, hop: float | None) -> tuple[str, float]:
    """A refusal is an RST: the censor's, the origin's own kernel's, or of a host that is not the origin."""
    if any(other.established_at is not None and other.failure in RESETS for other in history.traces):
        return RESET, 0.9
    if history.alive_since is None:
        return ORIGIN_DOWN, 0.4
    if not history.reached and _looked_up(trace, history):
        return (
            (RESET, 0.8) if _from_near(trace, history, hop) else (DNS_FORGED, 0.4 if _outdated(trace, history) else 0.6)
        )
    # Where nothing was looked up that could have been forged, the address may be a wrong one.
    return RESET, 0.4 if _outdated(trace, history) else 0.8 if history.reached else 0.6


def _outdated(trace: Trace, history: History) -> bool:
    """Whether the origin was reached by another route only after the dial had failed. An origin that is restarted
    refuses, too, and then answers by all routes: the next dial knows better."""
    return history.alive_since is not None and _over_at(trace) < history.alive_since


def _from_near(trace: Trace, history: History, hop: float | None) -> bool:
    """Whether no server that is known is so near as what refused. The least time counts, as `hop` is the least: what
    else a machine is busy with makes it more."""
    refused = [other for other in history.traces if other.failure == trace.failure and other.stage == trace.stage]
    took = min(_seconds_each(other) for other in [trace, *refused])
    return hop is not None and took < min(QUICK_SHARE * hop, hop - QUICK_SECONDS)


def _seconds_each(trace: Trace) -> float:
    """What a failed stage took for each of the addresses that were tried one after the other."""
    return (_over_at(trace) - trace.stage_at) / max(1, len(trace.addresses))


def _over_at(trace: Trace) -> float:
    return trace.stage_at if trace.over_at is None else trace.over_at


def _proxied(trace: Trace, history: History, failure: str) -> tuple[str, float]:
    if trace.stage in ("proxy_tls", "socks_greeting", "socks_auth") and failure not in SILENCES | RESETS:
        return _answered_by_proxy(trace.stage, failure)
    if failure == "socks_connection_not_allowed":
        return PROXY_REFUSES, 0.8
    if trace.stage in ("dial", "dns", "tcp", "proxy_tls", "socks_greeting", "socks_auth"):
        return PROXY_DEAD, 0.9
    if failure in STRANGERS:
        return TLS_INTERCEPTED, 0.8 if history.reached or history.alive_since is not None else 0.6
    if trace.stage == "tls" and not ANSWERED_BY_PROXY.intersection(trace.passed):
        return _through_silent_proxy(history, failure)
    return PROXY_UPSTREAM_DEAD, 0.4 if failure not in SILENCES and _outdated(trace, history) else 0.9


def _through_silent_proxy(history: History, failure: str) -> tuple[str, float]:
    """A bridge says nothing of its own: not to who has another key or clock, nor before the origin has answered. It
    hangs up where it does not reach the origin."""
    if failure.startswith("unknown_failure"):
        return PROXY_MISMATCH, 0.9  # Bytes that no bridge of this key sends.
    if history.reached:
        return PROXY_UPSTREAM_DEAD, 0.6
    if failure in SILENCES | RESETS:
        return PROXY_DEAD, 0.6
    return PROXY_UPSTREAM_DEAD if history.alive_since is None else PROXY_MISMATCH, 0.6


def _answered_by_proxy(stage: str, failure: str) -> tuple[str, float]:
    """What stands at the proxy's address has said something, if only that it hangs up."""
    if stage == "socks_auth" or failure == "socks_error":
        return PROXY_REFUSES, 0.9
    if failure in STRANGERS:
        return TLS_INTERCEPTED, 0.8
    return PROXY_MISMATCH, 0.6 if failure == "eof_error" else 0.9
