"""Which network this host is on, from what the kernel says; told apart from others. Sans-IO.

A network is known by its default gateway (address and, once the kernel has asked for it, MAC) and the prefixes on the
interface that leads there: a gateway 192.168.1.1 alone is everywhere. IPv4 is looked at, IPv6 where there is no IPv4,
since a host that has both gets its IPv6 route a moment later, which is no change of network.

Formats: proc(5), /proc/net/route, /proc/net/arp; net/ipv6/route.c of Linux for /proc/net/ipv6_route.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_UP, _REJECT = 0x0001, 0x0200  # RTF_UP, RTF_REJECT
_NO_HARDWARE = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class Network:
    """`gateway`: its address, or the interface where the default route has none (a tunnel), or this host's own address
    where the system does not tell; `prefixes`: sorted, on that interface; `hardware`: the gateway's MAC, "" if not
    known (yet); `address`: this host's own towards the gateway, "" if it does not matter."""

    gateway: str
    prefixes: tuple[str, ...] = ()
    hardware: str = ""
    address: str = ""

    @property
    def place(self) -> str:
        """The network by all but the MAC."""
        return " ".join((self.gateway, *self.prefixes))


@dataclass(frozen=True, slots=True)
class _Route:
    interface: str
    prefix: str
    gateway: str
    metric: int


def network(route: str, arp: str, ipv6_route: str) -> Network | None:
    """The network, of the texts of the three files in /proc/net, without `address`; None: no default route."""
    for routes, default in ((_ipv4_routes(route), "0.0.0.0/0"), (_ipv6_routes(ipv6_route), "::/0")):
        defaults = [found for found in routes if found.prefix == default and found.interface != "lo"]
        if defaults:
            best = min(defaults, key=lambda found: found.metric)
            prefixes = {found.prefix for found in routes if found.interface == best.interface and not found.gateway}
            prefixes.discard(default)
            gateway = best.gateway or best.interface
            return Network(gateway, tuple(sorted(prefixes)), _hardware(arp, gateway, best.interface))
    return None


def changed(old: Network | None, new: Network) -> bool:
    """Whether a host that was on `old` (None: on none) is on another network now, or has another address on it.

    A MAC that becomes known is no change by itself."""
    if old is None or (old.place, old.address) != (new.place, new.address):
        return True
    return bool(old.hardware and new.hardware) and old.hardware != new.hardware


def _ipv4_routes(text: str) -> list[_Route]:
    routes = []
    for line in text.splitlines()[1:]:
        interface, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        if _usable(flags):
            prefix = f"{_ipv4(destination)}/{int(mask, 16).bit_count()}"
            routes.append(_Route(interface, prefix, str(_ipv4(gateway)) if int(gateway, 16) else "", int(metric)))
    return routes


def _ipv4(text: str) -> IPv4Address:
    """Hexadecimal digits of a number whose bytes, in this machine's order, are the address."""
    return IPv4Address(struct.pack("=I", int(text, 16)))


def _ipv6_routes(text: str) -> list[_Route]:
    routes = []
    for line in text.splitlines():
        destination, length, _, _, gateway, metric, _, _, flags, interface = line.split()
        address = IPv6Address(bytes.fromhex(destination))
        if _usable(flags) and not (address.is_link_local or address.is_multicast) and int(length, 16) < 128:
            via = str(IPv6Address(bytes.fromhex(gateway))) if int(gateway, 16) else ""
            routes.append(_Route(interface, f"{address}/{int(length, 16)}", via, int(metric, 16)))
    return routes


def _usable(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP


def _hardware(arp: str, gateway: str, interface: str) -> str:
    for line in arp.splitlines()[1:]:
        address, _, _, hardware, *_, device = line.split()
        if (address, device) == (gateway, interface) and hardware != _NO_HARDWARE:
            return hardware
    return ""
