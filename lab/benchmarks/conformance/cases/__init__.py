"""All cases, in the order in which they are tried and shown."""

from __future__ import annotations

from lab.benchmarks.conformance.cases import auth, bind, clients, flow, greeting, http, request, socks4, udp

CASES = (
    *greeting.CASES,
    *auth.CASES,
    *request.CASES,
    *flow.CASES,
    *clients.CASES,
    *udp.CASES,
    *bind.CASES,
    *socks4.CASES,
    *http.CASES,
)
TOPICS = {
    "greeting": "Greeting, and how the bytes are cut",
    "auth": "User and password (RFC 1929)",
    "request": "CONNECT and its replies",
    "flow": "The flow",
    "clients": "Many and strange clients",
    "udp": "UDP ASSOCIATE",
    "bind": "BIND",
    "socks4": "SOCKS4 on the same port",
    "http": "HTTP CONNECT on the same port",
}
