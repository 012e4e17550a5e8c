"""Diagnosis: what kind of block it is, with confidence, from what the client alone can see. Sans-IO.

    driver ── observations ──> Diagnosing ──> any policy
                                  │  └─ what both said ──> Diagnosis ──> Diagnosed, behind the policy's commands
    trace       one connection's life: stages, answers, silence
    histories   a route's traces since its first symptom, its round-trip time, the addresses that were right
    judgement   from one route's history to an opinion
    engine      `Diagnosis`: all routes, what they show together, and when to look again
    wrapper     `Diagnosing`: a policy with its diagnosis

An opinion begins with a symptom (an answer overdue, a reset, a failed or slow dial, the policy's verdict), grows with
time and with every dial that shows the same, and ends with `none` when the route has carried well again for a while.
"""

from __future__ import annotations

NONE = "none"
ADDRESS_DROP = "address_drop"
FLOW_DROP = "flow_drop"
RESET = "reset"
DNS_NXDOMAIN = "dns_nxdomain"
DNS_FORGED = "dns_forged"
DNS_FAILED = "dns_failed"
DNS_DROP = "dns_drop"
SNI_DROP = "sni_drop"
SNI_RESET = "sni_reset"
TLS_INTERCEPTED = "tls_intercepted"
THROTTLED = "throttled"
FROZEN = "frozen"
DATA_DROP = "data_drop"
PROXY_DEAD = "proxy_dead"
PROXY_REFUSES = "proxy_refuses"
PROXY_MISMATCH = "proxy_mismatch"
PROXY_UPSTREAM_DEAD = "proxy_upstream_dead"
ORIGIN_DOWN = "origin_down"
NETWORK_DOWN = "network_down"

KINDS = {
    NONE: "nothing is wrong any more",
    ADDRESS_DROP: "packets to the address vanish, SYNs included",
    FLOW_DROP: "flows fall silent after they have begun well",
    RESET: "connections are reset",
    DNS_NXDOMAIN: "the name is said not to exist",
    DNS_FORGED: "the name leads to somebody else's address",
    DNS_FAILED: "the resolver answers with an error",
    DNS_DROP: "the resolver does not answer",
    SNI_DROP: "TCP stands, the ClientHello goes unanswered",
    SNI_RESET: "TCP stands, the connection ends at the ClientHello",
    TLS_INTERCEPTED: "the right address shows somebody else's certificate",
    THROTTLED: "data trickles, far slower than it is sent",
    FROZEN: "each connection stops after so many bytes",
    DATA_DROP: "handshakes and pings pass, messages do not",
    PROXY_DEAD: "no proxy answers at its address",
    PROXY_REFUSES: "the proxy answers and does not serve this client",
    PROXY_MISMATCH: "something answers at the proxy's address, but not as a proxy of this kind does",
    PROXY_UPSTREAM_DEAD: "the proxy answers, the origin behind it does not",
    ORIGIN_DOWN: "no way that was tried leads to the origin",
    NETWORK_DOWN: "nothing answers at all",
}
"""kind -> what it means, in words."""
