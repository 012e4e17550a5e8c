from __future__ import annotations

import pytest

from client.policies.rtt import RttEstimate

BOUNDS = {"initial": 1.0, "least": 0.0, "most": 60.0}


def test_without_a_sample_the_timeout_is_the_initial_one() -> None:
    assert RttEstimate().timeout(**BOUNDS) == 1.0


def test_the_formulas_of_rfc_6298_with_a_round_trip_for_a_loss() -> None:
    estimate = RttEstimate()
    estimate.sample(0.1)
    assert (estimate.smoothed, estimate.variation) == (0.1, 0.05)
    estimate.sample(0.2)
    assert estimate.variation == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert estimate.smoothed == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.2)
    assert estimate.timeout(**BOUNDS) == pytest.approx(2 * 0.1125 + 4 * 0.0625)


@pytest.mark.parametrize(("rtt", "timeout"), [(0.01, 0.3), (100.0, 4.0)])
def test_the_bounds_hold(rtt: float, timeout: float) -> None:
    estimate = RttEstimate()
    estimate.sample(rtt)
    assert estimate.timeout(initial=1.0, least=0.3, most=4.0) == timeout
