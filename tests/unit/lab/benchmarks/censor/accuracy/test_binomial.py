"""lab/benchmarks/censor/accuracy/binomial.py"""

from __future__ import annotations

import pytest
from scipy.stats import binom

from lab.benchmarks.censor.accuracy.binomial import likely


@pytest.mark.parametrize(("tries", "probability"), [(1, 0.5), (17, 0.9973), (500, 0.263), (500, 0.5), (1000, 0.999975)])
def test_each_tail_has_less_than_half_of_the_rest(tries: int, probability: float) -> None:
    least, most = likely(tries, probability)
    assert (least, most) == (binom.ppf(0.0005, tries, probability), binom.ppf(0.9995, tries, probability))


def test_another_confidence() -> None:
    assert likely(100, 0.5, confidence=0.5) == (47, 53)


@pytest.mark.parametrize(("probability", "count"), [(0.0, 0), (1.0, 7)])
def test_what_is_certain(probability: float, count: int) -> None:
    assert likely(7, probability) == (count, count)
