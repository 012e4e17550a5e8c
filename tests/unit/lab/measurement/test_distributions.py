"""Percentiles and intervals, with and without censored values."""

from __future__ import annotations

import pytest

from lab.measurement.distributions import Distribution, describe, percentile, ratio_of_medians, steps, upper_bound


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([3.0], 99, 3.0), ([1, 2, 3, 4], 50, 2), ([4, 3, 2, 1], 95, 4), ([1, 2], 0, 1)],
)
def test_percentile_is_a_measured_value(values: list[float], percent: float, expected: float | None) -> None:
    assert percentile(values, percent) == expected


def test_nothing_is_described_as_nothing() -> None:
    assert describe([]) == Distribution(no_ci95="nothing was observed")
    assert describe([], [4.0, 5.0]) == Distribution(n=2, n_censored=2, no_ci95="nothing was observed")


def test_one_run_has_no_interval() -> None:
    found = describe([0.4])
    assert (found.n, found.p50, found.p95, found.p99, found.range) == (1, 0.4, 0.4, 0.4, (0.4, 0.4))
    assert (found.ci95, found.no_ci95) == (None, "fewer than 6 runs")


def test_five_runs_have_a_range_and_six_an_interval() -> None:
    five, six = describe([0.1, 0.2, 0.3, 0.4, 0.5]), describe([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert (five.range, five.ci95, five.no_ci95) == ((0.1, 0.5), None, "fewer than 6 runs")
    assert six.ci95 is not None
    assert six.no_ci95 is None


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert describe([0.4] * 6).ci95 == (0.4, 0.4)


def test_a_sample_and_its_interval_are_the_same_each_time() -> None:
    values = [float(i) for i in range(1, 101)]
    found = describe(values)
    assert (found.n, found.p50, found.p95, found.p99) == (100, 50.0, 95.0, 99.0)
    assert found.ci95 is not None
    assert 35 < found.ci95[0] < 50 < found.ci95[1] < 65
    assert describe(values[::-1]) == found


def test_censored_runs_count_and_hide_the_percentiles_that_they_could_hold() -> None:
    found = describe([1.0, 2.0, 3.0], [10.0])
    assert (found.n, found.n_censored, found.p50, found.p95) == (4, 1, 2.0, None)


def test_an_early_censored_run_shifts_the_rest_by_kaplan_meier() -> None:
    # Watched for 1.5 only: at 2 the risk set is 2 of 4, so S(1) = 3/4, S(2) = 3/8, S(3) = 0.
    found = describe([1.0, 2.0, 3.0], [1.5])
    assert (found.p50, found.p95) == (2.0, 3.0)


def test_an_interval_that_reaches_into_the_censored_is_none() -> None:
    found = describe([1.0, 2.0, 3.0], [10.0, 10.0, 10.0])
    assert (found.ci95, found.no_ci95) == (None, "its upper end was not reached in the time watched")


def test_the_ratio_of_two_medians_has_an_interval() -> None:
    slow, fast = [4.0, 4.1, 4.2, 4.3, 4.4, 4.5], [0.36, 0.38, 0.39, 0.40, 0.41, 0.44]
    found = ratio_of_medians((slow, []), (fast, []))
    assert found is not None
    assert found.value == pytest.approx(4.2 / 0.39)
    assert found.ci95 is not None
    assert 8.0 < found.ci95[0] < found.value < found.ci95[1] < 13.0
    assert not found.at_least


def test_a_ratio_over_what_was_not_reached_is_at_least_that() -> None:
    found = ratio_of_medians(([], [60.0] * 3), ([0.5] * 3, []))
    assert found is not None
    assert (found.value, found.at_least, found.ci95) == (120.0, True, None)
    assert ratio_of_medians(([1.0], []), ([], [60.0])) is None
    assert ratio_of_medians(([], []), ([1.0], [])) is None
    assert ratio_of_medians(([1.0], []), ([0.0], [])) is None


def test_the_upper_bound_of_a_quantile_is_an_order_statistic() -> None:
    values = [float(number) for number in range(1, 101)]
    assert upper_bound(values[:58], [], 0.95) is None
    assert upper_bound(values[:59], [], 0.95) == 59.0
    assert upper_bound(values, [], 0.95) == 99.0
    assert upper_bound(values, [], 0.5) == 59.0
    assert upper_bound(values[:58], [200.0], 0.95) is None
    assert upper_bound([], [], 0.95) is None


def test_steps_of_the_kaplan_meier_distribution() -> None:
    assert steps([0.4, 0.8], [0.5, 2.0]) == ([0.4, 0.8], [0.25, 0.625])
    assert steps([], [2.0]) == ([], [])
