"""censor/marks.py"""

from __future__ import annotations

from censor.marks import GENERATION_MASK, INJECTED_MARK, INJECTED_MASK


def test_the_parts_do_not_overlap() -> None:
    assert GENERATION_MASK & INJECTED_MASK == 0
    assert INJECTED_MARK & ~INJECTED_MASK == 0
    assert GENERATION_MASK | INJECTED_MASK == 0xFFFFFFFF
