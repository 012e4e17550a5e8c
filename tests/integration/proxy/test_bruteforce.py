"""Guessing of passwords, the short version of `bruteforce`: others hardly notice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.proxy.bruteforce import ATTACKS, MOST, RATE, measure, slowed

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without further ado: sources to attack from"
    ),
]


@pytest.mark.parametrize("attack", ATTACKS[:3])
def test_others_log_in_as_fast_as_ever(attack: str, tmp_path: Path) -> None:
    """Medians of some hundred log-ins of a user who is known, and of some 20 for which a hash has to be computed."""
    figures = measure(6.0, attack, tmp_path)
    assert figures["guesses_per_minute"] == pytest.approx(RATE * 60, rel=0.05)
    assert figures["faults"] == 0
    for kind, ratio in slowed(figures).items():
        assert ratio < MOST, f"{kind}: {figures}"


def test_many_sources_do_not_slow_who_is_known(tmp_path: Path) -> None:
    """Each source has its free failures, so first log-ins wait for hashes (docs/proxy-security.md says so)."""
    figures = measure(4.0, "many sources", tmp_path)
    assert figures["faults"] == 0
    assert slowed(figures)["cached"] < MOST, figures
