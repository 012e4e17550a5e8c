"""censor/prober/delays.py"""

from __future__ import annotations

import itertools

import pytest

from censor.prober.delays import delay_seconds, draw, draw_bits, imc2020_seconds
from censor.prober.settings import ProberSettings

SERVER = (b"\xc6\x33\x64\x01", 1080)


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.0, 0.28), (0.20, 1.0), (0.50, 60.0), (0.75, 900.0), (1.0, 570 * 3600.0)]
)
def test_the_papers_figures(share: float, seconds: float) -> None:
    assert imc2020_seconds(share) == pytest.approx(seconds)


def test_the_logarithm_is_linear_in_between() -> None:
    assert imc2020_seconds(0.35) == pytest.approx(60**0.5)


def test_delays_grow_with_the_share() -> None:
    delays = [imc2020_seconds(share / 1000) for share in range(1001)]
    assert all(earlier < later for earlier, later in itertools.pairwise(delays))


def test_uniform_and_scaled() -> None:
    settings = ProberSettings(delay=(10.0, 30.0), time_scale=10.0)
    assert [delay_seconds(settings, share) for share in (0.0, 0.5, 0.75)] == [1.0, 2.0, 2.5]
    assert delay_seconds(ProberSettings(time_scale=60.0), 0.5) == pytest.approx(1.0)


def test_the_same_is_drawn_for_the_same() -> None:
    assert draw(1, "delay", SERVER, 1) == draw(1, "delay", SERVER, 1)


def test_all_of_it_counts() -> None:
    other_port, other_address = (SERVER[0], 1081), (b"\xc6\x33\x64\x02", 1080)
    drawn = {
        draw_bits(seed, what, server, number)
        for seed in (0, 1, -1)
        for what in ("delay", "convict")
        for server in (SERVER, other_port, other_address)
        for number in (0, 1)
    }
    assert len(drawn) == 3 * 2 * 3 * 2


def test_draws_are_uniform() -> None:
    drawn = [draw(7, "delay", (b"\xc6\x33\x64\x01", port)) for port in range(1, 4001)]
    assert all(0 <= one < 1 for one in drawn)
    # Four standard deviations of a tenth's share; the seed is fixed.
    tenths = [sum(tenth / 10 <= one < (tenth + 1) / 10 for one in drawn) for tenth in range(10)]
    assert all(abs(count - 400) < 4 * (4000 * 0.1 * 0.9) ** 0.5 for count in tenths)
