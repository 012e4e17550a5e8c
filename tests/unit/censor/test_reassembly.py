"""censor/reassembly.py"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from censor.reassembly import Head

BASE = 0xFFFFFFF0  # wraps within the data
DATA = bytes(range(200))


def segment(start: int, end: int) -> tuple[int, bytes]:
    return (BASE + start) & 0xFFFFFFFF, DATA[start:end]


@given(st.lists(st.integers(0, 200), max_size=20), st.randoms())
def test_any_segmentation_in_any_order(cuts: list[int], random: Random) -> None:
    edges = sorted({0, 200, *cuts})
    pieces = [segment(*edge) for edge in pairwise(edges)]
    random.shuffle(pieces)
    head = Head(BASE, 1000)
    for piece in pieces:
        head.add(*piece)
    assert head.data == DATA
    assert not head.full


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(1, 80)), max_size=30))
def test_overlapping_pieces_never_make_wrong_bytes(pieces: list[tuple[int, int]]) -> None:
    head = Head(BASE, 120)
    for start, length in pieces:
        assert DATA.startswith(head.add(*segment(start, start + length)))
    assert len(head.data) <= 120


def test_limit() -> None:
    head = Head(BASE, 10)
    assert head.add(*segment(0, 50)) == DATA[:10]
    assert head.full
    assert head.add(*segment(50, 60)) == DATA[:10]


def test_out_of_order_pieces_are_bounded() -> None:
    head = Head(BASE, 100)
    for start in range(1, 100):
        head.add(*segment(start, 100))
    assert head.add(*segment(0, 1)) == DATA[:100]


def test_longer_retransmission_out_of_order() -> None:
    head = Head(BASE, 100)
    for piece in ((5, 8), (5, 20), (5, 6), (0, 5)):
        head.add(*segment(*piece))
    assert head.data == DATA[:20]


def test_keep_alive_before_the_base() -> None:
    head = Head(BASE, 100)
    assert head.add(BASE - 1, b"\0") == b""
    assert head.add(BASE - 2, b"xx" + DATA[:3]) == DATA[:3]


def test_near() -> None:
    head = Head(BASE, 100)
    assert head.near(BASE)
    assert head.near(BASE - 1)
    assert head.near((BASE + 100) & 0xFFFFFFFF)
    assert not head.near((BASE + 101) & 0xFFFFFFFF)
