"""The ways to the origin that a lab offers to its clients, by the names that scenarios and events have for them.

Besides `direct` and the SOCKS5 proxies, which are called as their hosts: `proxy1-tls` and `proxy1-http` are the same
proxy by SOCKS5 inside TLS and by HTTP CONNECT; `bridge` is the obfuscated route, whose far end stands where innocent
web sites are; `alternate` is another port of the origin; `doh` asks the lab's nameserver by DNS over HTTPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.topology import ORIGIN_NAME, Topology

ORIGIN_PORT, ALTERNATE_PORT = 443, 8443
PROXY_PORT, TLS_PROXY_PORT = 1080, 443
DNS_NAME, DOH_PORT = "dns.example", 443
BRIDGE, BRIDGE_HOST, BRIDGE_PORT = "bridge", "web", 8443
# One of the proxies asks for a password, so that both kinds of SOCKS5 session are in every run.
PROXY_USER, PROXY_PASSWORD = "lab", "through-the-sidedoor"
PROXY_WITH_PASSWORD = "proxy2"
STRAIGHT = ("direct", "alternate", "doh", "tls-fragment", "tcp-segment")
"""Those that lead to the origin's own addresses."""
_PROXIED_KINDS = {
    "": ("socks5", PROXY_PORT),
    "-tls": ("socks5-tls", TLS_PROXY_PORT),
    "-http": ("http-connect", PROXY_PORT),
}


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a route's first connection goes."""

    addresses: tuple[str, ...]
    port: int


def proxies(topology: Topology) -> tuple[str, ...]:
    """The names of the proxies, in the order in which clients know them."""
    return tuple(host.name for host in topology.hosts if any(one.network == "proxies" for one in host.interfaces[:1]))


def proxy_name(proxy: str) -> str:
    """What a proxy's certificate is for."""
    return f"{proxy}.example"


def route_names(topology: Topology) -> tuple[str, ...]:
    """All the routes of a lab."""
    proxied = tuple(f"{proxy}{suffix}" for suffix in _PROXIED_KINDS for proxy in proxies(topology))
    has_bridge = any(host.name == BRIDGE_HOST for host in topology.hosts)
    return (*STRAIGHT, *proxied, *((BRIDGE,) if has_bridge else ()))


def first_hop(topology: Topology, route: str) -> Hop:
    """Where the route's first connection goes: the origin, a proxy, the bridge."""
    if route == BRIDGE:
        return Hop(topology.host(BRIDGE_HOST).addresses(), BRIDGE_PORT)
    if route in STRAIGHT:
        return Hop(topology.names[ORIGIN_NAME], ALTERNATE_PORT if route == "alternate" else ORIGIN_PORT)
    host, _, suffix = route.partition("-")
    _, port = _PROXIED_KINDS[f"-{suffix}" if suffix else ""]
    return Hop(topology.host(host).addresses(), port)


def client_routes(topology: Topology, names: Sequence[str], bridge_key: str) -> list[dict[str, Any]]:
    """These routes as a sender's settings (`client.routes.settings`)."""
    return [_client_route(topology, name, bridge_key) for name in names]


def _client_route(topology: Topology, name: str, bridge_key: str) -> dict[str, Any]:
    hop = first_hop(topology, name)
    match name:
        case "direct" | "tls-fragment" | "tcp-segment":
            return {"kind": name}
        case "alternate":
            return {"kind": name, "addresses": [_endpoint(address, hop.port) for address in hop.addresses]}
        case "doh":
            return {"kind": name, "address": topology.nameserver, "port": DOH_PORT, "server_name": DNS_NAME}
        case "bridge":
            return {"kind": "obfuscated", "name": name, "host": hop.addresses[0], "port": hop.port, "key": bridge_key}
    host, _, suffix = name.partition("-")
    kind, port = _PROXIED_KINDS[f"-{suffix}" if suffix else ""]
    route: dict[str, Any] = {"kind": kind, "name": name, "host": hop.addresses[0], "port": port}
    if kind == "socks5-tls":
        route["server_name"] = proxy_name(host)
    if host == PROXY_WITH_PASSWORD:
        route |= {"username": PROXY_USER, "password": PROXY_PASSWORD}
    return route


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
