"""Sans-IO: pieces of a whole that come in any order and may overlap: which copy of a byte counts.

What two reassemblers read differently where pieces overlap is the oldest evasion of all (Ptacek and Newsham 1998).
"""

from __future__ import annotations

import enum


class Overlap(enum.Enum):
    """Which copy of a byte counts that has come twice."""

    FIRST = "first"
    LAST = "last"


Pieces = list[tuple[int, bytes]]
"""(position of the first byte, bytes): sorted, disjoint, none of them empty."""


def put(pieces: Pieces, start: int, payload: bytes, overlap: Overlap) -> Pieces:
    """`pieces` and a new one. One that is cut around others becomes several."""
    new = [(start, payload)]
    if overlap is Overlap.FIRST:
        return sorted(pieces + _uncovered(new, pieces))
    return sorted(_uncovered(pieces, new) + _uncovered(new, []))


def _uncovered(pieces: Pieces, covers: Pieces) -> Pieces:
    """What of the pieces lies in none of the covers."""
    found = []
    for start, payload in pieces:
        end, cut = start + len(payload), start
        for first, cover in covers:
            if first >= end:
                break
            if first > cut:
                found.append((cut, payload[cut - start : first - start]))
            cut = max(cut, first + len(cover))
        if cut < end:
            found.append((cut, payload[cut - start :]))
    return found
