"""Figures of the labs without a block and of the calibration."""

from __future__ import annotations

import pytest

from lab.benchmarks.fallback.arms import DIRECT_ONLY
from lab.benchmarks.fallback.controls import calibration, control
from lab.benchmarks.fallback.records import Lateness
from tests.unit.lab.benchmarks.fallback.made_up import quiet, record, recovered


def test_hours_and_what_was_done_in_them() -> None:
    runs = [quiet(), quiet(false_switches=1, path_bad=2, standby_connections=2, wire_bytes=2_160_000)]
    found = control([*runs, quiet(DIRECT_ONLY, wire_bytes=1_800_000, standby_connections=0), quiet(problem="no acks")])
    assert found is not None
    assert found["client_hours"] == pytest.approx(1.0)
    assert (found["false_switches"], found["standby_connections"], found["not_counted"]) == (1, 2, 1)
    assert found["bytes_ratio"] == pytest.approx(1.1)  # the median of 1000 and 1200 bytes a second, over 1000
    assert found["policies"]["sidedoor"]["messages"]["sent"] == 2000
    assert found["policies"]["sidedoor"]["path_bad"] == 2
    assert found["policies"][DIRECT_ONLY]["standby_connections"] == 0


def test_what_was_not_measured_is_none() -> None:
    assert control([]) is None
    assert control([quiet(problem="no acks")]) is None
    found = control([quiet(wire_bytes=None)])
    assert found is not None
    assert found["bytes_ratio"] is None
    only_direct = control([quiet(DIRECT_ONLY)])
    assert only_direct is not None
    assert (only_direct["client_hours"], only_direct["standby_connections"]) == (0, None)


def test_the_same_lab_alone_and_among_others() -> None:
    alone = recovered([0.40, 0.41, 0.42, 0.43, 0.44, 0.45])
    among = recovered([0.44, 0.45, 0.462, 0.47, 0.48, 0.49])
    late = record(ttr_seconds=3.0, lateness_ms=Lateness(client=400.0))
    found = calibration(alone, [*among, late], 4)
    assert found is not None
    assert (found["labs"], found["among"]["n"], found["among"]["repeated"]) == (4, 6, 1)
    assert found["ratio"]["value"] == pytest.approx(1.1)
    low, high = found["ratio"]["ci95"]
    assert 1.0 < low < 1.1 < high < 1.2
    assert found["alone"]["ttr_seconds"]["p50"] == 0.42
    assert found["among"]["lateness_ms"]["p99"] == 400.0


def test_a_half_calibration_says_nothing() -> None:
    assert calibration(recovered([0.4]), [], 2) is None
    never = calibration([record(ttr_seconds=None, censored_at_seconds=15.0)], recovered([0.4]), 2)
    assert never is not None
    assert never["ratio"] is None
