"""Sans-IO: percentiles and intervals of a few measurements, some of which may be right-censored.

A run that never recovered is known only to have taken longer than it was watched. Percentiles are therefore read off
the Kaplan-Meier estimate (scipy.stats.ecdf on CensoredData), and what the data cannot say is None. scipy takes most of
a second to import and is imported when first needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

BOOTSTRAP_RESAMPLES = 2000
BOOTSTRAP_SEED = 20180416  # fixed, so that the same runs give the same interval
# Of five values the least and the greatest enclose the median with 1 - 2/2^5 = 94 % only: no 95 % interval is narrower
# than all of them, and a bootstrap that gives one claims too much.
MINIMUM_FOR_INTERVAL = 6


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over the runs: `n` runs, of which `n_censored` are known from below only; seconds.

    `range`: the least and the greatest value that were observed. `ci95` is the bootstrap interval of the median; where
    the data cannot say it is None, and `no_ci95` says why.
    """

    n: int = 0
    n_censored: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    range: tuple[float, float] | None = None
    ci95: tuple[float, float] | None = None
    no_ci95: str | None = None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest of `values` that at least `percent` % of them do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def describe(observed: Sequence[float], censored: Sequence[float] = ()) -> Distribution:
    """`observed` values and lower bounds `censored` as a Distribution."""
    n = len(observed) + len(censored)
    if not observed:
        return Distribution(n=n, n_censored=len(censored), no_ci95="nothing was observed")
    p50, p95, p99 = _quantiles(observed, censored, (0.50, 0.95, 0.99))
    found = Distribution(n=n, n_censored=len(censored), p50=p50, p95=p95, p99=p99, range=(min(observed), max(observed)))
    if n < MINIMUM_FOR_INTERVAL:
        return msgspec.structs.replace(found, no_ci95=f"fewer than {MINIMUM_FOR_INTERVAL} runs")
    interval = _median_interval(observed, censored)
    reason = None if interval else "its upper end was not reached in the time watched"
    return msgspec.structs.replace(found, ci95=interval, no_ci95=reason)


def _quantiles(
    observed: Sequence[float], censored: Sequence[float], shares: Sequence[float]
) -> tuple[float | None, ...]:
    """The smallest value at which the Kaplan-Meier distribution reaches each share; None where it never does."""
    from scipy import stats

    cdf = stats.ecdf(stats.CensoredData(uncensored=list(observed), right=list(censored))).cdf
    # The estimate is a product of ratios: 1 - 1/2 may come out one bit short of a half.
    return tuple(
        next(
            (
                float(value)
                for value, share_so_far in zip(cdf.quantiles, cdf.probabilities, strict=True)
                if share_so_far >= share - 1e-9
            ),
            None,
        )
        for share in shares
    )


def _median_interval(observed: Sequence[float], censored: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile-bootstrap interval of the median; None where it has no upper end.

    A censored value is resampled as one beyond every observed one, which is what it is for the median as long as it
    was watched for longer than that: the lab watches all runs of a scenario for the same time.
    """
    import numpy
    from scipy import stats

    beyond = max([*observed, *censored]) + 1.0
    sample = numpy.array([*observed, *([beyond] * len(censored))])
    if numpy.ptp(sample) == 0.0:
        return float(sample[0]), float(sample[0])
    result = stats.bootstrap(
        (sample,),
        _lower_median,
        n_resamples=BOOTSTRAP_RESAMPLES,
        vectorized=True,
        method="percentile",
        rng=numpy.random.default_rng(BOOTSTRAP_SEED),
    )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    return None if high > max(observed) else (low, high)


def _lower_median(sample: Any, axis: int = -1) -> Any:
    """The lower median: a value that was measured, never a mean with one that stands for "beyond"."""
    import numpy

    return numpy.quantile(sample, 0.5, axis=axis, method="inverted_cdf")


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """One median over another, with its 95 % bootstrap interval. at_least: the upper median was not reached in the time
    watched, so that the ratio is no less than this."""

    value: float
    ci95: tuple[float, float] | None = None
    at_least: bool = False


Sample = tuple[Sequence[float], Sequence[float]]
"""Observed values, and lower bounds of censored ones."""


def ratio_of_medians(upper: Sample, lower: Sample) -> Ratio | None:
    """The median of `upper` over that of `lower`; None where the latter is not known.

    Each is resampled by itself. A censored value counts as the bound that is known of it: beyond the median that
    changes nothing, elsewhere it makes the ratio less than it is.
    """
    import numpy

    below = describe(*lower).p50
    n = min(len(sample[0]) + len(sample[1]) for sample in (upper, lower))
    if below is None or not below or not n:
        return None
    above = describe(*upper).p50
    values = [numpy.array([*observed, *censored]) for observed, censored in (upper, lower)]
    value = float(_lower_median(values[0])) / below
    if n < MINIMUM_FOR_INTERVAL:
        return Ratio(value=value, at_least=above is None)
    random = numpy.random.default_rng(BOOTSTRAP_SEED)
    tops, bottoms = (
        _lower_median(random.choice(sample, (BOOTSTRAP_RESAMPLES, len(sample))), axis=1) for sample in values
    )
    low, high = numpy.percentile(tops / bottoms, (2.5, 97.5))
    return Ratio(value=value, ci95=(float(low), float(high)), at_least=above is None)


def upper_bound(observed: Sequence[float], censored: Sequence[float], share: float) -> float | None:
    """The upper end of a one-sided 95 % interval of a quantile, by order statistics, whatever the distribution.

    None where so few values have none (of p95: fewer than 59), or it lies in what was censored.
    """
    from scipy import stats

    n = len(observed) + len(censored)
    rank = next((k for k in range(1, n + 1) if stats.binom.cdf(k - 1, n, share) >= 0.95), None)
    return None if rank is None or rank > len(observed) else sorted(observed)[rank - 1]


def steps(observed: Sequence[float], censored: Sequence[float]) -> tuple[list[float], list[float]]:
    """The Kaplan-Meier distribution: values in order, and the share that does not exceed each; empty of nothing."""
    if not observed:
        return [], []
    from scipy import stats

    cdf = stats.ecdf(stats.CensoredData(uncensored=list(observed), right=list(censored))).cdf
    known = set(observed)
    pairs = [(float(v), float(p)) for v, p in zip(cdf.quantiles, cdf.probabilities, strict=True) if v in known]
    return [value for value, _ in pairs], [share for _, share in pairs]
