"""The wan link on real packets: delay, jitter and loss are what was asked for, the order is kept, and nothing stays."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.machine import sandbox, search_path
from tests.lab.link_network import DATAGRAMS

ROOT = Path(__file__).resolve().parents[2]
DELAY_SECONDS = 0.01
JITTER_SECONDS, LOSS = 0.008, 0.05

pytestmark = [pytest.mark.alone, pytest.mark.netns]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What tests/lab/link_network.py measured of delay alone."""
    return measured(DELAY_SECONDS)


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """The same with jitter and loss."""
    return measured(DELAY_SECONDS, JITTER_SECONDS, LOSS)


def measured(*settings: float) -> dict[str, Any]:
    done = subprocess.run(
        sandbox(sys.executable, "-m", "tests.lab.link_network", *map(str, settings)),
        cwd=ROOT,
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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


@pytest.mark.parametrize("version", ["4", "6"])
def test_the_share_that_is_lost(drawn: dict[str, Any], version: str) -> None:
    """A datagram and its echo: each way is drawn by itself. One run in 100,000 would be beyond 4.5 deviations."""
    returns = (1 - LOSS) ** 2
    expected, deviation = DATAGRAMS * returns, (DATAGRAMS * returns * (1 - returns)) ** 0.5
    assert abs(drawn[version]["returned"] - expected) < 4.5 * deviation


@pytest.mark.parametrize("version", ["4", "6"])
def test_jitter_is_even_about_the_delay(drawn: dict[str, Any], version: str) -> None:
    """The sum of two even draws: its bounds, mean and deviation."""
    round_trips = drawn[version]["round_trip_seconds"]
    mean, deviation = statistics.mean(round_trips), statistics.stdev(round_trips)
    assert min(round_trips) >= 2 * (DELAY_SECONDS - JITTER_SECONDS) - 0.0005
    expected_deviation = JITTER_SECONDS * (2 / 3) ** 0.5
    error = expected_deviation / len(round_trips) ** 0.5
    assert -4.5 * error < mean - 2 * DELAY_SECONDS < 4.5 * error + 0.005  # a few ms more on a busy machine
    assert deviation > 0.6 * expected_deviation


@pytest.mark.parametrize("version", ["4", "6"])
def test_jitter_keeps_the_order(drawn: dict[str, Any], version: str) -> None:
    assert drawn[version]["in_order"]


def test_with_loss_super_packets_are_not_lost_whole(drawn: dict[str, Any]) -> None:
    bits = drawn["bits_per_second"]
    if bits is None:
        pytest.skip("iperf3 is not installed: apt-get install iperf3")
    assert (drawn["mode"], drawn["status"]) == ("user", 0)
    assert bits > 1e6  # Mathis et al. 1997: MSS / RTT x 1.22 / sqrt(loss) is 3 Mbit/s
