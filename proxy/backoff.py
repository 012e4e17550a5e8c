"""Who failed to log in too often has to wait: against guessing of passwords. Sans-IO.

A source is an IPv4 address or, since whoever has one IPv6 address has 2**64, a /64. Times are seconds of any clock that
only goes forward; it is the caller's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Network

from proxy.policy.networks import parse_address

FREE_FAILURES = 5
"""So many have no consequence: people mistype."""
PAUSE_LEAST_SECONDS = 1.0
PAUSE_MOST_SECONDS = 300.0
MEMORY_SECONDS = 900.0
"""So long after the last failure the source is forgotten."""
SOURCES_MOST = 65536
"""The source whose last failure is the oldest is forgotten first."""


@lru_cache(8192)
def place_of(source: str) -> str:
    """What counts as one source: an IPv4 address, mapped or not, or an IPv6 /64. What is no address is one, too."""
    try:
        address = parse_address(source)
    except ValueError:
        return source
    if address.version == 4:
        return str(address)
    return str(IPv6Network((int(address), 64), strict=False))


@dataclass(slots=True)
class _Failures:
    number: int
    last: float
    until: float


class Backoff:
    """The failures of each source. From the sixth on each doubles a pause, in which the source is to be refused."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()  # the oldest last failure first

    def __len__(self) -> int:
        return len(self._failures)

    def refused_until(self, source: str, now: float) -> float:
        """When the pause of `source` ends; 0.0 where there is none."""
        found = self._failures.get(place_of(source))
        return found.until if found is not None and found.until > now else 0.0

    def failed(self, source: str, now: float) -> None:
        """A log-in from `source` was looked at and was wrong. (Those refused in a pause are not to be counted: else
        a client that never gives up would lock its neighbours out for ever.)"""
        place = place_of(source)
        found = self._failures.get(place)
        if found is None or now - found.last > MEMORY_SECONDS:
            found = self._failures[place] = _Failures(0, now, 0.0)
        found.number += 1
        found.last = now
        if (excess := found.number - FREE_FAILURES) > 0:
            # The exponent stops growing where the pause does: floats end at 2**1024.
            found.until = now + min(PAUSE_MOST_SECONDS, PAUSE_LEAST_SECONDS * 2.0 ** min(excess - 1, 16))
        self._failures.move_to_end(place)
        if len(self._failures) > SOURCES_MOST:
            self._failures.popitem(last=False)

    def succeeded(self, source: str) -> None:
        """A log-in from `source` was right: its failures are forgiven."""
        self._failures.pop(place_of(source), None)
