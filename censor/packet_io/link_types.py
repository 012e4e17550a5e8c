"""Sans-IO: where the IP header starts in a captured frame, by link type (the registry that pcap and pcapng share)."""

from __future__ import annotations

import struct
from collections.abc import Callable

NULL, ETHERNET, RAW, LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2 = 0, 1, 101, 108, 113, 228, 229, 276

_be16 = struct.Struct("!H")
_ETHERTYPES = frozenset({0x0800, 0x86DD})
_VLANS = frozenset({0x8100, 0x88A8, 0x9100})
# The address families of IPv4 and IPv6: the latter is another number on Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
_FAMILIES = frozenset({2, 10, 24, 28, 30})


def _after_ethertype(frame: bytes, at: int, start: int) -> int | None:
    """Where IP starts if the EtherType at `at` says that it comes, at `start` or behind VLAN tags there."""
    while at + 2 <= len(frame):
        (ethertype,) = _be16.unpack_from(frame, at)
        if ethertype in _ETHERTYPES:
            return start
        if ethertype not in _VLANS:
            return None
        at, start = start + 2, start + 4
    return None


def _ethernet(frame: bytes) -> int | None:
    return _after_ethertype(frame, 12, 14)


def _linux_sll(frame: bytes) -> int | None:
    return _after_ethertype(frame, 14, 16)


def _linux_sll2(frame: bytes) -> int | None:
    return _after_ethertype(frame, 0, 20)


def _raw(_frame: bytes) -> int:
    return 0


def _null(frame: bytes) -> int | None:
    """An address family in the byte order of the machine that captured (LOOP: in network order)."""
    head = frame[:4]
    known = int.from_bytes(head, "little") in _FAMILIES or int.from_bytes(head, "big") in _FAMILIES
    return 4 if known else None


_START: dict[int, Callable[[bytes], int | None]] = {
    NULL: _null,
    ETHERNET: _ethernet,
    RAW: _raw,
    LOOP: _null,
    LINUX_SLL: _linux_sll,
    IPV4: _raw,
    IPV6: _raw,
    LINUX_SLL2: _linux_sll2,
}

KNOWN = frozenset(_START)


def ip_start(link_type: int, frame: bytes) -> int | None:
    """Where the IP header starts in a frame of a KNOWN link type; None: it carries something else."""
    start = _START[link_type](frame)
    if start is None or start >= len(frame) or frame[start] >> 4 not in (4, 6):
        return None
    return start
