import pytest

from proxy.relay.bucket import BURST_SECONDS, WAIT_SECONDS, Bucket, Narrowest


@pytest.mark.parametrize("rate", [1.0, 50.0, 1e4, 1e9])
def test_never_more_than_the_rate_and_a_burst(rate: float) -> None:
    bucket = Bucket(rate, 0.0)
    now, total = 0.0, 0
    while now < 10:
        size = bucket.available(now)
        bucket.spend(size)
        total += size
        assert total <= rate * now + max(1.0, rate * BURST_SECONDS)
        now += bucket.wait_seconds()
    assert total >= rate * 9.9 - rate * WAIT_SECONDS - 1


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    bucket = Bucket(1000.0, 0.0)
    assert bucket.available(3600.0) == 1000 * BURST_SECONDS
    bucket.spend(40)
    assert bucket.available(3600.0) == 1000 * BURST_SECONDS - 40
    assert bucket.wait_seconds() == WAIT_SECONDS


def test_an_empty_bucket_says_when_a_byte_may_go() -> None:
    bucket = Bucket(2.0, 0.0)
    bucket.spend(bucket.available(0.0))
    assert bucket.available(0.4) == 0
    assert bucket.wait_seconds() == pytest.approx(0.1)
    assert bucket.available(0.5) == 1


@pytest.mark.parametrize("narrow_first", [True, False])
def test_the_narrower_of_two_meters_decides_and_both_are_told(narrow_first: bool) -> None:
    wide, narrow = Bucket(10_000.0, 0.0), Bucket(1000.0, 0.0)
    meter = Narrowest(narrow, wide) if narrow_first else Narrowest(wide, narrow)
    assert meter.available(0.0) == 100
    meter.spend(60)
    assert (wide.available(0.0), narrow.available(0.0)) == (940, 40)
    narrow.spend(40)
    assert meter.available(0.0) == 0
    meter.spend(0)
    assert meter.wait_seconds() == WAIT_SECONDS
    assert meter.available(1.0) == 100
