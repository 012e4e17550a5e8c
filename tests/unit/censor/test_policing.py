"""censor/policing.py"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from censor.policing import TokenBucket


def test_full_at_first_and_filled_at_the_rate() -> None:
    bucket = TokenBucket(100, 250, 10.0)
    assert [bucket.conforms(100, 10.0) for _ in range(3)] == [True, True, False]
    assert not bucket.conforms(100, 10.25)  # 50 were left, and 25 have come
    assert bucket.conforms(100, 10.5)
    assert not bucket.conforms(1, 10.5)


def test_never_more_than_the_burst() -> None:
    bucket = TokenBucket(100, 250, 0.0)
    assert not bucket.conforms(251, 1e6)
    assert bucket.conforms(250, 1e6)
    assert not bucket.conforms(1, 1e6)


def test_a_packet_that_does_not_conform_takes_nothing() -> None:
    bucket = TokenBucket(1, 100, 0.0)
    assert not bucket.conforms(101, 0.0)
    assert bucket.conforms(100, 0.0)


def test_time_does_not_go_back() -> None:
    bucket = TokenBucket(10, 10, 5.0)
    assert bucket.conforms(10, 5.0)
    assert not bucket.conforms(10, 4.0)
    assert not bucket.conforms(10, 5.5)
    assert bucket.conforms(10, 6.0)


@given(st.lists(st.tuples(st.integers(1, 1500), st.floats(0, 0.1)), max_size=200))
def test_what_passes_is_at_most_the_burst_and_the_rate(packets: list[tuple[int, float]]) -> None:
    bucket, t, passed = TokenBucket(10_000, 3000, 0.0), 0.0, 0
    for size, pause in packets:
        t += pause
        passed += size * bucket.conforms(size, t)
    assert passed <= 3000 + 10_000 * t + 1e-6
