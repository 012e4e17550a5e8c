"""Which addresses are inside: on this host, in its networks, or special. Sans-IO.

The table is enumerated, for `ipaddress.is_private` would not do: it calls the networks of documentation and benchmarks
private (192.0.2.0/24, 198.18.0.0/15, 2001:db8::/32 and others), in which labs live, and does not know the addresses
at which clouds give out credentials. docs/proxy-policy.md has the table, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from proxy.policy.networks import IPAddress, IPNetwork, Networks, parse_address


@dataclass(frozen=True, slots=True)
class Row:
    """One network that is inside, what it is, and who says so."""

    network: IPNetwork
    what: str
    source: str

    @property
    def reason(self) -> str:
        return f"{self.what} ({self.source})"


def _row(network: str, what: str, source: str) -> Row:
    return Row(ip_network(network), what, source)


INSIDE = (
    # Single addresses first: the first row that an address is in names the reason.
    _row("169.254.169.254/32", "cloud metadata", "AWS, Azure, Google Cloud, OpenStack and others"),
    _row("169.254.170.2/32", "container credentials", "AWS ECS"),
    _row("100.100.100.200/32", "cloud metadata", "Alibaba Cloud"),
    _row("192.0.0.192/32", "cloud metadata", "Oracle Cloud"),
    _row("168.63.129.16/32", "wire server", "Azure"),
    _row("fd00:ec2::254/128", "cloud metadata", "AWS"),
    _row("fd20:ce::254/128", "cloud metadata", "Google Cloud"),
    _row("255.255.255.255/32", "limited broadcast", "RFC 919"),
    _row("::/128", "unspecified", "RFC 4291"),
    _row("::1/128", "loopback", "RFC 4291"),
    _row("0.0.0.0/8", "this network", "RFC 791"),
    _row("10.0.0.0/8", "private", "RFC 1918"),
    _row("100.64.0.0/10", "carrier-grade NAT", "RFC 6598"),
    _row("127.0.0.0/8", "loopback", "RFC 1122"),
    _row("169.254.0.0/16", "link-local", "RFC 3927"),
    _row("172.16.0.0/12", "private", "RFC 1918"),
    _row("192.0.0.0/24", "protocol assignments", "RFC 6890"),
    _row("192.168.0.0/16", "private", "RFC 1918"),
    _row("224.0.0.0/4", "multicast", "RFC 5771"),
    _row("240.0.0.0/4", "reserved", "RFC 1112"),
    _row("64:ff9b:1::/48", "local NAT64", "RFC 8215"),  # where its IPv4 address stands is the operator's choice
    _row("fc00::/7", "unique local", "RFC 4193"),
    _row("fe80::/10", "link-local", "RFC 4291"),
    _row("fec0::/10", "site-local", "RFC 3879"),
    _row("ff00::/8", "multicast", "RFC 4291"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """IPv6 addresses that stand for an IPv4 address: it is `shift` bits from the right, inverted where it says so."""

    network: IPv6Network
    what: str
    source: str
    shift: int = 0
    inverted: bool = False


# IPv4-mapped addresses (::ffff:0:0/96) are not here: `parse_address` makes them the IPv4 addresses that they are.
EMBEDDING = (
    Form(IPv6Network("::/96"), "IPv4-compatible", "RFC 4291"),
    Form(IPv6Network("::ffff:0:0:0/96"), "IPv4-translated", "RFC 2765"),
    Form(IPv6Network("64:ff9b::/96"), "NAT64", "RFC 6052"),
    Form(IPv6Network("2002::/16"), "6to4", "RFC 3056", shift=80),
    Form(IPv6Network("2001::/32"), "Teredo server", "RFC 4380", shift=64),
    Form(IPv6Network("2001::/32"), "Teredo client", "RFC 4380", inverted=True),
)
ISATAP = "ISATAP", "RFC 5214"
_ISATAP_MARKS = frozenset({0x00005EFE, 0x02005EFE})  # bits 64 to 95, whatever the prefix

_ROWS = Networks((row.network, 1 << i) for i, row in enumerate(INSIDE))
_FORMS = Networks((form.network, 1 << i) for i, form in enumerate(EMBEDDING))


@lru_cache(8192)
def inside(address: str) -> str | None:
    """Why `address` is inside ("loopback (RFC 1122)"), or None. Raises ValueError for what is no address."""
    parsed = parse_address(address)
    if (row := _row_of(parsed)) is not None:
        return row.reason
    for form, hidden in embedded(parsed):
        if (row := _row_of(hidden)) is not None:
            return f"{row.reason}, as {form}"
    return None


def embedded(address: IPAddress) -> list[tuple[str, IPv4Address]]:
    """The IPv4 addresses that `address` may lead to, each with the name of the form that hides it."""
    if isinstance(address, IPv4Address):
        return []
    number, bits = int(address), _FORMS.bits(address)
    found = [
        (f"{form.what} ({form.source})", _hidden(form, address)) for i, form in enumerate(EMBEDDING) if bits >> i & 1
    ]
    if number >> 32 & 0xFFFFFFFF in _ISATAP_MARKS:
        found.append((f"{ISATAP[0]} ({ISATAP[1]})", IPv4Address(number & 0xFFFFFFFF)))
    return found


def _hidden(form: Form, address: IPv6Address) -> IPv4Address:
    number = int(address) >> form.shift & 0xFFFFFFFF
    return IPv4Address(number ^ 0xFFFFFFFF if form.inverted else number)


def _row_of(address: IPAddress) -> Row | None:
    bits = _ROWS.bits(address)
    return INSIDE[(bits & -bits).bit_length() - 1] if bits else None
