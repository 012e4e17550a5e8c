from __future__ import annotations

import pytest

from client.policies.rtt import FLOOR_SECONDS, RttEstimate

BOUNDS = {"initial": 1.0, "least": 0.0, "most": 60.0}


def sampled(*samples: float) -> RttEstimate:
    estimate = RttEstimate()
    for now, rtt in enumerate(samples):
        estimate.sample(rtt, float(now))
    return estimate


def test_without_a_sample_timeout_and_patience_are_the_initial_ones() -> None:
    assert RttEstimate().timeout(**BOUNDS) == 1.0
    assert RttEstimate().patience(floors=4.0, margin=0.1, initial=2.0) == 2.0


def test_the_formulas_of_rfc_6298_with_a_round_trip_for_a_loss() -> None:
    estimate = sampled(0.1)
    assert (estimate.smoothed, estimate.variation) == (0.1, 0.05)
    estimate.sample(0.2, 1.0)
    assert estimate.variation == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert estimate.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.2)
    assert estimate.timeout(**BOUNDS) == pytest.approx(2 * 0.1125 + 4 * 0.0625)


@pytest.mark.parametrize(("rtt", "timeout"), [(0.01, 0.3), (100.0, 4.0)])
def test_the_bounds_hold(rtt: float, timeout: float) -> None:
    assert sampled(rtt).timeout(initial=1.0, least=0.3, most=4.0) == timeout


def test_the_floor_is_the_least_sample_and_bounds_the_patience() -> None:
    estimate = sampled(0.1, 0.05, 0.2)
    assert estimate.floor == 0.05
    assert estimate.patience(floors=4.0, margin=0.1, initial=9.0) == pytest.approx(0.3)


def test_the_floor_follows_a_path_that_became_longer_within_two_spans() -> None:
    estimate = RttEstimate()
    for second in range(31):
        estimate.sample(0.05 if second < 10 else 0.3, float(second))
    assert estimate.floor == 0.05
    for second in range(31, 31 + int(FLOOR_SECONDS)):
        estimate.sample(0.3, float(second))
    assert estimate.floor == 0.3


def test_what_is_remembered_serves_until_there_are_samples_and_never_replaces_them() -> None:
    estimate = RttEstimate()
    estimate.remember(0.2)
    assert (estimate.smoothed, estimate.variation, estimate.floor) == (0.2, 0.1, None)
    estimate.sample(0.1, 1.0)
    estimate.remember(9.0)
    assert estimate.smoothed == pytest.approx(0.1875)


def test_the_least_round_trip_is_the_floor_or_what_it_began_with() -> None:
    estimate = RttEstimate()
    assert estimate.least == 0.0
    estimate.remember(0.2)
    assert estimate.least == 0.2
    estimate.sample(0.1, 1.0)
    assert estimate.least == 0.1
