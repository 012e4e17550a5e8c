"""censor/draws.py; distributions: test_distributions.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.draws import between, count_between, draw


@given(st.integers(-(1 << 70), 1 << 70), st.binary(max_size=40), st.text(max_size=20))
def test_the_same_for_the_same(seed: int, flow: bytes, purpose: str) -> None:
    assert 0 <= draw(seed, flow, purpose) == draw(seed, flow, purpose) < 1


def test_seed_flow_and_purpose_matter() -> None:
    assert len({draw(seed, flow, purpose) for seed in (0, 1) for flow in (b"a", b"b") for purpose in ("x", "y")}) == 8
    assert draw(0, b"a", "b") != draw(0, b"", "ba")


def test_uniform() -> None:
    drawn = [draw(7, number.to_bytes(4, "big"), "x") for number in range(10_000)]
    for tenth in range(10):  # 1000 each with a deviation of 30; 4.5 deviations
        assert 865 < sum(tenth <= 10 * one < tenth + 1 for one in drawn) < 1135


@pytest.mark.parametrize(("drawn", "number"), [(0.0, 2.0), (0.5, 3.0), (0.75, 3.5)])
def test_between(drawn: float, number: float) -> None:
    assert between((2.0, 4.0), drawn) == number
    assert between(9.0, drawn) == 9.0


@pytest.mark.parametrize(("drawn", "number"), [(0.0, 2), (0.34, 3), (0.67, 4), (1 - 2**-53, 4)])
def test_count_between_has_both_ends(drawn: float, number: int) -> None:
    assert count_between((2, 4), drawn) == number
    assert count_between(9, drawn) == 9
