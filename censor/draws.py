"""Sans-IO: random draws that depend on what they are for, not on when they are made.

The same seed gives the same flow the same fate under the same rule, live or out of a file, with whatever else is going
on at the time.
"""

from __future__ import annotations

import hashlib
import itertools
import struct

_uint64 = struct.Struct("<Q")


def draw(seed: int, flow: bytes, purpose: str) -> float:
    """A number in [0, 1) for `purpose` (a rule and what is drawn) and `flow` (any bytes that identify it)."""
    key = _uint64.pack(seed & (1 << 64) - 1)
    digest = hashlib.blake2b(purpose.encode() + b"\0" + flow, digest_size=8, key=key).digest()
    return float(_uint64.unpack(digest)[0] >> 11) / (1 << 53)


def between(span: float | tuple[float | tuple[float, float], ...], drawn: float) -> float:
    """The number itself, or what lies `drawn` of the way from the lowest to the highest, or where a distribution says.

    A distribution is pairs of number and share, from share 0 to 1 (censor/actions.py); `drawn` in [0, 1) is a share.
    """
    if not isinstance(span, tuple):
        return span
    if not isinstance(span[0], tuple) and not isinstance(span[1], tuple):
        lowest, highest = span[0], span[1]
        return lowest + (highest - lowest) * drawn
    points = [point for point in span if isinstance(point, tuple)]
    (before, share_before), (number, share) = next(pair for pair in itertools.pairwise(points) if drawn < pair[1][1])
    return before + (number - before) * (drawn - share_before) / (share - share_before)


def count_between(span: int | tuple[int, int], drawn: float) -> int:
    """The same for whole numbers, both ends included."""
    if isinstance(span, tuple):
        lowest, highest = span
        return min(highest, lowest + int((highest - lowest + 1) * drawn))
    return span
