"""Sans-IO: sets of addresses, kept as sorted, disjoint intervals: a look-up is one bisection.

An interval is (first, last), both inclusive, as integers; a version is 4 or 6.
"""

from __future__ import annotations

import ipaddress
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

Version = Literal[4, 6]
Interval = tuple[int, int]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# For the fast path. What these do not have (leading zeros, blanks, signs) goes to `ipaddress`, which says why not.
_OCTETS = {str(octet): octet for octet in range(256)}
_HOST_MASKS = {str(length): (1 << 32 - length) - 1 for length in range(33)}
_HOST_MASKS_6 = {str(length): (1 << 128 - length) - 1 for length in range(129)}
_GROUPS = re.compile("(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4})*)?")


def interval(text: str) -> tuple[Version, int, int]:
    """An address, a CIDR block or a range (`first-last`) as (version, first, last). Raises ValueError.

    A block has no bits set behind its prefix: whether 203.0.113.5/24 means one address or 256 is anyone's guess.
    """
    address, slash, length = text.partition("/")
    try:
        a, b, c, d = address.split(".")
        first = _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
        host_mask = _HOST_MASKS[length] if slash else 0
    except (KeyError, ValueError):
        return _range(text) if "-" in text else _network(text)
    if first & host_mask:
        raise ValueError(f"{text} has host bits set")
    return 4, first, first | host_mask


def _network(text: str) -> tuple[Version, int, int]:
    address, slash, length = text.partition("/")
    value = _groups(address)
    if value is not None:
        host_mask = _HOST_MASKS_6.get(length) if slash else 0
        if host_mask is not None and not value & host_mask:
            return 6, value, value | host_mask
    if "%" in text:
        raise ValueError(f"{text!r}: an address with a zone means something on one host only")
    network = ipaddress.ip_network(text)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _groups(address: str) -> int | None:
    """An IPv6 address in hexadecimal groups (RFC 4291, section 2.2, forms 1 and 2); None for what is written else."""
    head, gap, tail = address.partition("::")
    if not _GROUPS.fullmatch(head) or not _GROUPS.fullmatch(tail):
        return None
    before, after = head.split(":") if head else [], tail.split(":") if tail else []
    missing = 8 - len(before) - len(after)
    if missing < 1 if gap else missing:
        return None
    high = int("".join([group.zfill(4) for group in before]) or "0", 16) << 16 * (8 - len(before))
    return high | int("".join([group.zfill(4) for group in after]), 16) if after else high


def _range(text: str) -> tuple[Version, int, int]:
    low, _, high = text.partition("-")
    if "-" in high:
        raise ValueError(f"{text!r} is not a range of addresses")
    version, first, end = interval(low.strip())
    other_version, start, last = interval(high.strip())
    if version != other_version or (first, start) != (end, last) or first > last:
        raise ValueError(f"{text!r} is not a range of addresses, first to last")
    return version, first, last


class PrefixSet:
    """IPv4 and IPv6 addresses, given as addresses, CIDR blocks and ranges. Raises ValueError for a text that is none.

    `len` is the number of intervals, adjacent ones merged. `packed in prefixes` wants 4 or 16 bytes in network order.
    """

    __slots__ = ("_v4", "_v6")

    # Where the set begins and ends, in turn: first, last + 1, next first, ... So an odd position is inside.
    _v4: Sequence[int]
    _v6: Sequence[int]

    def __init__(self, texts: Iterable[str] = ()) -> None:
        found: dict[Version, list[Interval]] = {4: [], 6: []}
        for text in texts:
            version, first, last = interval(text)
            found[version].append((first, last))
        self._keep(found[4], found[6])

    @classmethod
    def from_intervals(cls, v4: Iterable[Interval] = (), v6: Iterable[Interval] = ()) -> PrefixSet:
        """The set of these intervals, which may overlap."""
        made = cls.__new__(cls)
        made._keep(v4, v6)
        return made

    def _keep(self, v4: Iterable[Interval], v6: Iterable[Interval]) -> None:
        self._v4 = array("Q", _boundaries(v4))
        self._v6 = tuple(_boundaries(v6))

    def __contains__(self, packed: bytes) -> bool:
        boundaries = self._v4 if len(packed) == 4 else self._v6
        return bisect_right(boundaries, int.from_bytes(packed, "big")) & 1 == 1

    def covers(self, text: str) -> bool:
        """Whether every address of an address, block or range is in the set. Raises ValueError."""
        version, first, last = interval(text)
        boundaries = self._boundaries_of(version)
        position = bisect_right(boundaries, first)
        return position & 1 == 1 and last < boundaries[position]

    def intervals(self, version: Version) -> list[Interval]:
        """The disjoint intervals of the version, in order; none touches the next."""
        boundaries = self._boundaries_of(version)
        return [(boundaries[i], boundaries[i + 1] - 1) for i in range(0, len(boundaries), 2)]

    def count(self, version: Version) -> int:
        """The number of addresses of the version."""
        boundaries = self._boundaries_of(version)
        return sum(boundaries[1::2]) - sum(boundaries[::2])

    def diff(self, old: PrefixSet, version: Version) -> tuple[list[Interval], list[Interval]]:
        """What turns `old.intervals(version)` into these: (added, removed), to be applied in the order removed, added.

        An interval that is in both is in neither: the kernel's set keeps its element.
        """
        new_intervals, old_intervals = set(self.intervals(version)), set(old.intervals(version))
        return sorted(new_intervals - old_intervals), sorted(old_intervals - new_intervals)

    def networks(self) -> Iterator[str]:
        """The set as the fewest CIDR blocks, IPv4 first, in order. An address alone has its /32 or /128, too."""
        kinds: tuple[tuple[Version, type[Address]], ...] = ((4, ipaddress.IPv4Address), (6, ipaddress.IPv6Address))
        for version, address in kinds:
            for first, last in self.intervals(version):
                yield from map(str, ipaddress.summarize_address_range(address(first), address(last)))

    def _boundaries_of(self, version: Version) -> Sequence[int]:
        return self._v4 if version == 4 else self._v6

    def __len__(self) -> int:
        return (len(self._v4) + len(self._v6)) // 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrefixSet) and self._v4 == other._v4 and self._v6 == other._v6

    def __hash__(self) -> int:
        return hash((tuple(self._v4), self._v6))

    def __repr__(self) -> str:
        return f"<PrefixSet of {len(self)}>"


def _boundaries(intervals: Iterable[Interval]) -> list[int]:
    boundaries: list[int] = []
    for first, last in sorted(intervals):
        if boundaries and first <= boundaries[-1]:
            if last >= boundaries[-1]:
                boundaries[-1] = last + 1
        else:
            boundaries += (first, last + 1)
    return boundaries
