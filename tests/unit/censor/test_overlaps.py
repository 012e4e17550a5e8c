"""censor/overlaps.py: against a dict of bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.overlaps import Overlap, Pieces, put


@given(st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=20)), max_size=12), st.sampled_from(Overlap))
def test_any_pieces(segments: list[tuple[int, bytes]], overlap: Overlap) -> None:
    pieces: Pieces = []
    expected: dict[int, int] = {}
    for start, payload in segments:
        pieces = put(pieces, start, payload, overlap)
        for position, byte in enumerate(payload, start):
            if overlap is Overlap.LAST or position not in expected:
                expected[position] = byte
        assert {at: byte for start, data in pieces for at, byte in enumerate(data, start)} == expected
        assert all(first + len(data) <= second for (first, data), (second, _) in pairwise(pieces))
        assert all(data for _, data in pieces)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (Overlap.FIRST, [(0, b"22"), (2, b"11"), (4, b"2"), (5, b"1"), (6, b"2")]),
        (Overlap.LAST, [(0, b"2222222")]),
    ],
)
def test_a_piece_over_others(overlap: Overlap, expected: Pieces) -> None:
    assert put([(2, b"11"), (5, b"1")], 0, b"2222222", overlap) == expected


def test_a_piece_within_another() -> None:
    assert put([(0, b"1111")], 1, b"22", Overlap.LAST) == [(0, b"1"), (1, b"22"), (3, b"1")]
    assert put([(0, b"1111")], 1, b"22", Overlap.FIRST) == [(0, b"1111")]
