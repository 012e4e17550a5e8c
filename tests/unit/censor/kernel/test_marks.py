"""censor/kernel/marks.py"""

from __future__ import annotations

from itertools import combinations

from censor.kernel.marks import (
    ALIVE,
    ASK,
    CONFIRMED,
    GENERATION_MASK,
    HEARD,
    INJECTED_MARK,
    INJECTED_MASK,
    REPLY,
    SAVE_AND_DROP,
    SAVED_MASK,
    WATCH,
)


def test_the_parts_do_not_overlap() -> None:
    parts = (GENERATION_MASK, HEARD, WATCH, REPLY, SAVE_AND_DROP, ALIVE, ASK, INJECTED_MASK, CONFIRMED)
    assert all(one & other == 0 for one, other in combinations(parts, 2))
    assert sum(parts) == 0xFFFFFFFF
    assert INJECTED_MARK & ~INJECTED_MASK == 0
    assert SAVED_MASK == GENERATION_MASK + HEARD + WATCH
