"""When goodput is back."""

from __future__ import annotations

from lab.measurement.shortfall import restored

BYTES = 1000
GOODPUT = 50_000.0  # a message every 20 ms


def acks(*spans: tuple[float, float, float]) -> list[tuple[float, int]]:
    """(from, to, messages per second): evenly spaced acks."""
    found = []
    for start, end, rate in spans:
        for number in range(round((end - start) * rate)):
            found.append((round(start + number / rate, 6), BYTES))
    return found


def first_back(moments: list[tuple[float, int]], latency: float = 0.04) -> float | None:
    good = restored(moments, t0=10.0, hold_seconds=2.0, goodput=GOODPUT, latency_seconds=latency)
    held = [moments[index][0] for index in good if moments[index][0] + 2.0 <= moments[-1][0]]
    return min(held, default=None)


def test_what_was_never_less_is_back_at_once() -> None:
    assert first_back(acks((10.01, 14.0, 50))) == 10.01


def test_a_throttled_path_is_never_back() -> None:
    """16 kB/s of 50, evenly or in bursts that hold for a while."""
    assert first_back(acks((10.01, 16.0, 16))) is None
    assert first_back([(10.0 + second, BYTES) for second in range(6) for _ in range(16)]) is None


def test_a_burst_of_what_was_held_up_pays_for_no_silence_to_come() -> None:
    burst = [(10.5, BYTES)] * 200
    assert first_back(acks((10.01, 10.3, 16)) + burst + acks((10.6, 16.0, 16))) is None


def test_back_when_the_shortfall_is_made_up_for() -> None:
    """Nothing for 0.4 s, then what had waited, and the usual."""
    waiting = [(10.41, BYTES)] * 20
    assert first_back([*waiting, *acks((10.43, 14.0, 50))]) == 10.41


def test_acks_before_the_shortfall_begins_are_not_it() -> None:
    """The bucket of a throttle lets some pass at first."""
    moments = [*acks((10.01, 10.1, 50)), *acks((10.1, 10.5, 10)), *[(10.5, BYTES)] * 18, *acks((10.52, 14.0, 50))]
    assert first_back(moments) == 10.5


def test_a_stall_as_of_a_lost_segment_is_none() -> None:
    moments = [*acks((10.01, 11.5, 50)), *[(11.7, BYTES)] * 10, *acks((11.72, 15.0, 50))]
    assert first_back(moments) == 10.01


def test_a_lasting_one_within_the_hold_time_is_one() -> None:
    moments = [*acks((10.01, 11.5, 50)), *[(12.1, BYTES)] * 30, *acks((12.12, 15.0, 50))]
    assert first_back(moments) == 12.1
    assert first_back(moments, latency=0.4) == 10.01  # a slow path may stall for longer


def test_no_acks_nothing_back() -> None:
    assert restored([], t0=0.0, hold_seconds=2.0, goodput=GOODPUT, latency_seconds=0.04) == frozenset()
