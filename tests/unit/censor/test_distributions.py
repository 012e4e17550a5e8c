"""Spans of seconds that are distributions, and spans of probabilities: censor/actions.py, censor/draws.py."""

from __future__ import annotations

import itertools

import pytest

from censor.draws import between
from censor.rules import RuleSet
from censor.rules_file import parse_rules
from sidedoor.settings import SettingsError

POINTS = ((0.06, 0.0), (1.0, 0.9), (7.5, 1.0))
TWO_VALUES = ((120.0, 0.0), (120.0, 0.5), (180.0, 0.5), (180.0, 1.0))


def with_latency(latency: str) -> RuleSet:
    return parse_rules(
        f'[[rule]]\nname = "r"\nwhen = "tls"\nlatency_seconds = {latency}\nactions = [{{ kind = "log" }}]'
    )


def with_probability(probability: str) -> RuleSet:
    action = f'{{ kind = "residual", seconds = 9, probability = {probability} }}'
    return parse_rules(f'[[rule]]\nname = "r"\nwhen = "tls"\nactions = [{action}]')


@pytest.mark.parametrize(
    ("drawn", "number"), [(0.0, 0.06), (0.45, 0.53), (0.9, 1.0), (0.95, 4.25), (0.9999, 1.0 + 6.5 * 0.999)]
)
def test_between_the_points_it_is_linear(drawn: float, number: float) -> None:
    assert between(POINTS, drawn) == pytest.approx(number)


def test_a_step_gives_one_value_or_the_other() -> None:
    values = [between(TWO_VALUES, number / 100) for number in range(100)]
    assert values == [120.0] * 50 + [180.0] * 50


def test_larger_draws_give_no_smaller_numbers() -> None:
    values = [between(POINTS, number / 1000) for number in range(1000)]
    assert all(one <= other for one, other in itertools.pairwise(values))


def test_read_from_toml() -> None:
    (rule,) = with_latency("[[0.06, 0], [1, 0.9], [7.5, 1]]").rules
    assert rule.latency_seconds == POINTS
    (rule,) = with_latency("[1, 2]").rules
    assert between(rule.latency_seconds, 0.5) == 1.5


@pytest.mark.parametrize(
    "points",
    [
        "[[1, 0], [2, 0.9]]",
        "[[1, 0.1], [2, 1]]",
        "[[2, 0], [1, 1]]",
        "[[1, 0], [2, 0.9], [3, 0.8], [4, 1]]",
        "[[-1, 0], [2, 1]]",
        "[[1, 0], [2e12, 1]]",
        "[[1, 0], [1.5, 0.5], [1, 1]]",
        "[[1, 0], 2]",
        "[[1, 1]]",
    ],
)
def test_what_is_no_distribution(points: str) -> None:
    with pytest.raises(SettingsError, match=r"is no distribution: \[\[least, 0\], ..., \[greatest, 1\]\]"):
        with_latency(points)


@pytest.mark.parametrize("span", ["[1, 2, 3]", "[1]", "[]", "[2, 1]", "-1"])
def test_what_is_no_span(span: str) -> None:
    with pytest.raises(SettingsError, match="is not a span"):
        with_latency(span)


@pytest.mark.parametrize("probability", ["1.1", "[0.5, 1.1]"])
def test_a_probability_is_no_more_than_1(probability: str) -> None:
    with pytest.raises(SettingsError, match="is more than 1"):
        with_probability(probability)
    assert with_probability("[0.5, 1]").rules
