"""Which counts chance explains."""

from __future__ import annotations

from math import exp, lgamma, log


def likely(tries: int, probability: float, confidence: float = 0.999) -> tuple[int, int]:
    """The least and the greatest number of successes that are not too rare: each tail has half of 1 - `confidence`."""
    if not 0 < probability < 1:
        certain = tries if probability >= 1 else 0
        return certain, certain
    tail = (1 - confidence) / 2
    masses = [_mass(tries, successes, probability) for successes in range(tries + 1)]
    return _first_above(masses, tail), tries - _first_above(masses[::-1], tail)


def _first_above(masses: list[float], tail: float) -> int:
    """How many from the beginning on have no more than `tail` together."""
    total = 0.0
    for number, mass in enumerate(masses):
        total += mass
        if total > tail:
            return number
    raise ValueError("the masses are less than a tail")


def _mass(tries: int, successes: int, probability: float) -> float:
    ways = lgamma(tries + 1) - lgamma(successes + 1) - lgamma(tries - successes + 1)
    return exp(ways + successes * log(probability) + (tries - successes) * log(1 - probability))
