import pytest

from lab.benchmarks.generator import Measurement
from lab.benchmarks.relay import WORKLOADS, Figure, Results, select
from sidedoor.settings import UsageError


def results() -> Results:
    figures = [
        Figure("direct", "bulk-down-1", "MB/s", [3900.0, 4000.0, 9000.0], []),
        Figure("sidedoor", "bulk-down-1", "MB/s", [3000.0, 3000.0, 1.0], [0.2, 0.1, 0.3]),
        Figure("danted", "bulk-down-1", "MB/s", [1500.0], [0.6]),
    ]
    return Results(figures, {"microsocks": "microsocks is not installed"}, "C", 3, 1.0)


def test_medians_and_ratios() -> None:
    run = results()
    direct, ours, dante = run.figures
    assert (ours.median, ours.median_cpu) == (3000.0, 0.2)
    assert run.ratio_to_direct(ours) == 0.75
    assert run.ratio_to_best_other(ours) == 2.0
    assert run.ratio_to_best_other(dante) == 0.5
    assert run.ratio_to_best_other(direct) is None
    assert direct.median_cpu is None


def test_alone_there_is_nothing_to_compare_with() -> None:
    alone = Results([Figure("sidedoor", "ping-64", "messages/s", [1.0], [])], {}, "C", 1, 1.0)
    assert alone.ratio_to_direct(alone.figures[0]) is None
    assert alone.ratio_to_best_other(alone.figures[0]) is None


def test_json() -> None:
    data = results().to_json()
    assert data["schema_version"] == 1
    assert data["skipped"] == {"microsocks": "microsocks is not installed"}
    assert data["figures"][1]["ratio_to_best_other"] == 2.0


def test_only() -> None:
    peers, workloads = select(["sidedoor", "ping-64"])
    assert peers == {"sidedoor"}
    assert {workload.name for workload in workloads} == {"ping-64"}
    assert select([])[1] == set(WORKLOADS)
    assert select(["ping-64"])[0] == {"direct", "sidedoor", "microsocks", "danted"}
    with pytest.raises(UsageError, match="'nginx'"):
        select(["nginx"])


def test_values_are_rates() -> None:
    counted = Measurement(seconds=2, bytes=4_000_000, messages=10, connects=6, failures=0, cpu_seconds=1)
    assert {w.name: w.value(counted) for w in WORKLOADS} == {
        "bulk-down-1": 2,
        "bulk-down-8": 2,
        "bulk-up-1": 2,
        "ping-64": 5,
        "connects-32": 3,
    }
