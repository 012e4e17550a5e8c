"""censor/streams.py: against a reference that looks at one byte at a time."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.overlaps import Overlap
from censor.streams import Reassembly, Stream, StreamSettings

BASE = 0xFFFFFFF0  # wraps within the data
DATA = bytes(range(200))
NONE, ARRIVAL, IN_ORDER, FULL = Reassembly.NONE, Reassembly.ARRIVAL, Reassembly.IN_ORDER, Reassembly.FULL


def stream(reassembly: Reassembly = FULL, limit_bytes: int = 1000, **settings: object) -> Stream:
    return Stream(BASE, StreamSettings(reassembly, limit_bytes, **settings))  # type: ignore[arg-type]  # by name


def add(to: Stream, start: int, end: int) -> bytes:
    return to.add((BASE + start) & 0xFFFFFFFF, DATA[start:end])


def held(of: Stream) -> int:
    return len(of.data) + sum(len(payload) for _, payload in of._kept)


class Reference:
    """FULL and IN_ORDER byte by byte: a dict of positions; `taken` bytes have been consumed at the front."""

    def __init__(self, *, keeps: bool, overlap: Overlap) -> None:
        self.keeps, self.overlap = keeps, overlap
        self.bytes: dict[int, int] = {}
        self.next = self.front = 0

    def add(self, start: int, payload: bytes) -> bytes:
        if self.keeps or start <= max(self.next, self.front):
            for position, byte in enumerate(payload, start):
                known = position < self.next or (self.overlap is Overlap.FIRST and position in self.bytes)
                if not known:
                    self.bytes[position] = byte
        return self.settle()

    def skip(self, size: int) -> bytes:
        self.front += size
        return self.settle()

    def settle(self) -> bytes:
        self.next = max(self.next, self.front)
        while self.next in self.bytes:
            self.next += 1
        return bytes(self.bytes[position] for position in range(self.front, self.next))


@given(
    st.sampled_from([FULL, IN_ORDER]),
    st.sampled_from(Overlap),
    st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=40)), max_size=30),
    st.lists(st.integers(0, 50), max_size=30),
)
def test_any_segments_give_what_the_reference_gives(
    reassembly: Reassembly, overlap: Overlap, segments: list[tuple[int, bytes]], skips: list[int]
) -> None:
    reference = Reference(keeps=reassembly is FULL, overlap=overlap)
    tested = stream(reassembly, limit_segments=1000, overlap=overlap)
    for index, (start, payload) in enumerate(segments):
        assert tested.add((BASE + start) & 0xFFFFFFFF, payload) == reference.add(start, payload)
        if index < len(skips):
            assert tested.skip(skips[index]) == reference.skip(skips[index])
    assert tested.lost == 0


@given(st.lists(st.integers(0, 200), max_size=20), st.randoms(), st.sampled_from(Overlap))
def test_any_segmentation_in_any_order_with_duplicates(cuts: list[int], random: Random, overlap: Overlap) -> None:
    pieces = list(pairwise(sorted({0, 200, *cuts})))
    pieces += random.choices(pieces, k=5)
    random.shuffle(pieces)
    tested = stream(overlap=overlap)
    for piece in pieces:
        add(tested, *piece)
    assert tested.data == DATA
    assert (tested.gap, tested.lost, tested.full) == (0, 0, False)


@given(
    st.sampled_from(Reassembly),
    st.sampled_from(Overlap),
    st.integers(1, 60),
    st.integers(0, 4),
    st.sampled_from([None, 1, 3]),
    st.lists(st.tuples(st.integers(-20, 120), st.binary(max_size=80), st.integers(0, 200)), max_size=30),
)
def test_the_limits_hold_always(
    reassembly: Reassembly,
    overlap: Overlap,
    limit_bytes: int,
    limit_segments: int,
    resync: int | None,
    steps: list[tuple[int, bytes, int]],
) -> None:
    tested = stream(reassembly, limit_bytes, limit_segments=limit_segments, overlap=overlap, resync_segments=resync)
    for start, payload, size in steps:
        assert tested.add((BASE + start) & 0xFFFFFFFF, payload) == tested.data
        assert held(tested) <= limit_bytes
        assert len(tested._kept) <= limit_segments
        assert tested.gap >= 0
        if size <= 100:
            tested.skip(size)
        else:
            tested.take(min(size - 100, len(tested.data)))
        assert held(tested) <= limit_bytes


def test_none_reads_each_payload_by_itself() -> None:
    tested = stream(NONE, 10)
    assert add(tested, 0, 5) == DATA[:5]
    assert add(tested, 5, 9) == DATA[5:9]
    assert tested.skip(100) == b""
    assert add(tested, 50, 70) == DATA[50:60]
    assert tested.full


def test_arrival_has_no_regard_to_sequence_numbers() -> None:
    tested = stream(ARRIVAL)
    for piece in ((5, 9), (0, 5), (0, 5)):
        add(tested, *piece)
    assert tested.data == DATA[5:9] + DATA[:5] * 2
    tested.skip(16)
    assert add(tested, 90, 95) == DATA[92:95]


def test_in_order_ignores_what_comes_too_early() -> None:
    tested = stream(IN_ORDER)
    for piece in ((0, 5), (8, 12), (3, 8)):
        add(tested, *piece)
    assert (tested.data, tested.gap, tested.lost) == (DATA[:8], 0, 0)
    assert add(tested, 8, 12) == DATA[:12]


def test_in_order_starts_anew_behind_a_gap() -> None:
    tested = stream(IN_ORDER, resync_segments=3)
    add(tested, 0, 5)
    assert add(tested, 10, 15) == add(tested, 15, 20) == DATA[:5]
    assert add(tested, 20, 25) == DATA[20:25]
    assert add(tested, 25, 30) == DATA[20:30]


def test_a_filled_gap_is_forgotten() -> None:
    tested = stream(IN_ORDER, resync_segments=2)
    for piece in ((0, 5), (10, 15), (5, 10), (20, 25)):
        add(tested, *piece)
    assert tested.data == DATA[:10]
    full = stream(FULL, resync_segments=2)
    for piece in ((0, 5), (10, 15), (5, 10), (20, 25)):
        add(full, *piece)
    assert full.data == DATA[:15]


def test_full_starts_anew_with_what_it_has_kept() -> None:
    tested = stream(resync_segments=2)
    for piece in ((0, 5), (15, 20), (10, 15)):
        add(tested, *piece)
    assert tested.data == DATA[10:20]


def test_full_with_no_room_for_segments_starts_anew_with_the_last() -> None:
    tested = stream(limit_segments=0, resync_segments=2)
    for piece in ((0, 5), (10, 15), (15, 20)):
        add(tested, *piece)
    assert (tested.data, tested.lost) == (DATA[15:20], 2)


@pytest.mark.parametrize(("overlap", "byte"), [(Overlap.FIRST, b"1"), (Overlap.LAST, b"2")])
def test_overlap(overlap: Overlap, byte: bytes) -> None:
    tested = stream(overlap=overlap)
    tested.add(BASE + 2, b"11")
    tested.add(BASE + 1, b"2222")
    assert tested.add(BASE, b"0") == b"02" + byte * 2 + b"2"
    assert tested.add(BASE, b"33333") == tested.data == b"02" + byte * 2 + b"2"  # in order: final


def test_last_does_not_replace_what_lies_beside_it() -> None:
    tested = stream(overlap=Overlap.LAST)
    tested.add(BASE + 1, b"1111")
    tested.add(BASE + 2, b"22")
    assert tested.add(BASE, b"0") == b"01221"


def test_segments_of_one_byte_are_bounded_and_the_nearest_stay() -> None:
    tested = stream(limit_segments=3)
    for start in range(20, 0, -2):
        add(tested, start, start + 1)
    assert tested.lost == 7
    assert [start - BASE for start, _ in tested._kept] == [2, 4, 6]
    assert tested.gap == 2


def test_limit() -> None:
    tested = stream(limit_bytes=10)
    assert add(tested, 0, 50) == DATA[:10]
    assert tested.full
    assert add(tested, 50, 60) == DATA[:10]
    assert tested.lost == 2
    assert tested.take(4) == DATA[4:10]
    assert not tested.full
    assert add(tested, 8, 20) == DATA[4:14]


def test_messages_one_after_another() -> None:
    tested = stream(limit_bytes=20)
    add(tested, 0, 15)
    assert tested.take(10) == DATA[10:15]
    with pytest.raises(ValueError, match="taking 6 of 5 bytes"):
        tested.take(6)
    assert tested.skip(50) == b""  # of which 45 have yet to come
    assert add(tested, 15, 40) == add(tested, 55, 58) == b""
    assert add(tested, 65, 70) == b""
    assert tested.gap == 5
    assert add(tested, 58, 65) == DATA[60:70]


def test_skipping_what_is_kept() -> None:
    tested = stream()
    add(tested, 10, 20)
    add(tested, 25, 30)
    assert tested.skip(15) == DATA[15:20]
    assert tested.skip(10) == DATA[25:30]


def test_a_body_longer_than_half_the_sequence_numbers() -> None:
    tested = stream(limit_bytes=100)
    size, step = 5 << 30, 1 << 30
    tested.skip(size)
    for position in range(step, size, step):
        assert tested.near((BASE + position) & 0xFFFFFFFF)
        assert tested.add((BASE + position) & 0xFFFFFFFF, b"x") == b""
    assert tested.add((BASE + size) & 0xFFFFFFFF, b"next") == b"next"


def test_keep_alive_before_the_base() -> None:
    tested = stream()
    assert tested.add(BASE - 1, b"\0") == b""
    assert tested.add(BASE - 2, b"xx" + DATA[:3]) == DATA[:3]
    assert tested.add(BASE + 3, b"") == DATA[:3]


def test_near() -> None:
    tested = stream()
    for distance, near in ((0, True), (-1, True), (1 << 20, True), ((1 << 20) + 1, False), (-(1 << 20) - 1, False)):
        assert tested.near((BASE + distance) & 0xFFFFFFFF) is near


@pytest.mark.parametrize("settings", [{"limit_bytes": 0}, {"limit_segments": -1}, {"resync_segments": 0}])
def test_impossible_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"a stream of|resync after"):
        StreamSettings(**settings)  # type: ignore[arg-type]  # one of several types of fields
