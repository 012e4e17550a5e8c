"""The lab's networks, hosts, addresses and names, as data. Both runtimes build this and nothing else.

Only documentation and benchmark ranges are used (RFC 5737, RFC 2544, RFC 3849), so that no packet of a lab can be
meant for anybody outside it. docs/architecture.md has the table, docs/lab.md the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


@dataclass(frozen=True, slots=True)
class Network:
    """One broadcast domain; `router` is the host that its end hosts use as their gateway."""

    name: str
    ipv4: IPv4Network
    ipv6: IPv6Network
    router: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A host's place in one network."""

    network: str
    ipv4: IPv4Address
    ipv6: IPv6Address


@dataclass(frozen=True, slots=True)
class Route:
    """What lies behind another router: `network` is reached `via` that host's address on the shared network."""

    network: str
    via: str


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the lab. A host with `forwards` is a router; `gateway` is the host of its default route."""

    name: str
    interfaces: tuple[Interface, ...]
    gateway: str | None = None
    forwards: bool = False
    routes: tuple[Route, ...] = ()

    def on(self, network: str) -> Interface:
        """This host's interface in `network`. Raises KeyError where it has none."""
        for interface in self.interfaces:
            if interface.network == network:
                return interface
        raise KeyError(f"{self.name} is not in network {network}")

    def addresses(self) -> tuple[str, ...]:
        """All its addresses, as text."""
        return tuple(str(a) for i in self.interfaces for a in (i.ipv4, i.ipv6))


@dataclass(frozen=True, slots=True)
class Topology:
    """Networks, hosts, and the names that the lab's DNS serves (name -> addresses)."""

    networks: tuple[Network, ...]
    hosts: tuple[Host, ...]
    names: dict[str, tuple[str, ...]]
    nameserver: str

    def network(self, name: str) -> Network:
        return next(n for n in self.networks if n.name == name)

    def host(self, name: str) -> Host:
        return next(h for h in self.hosts if h.name == name)

    def next_hop(self, host: Host, other: str) -> Interface:
        """The interface of host `other` on a network that `host` shares with it. Raises KeyError without one."""
        mine = {i.network for i in host.interfaces}
        for interface in self.host(other).interfaces:
            if interface.network in mine:
                return interface
        raise KeyError(f"{host.name} and {other} share no network")


ORIGIN_NAME = "messenger.example"
# An innocent site on the messenger's own address: what an address block breaks besides its target.
NEIGHBOUR_NAME = "shop.example"
# Innocent sites elsewhere; the second one's name only looks like the messenger's (a suffix rule must spare it).
WEB_NAMES = ("news.example", "cdn.messenger.example.net")


def _network(name: str, ipv4: str, ipv6: str, router: str) -> Network:
    return Network(name, IPv4Network(ipv4), IPv6Network(ipv6), router)


def _interface(network: str, ipv4: str, ipv6: str) -> Interface:
    return Interface(network, IPv4Address(ipv4), IPv6Address(ipv6))


CROWD_PROXIES = 4
CROWD_LIMIT = 99


@dataclass(frozen=True, slots=True)
class Crowd:
    """A topology for benchmarks: 1 to CROWD_LIMIT clients, `client1` and so on. bystander: one, and its web site."""

    clients: int
    bystander: bool = False


def standard() -> Topology:
    """The one topology: client - home - censor - uplink - wan - {messenger, proxies, services}."""
    return _topology((_home("client", 10), _home("bystander", 20)), proxies=2, web=True)


def crowd(of: Crowd) -> Topology:
    """The same with `client1` (192.0.2.101) and so on in the client's place, and with four proxies.

    Raises ValueError for a number of clients that is out of bounds.
    """
    if not 1 <= of.clients <= CROWD_LIMIT:
        raise ValueError(f"a crowd of {of.clients} clients: expected 1 to {CROWD_LIMIT}")
    clients = [_home(f"client{number}", 100 + number) for number in range(1, of.clients + 1)]
    bystanders = [_home("bystander", 20)] if of.bystander else []
    return _topology((*clients, *bystanders), proxies=CROWD_PROXIES, web=of.bystander)


def _home(name: str, number: int) -> Host:
    """An end host in the home network."""
    return Host(name, (_interface("home", f"192.0.2.{number}", f"2001:db8:1::{number}"),), gateway="censor")


def _proxy(number: int) -> Host:
    interface = _interface("proxies", f"198.51.100.{10 + number}", f"2001:db8:3::{10 + number}")
    return Host(f"proxy{number}", (interface,), gateway="wan")


def _topology(homes: tuple[Host, ...], *, proxies: int, web: bool) -> Topology:
    networks = (
        _network("home", "192.0.2.0/24", "2001:db8:1::/64", "censor"),
        _network("uplink", "198.19.255.0/24", "2001:db8:ff::/64", "wan"),
        _network("messenger", "203.0.113.0/24", "2001:db8:2::/64", "wan"),
        _network("proxies", "198.51.100.0/24", "2001:db8:3::/64", "wan"),
        _network("services", "198.18.0.0/24", "2001:db8:4::/64", "wan"),
    )
    hosts = (
        *homes,
        Host(
            "censor",
            (
                _interface("home", "192.0.2.1", "2001:db8:1::1"),
                _interface("uplink", "198.19.255.1", "2001:db8:ff::1"),
            ),
            gateway="wan",
            forwards=True,
        ),
        Host(
            "wan",
            (
                _interface("uplink", "198.19.255.2", "2001:db8:ff::2"),
                _interface("messenger", "203.0.113.1", "2001:db8:2::1"),
                _interface("proxies", "198.51.100.1", "2001:db8:3::1"),
                _interface("services", "198.18.0.1", "2001:db8:4::1"),
            ),
            forwards=True,
            routes=(Route("home", "censor"),),
        ),
        Host("messenger", (_interface("messenger", "203.0.113.10", "2001:db8:2::10"),), gateway="wan"),
        Host("receiver", (_interface("messenger", "203.0.113.20", "2001:db8:2::20"),), gateway="wan"),
        *(_proxy(number) for number in range(1, proxies + 1)),
        Host("dns", (_interface("services", "198.18.0.53", "2001:db8:4::53"),), gateway="wan"),
        *((Host("web", (_interface("services", "198.18.0.80", "2001:db8:4::80"),), gateway="wan"),) if web else ()),
    )
    by_name = {host.name: host for host in hosts}
    names = {name: by_name["messenger"].addresses() for name in (ORIGIN_NAME, NEIGHBOUR_NAME)}
    if web:
        names |= {name: by_name["web"].addresses() for name in WEB_NAMES}
    return Topology(networks, hosts, names, nameserver=str(by_name["dns"].on("services").ipv4))
