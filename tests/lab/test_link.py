"""The wan link on real packets: how exact the delay is, that the order is kept, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.machine import sandbox, search_path

ROOT = Path(__file__).resolve().parents[2]
DELAY_SECONDS = 0.01

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What tests/lab/link_network.py measured."""
    done = subprocess.run(
        sandbox(sys.executable, "-m", "tests.lab.link_network", str(DELAY_SECONDS)),
        cwd=ROOT,
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


@pytest.mark.parametrize("version", ["4", "6"])
def test_a_round_trip_takes_twice_the_delay_longer(found: dict[str, Any], version: str) -> None:
    longer = found["delayed"][version]["round_trip_seconds"] - found["plain"][version]["round_trip_seconds"]
    # Never less; a few ms more, at the median, only on a machine that is busy with other things.
    assert 2 * DELAY_SECONDS - 0.0005 <= longer <= 2 * DELAY_SECONDS + 0.005


@pytest.mark.parametrize("version", ["4", "6"])
def test_the_order_is_kept(found: dict[str, Any], version: str) -> None:
    assert found["delayed"][version]["in_order"]


@pytest.mark.parametrize("version", ["4", "6"])
def test_bulk_goes_through(found: dict[str, Any], version: str) -> None:
    bits = found["bits_per_second"][version]
    if bits is None:
        pytest.skip("iperf3 is not installed: apt-get install iperf3")
    assert bits > 20e6  # that it moves at all; how fast is a benchmark's business


def test_at_its_end_rules_and_delay_are_gone(found: dict[str, Any]) -> None:
    assert found["status"] == 0
    assert not found["rule_left"]
    assert found["after"]["4"]["round_trip_seconds"] < DELAY_SECONDS
