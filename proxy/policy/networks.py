"""Which of many networks an address is in. Sans-IO.

Networks carry bits, and an address gets the bits of all networks that it is in: one dictionary look-up per length of
prefix in use, however many networks there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
_ADDRESS_BITS = {4: 32, 6: 128}


@lru_cache(8192)
def parse_address(text: str) -> IPAddress:
    """The address, without its zone; an IPv4-mapped one (RFC 4291 section 2.5.5.2) as the IPv4 address that packets
    go to. Raises ValueError."""
    address = ip_address(text.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """Networks and their bits. IPv4-mapped networks are the IPv4 networks that they map."""

    __slots__ = ("_tables",)

    def __init__(self, entries: Iterable[tuple[IPNetwork, int]]) -> None:
        lengths: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
        for network, bits in entries:
            network = _unmapped(network)
            shift = _ADDRESS_BITS[network.version] - network.prefixlen
            table = lengths[network.version].setdefault(shift, {})
            prefix = int(network.network_address) >> shift
            table[prefix] = table.get(prefix, 0) | bits
        self._tables = {version: tuple(tables.items()) for version, tables in lengths.items()}

    def bits(self, address: IPAddress) -> int:
        """The bits of all networks that `address`, as `parse_address` gives it, is in."""
        number = int(address)
        bits = 0
        for shift, table in self._tables[address.version]:
            bits |= table.get(number >> shift, 0)
        return bits


def _unmapped(network: IPNetwork) -> IPNetwork:
    if network.version == 6 and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
