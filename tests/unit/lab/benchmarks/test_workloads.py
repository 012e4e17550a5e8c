"""Metrics out of what the generator counted."""

import pytest

from lab.benchmarks import workloads
from lab.benchmarks.generator import Counted, Target
from lab.benchmarks.peers import Running
from lab.benchmarks.processes import BenchError
from lab.benchmarks.workloads import QUICK, WORKLOADS, idle_flows

COUNTED = Counted(
    seconds=2,
    bytes=4_000_000,
    messages=10,
    connects=6,
    failures=0,
    standing=8,
    p50_seconds=0.001,
    p99_seconds=0.002,
    longest_seconds=0.003,
)


def test_names_are_unique_and_quick_ones_are_among_them() -> None:
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)
    assert names[:3] == ["bulk-down-1", "bulk-down-8", "bulk-down-64"]
    assert "ping-64B-512" in names
    assert "ping-1KB-64" in names


def test_a_rate_and_latencies() -> None:
    metrics = workloads._bulk_metrics(COUNTED, 1.0, Running(0))
    assert metrics == {"megabytes_per_second": 2.0}, "without a proxy it has no CPU time"
    assert workloads._latencies(COUNTED, "alone_") == {
        "alone_p50_microseconds": 1000,
        "alone_p99_microseconds": 2000,
        "alone_longest_microseconds": 3000,
    }


def test_nothing_that_came_through_is_a_failure() -> None:
    with pytest.raises(BenchError, match="not a byte"):
        workloads._bulk_metrics(Counted(1, 0, 0, 0, 0, 0, 0, 0, 0), 1.0, Running(0))


def test_a_proxy_with_a_fixed_target_is_connected_to_as_the_target() -> None:
    target = Target(40001, 1)
    assert workloads._ports(Running(40000), target) == (40000, 40001)
    assert workloads._ports(Running(40000, socks=False), target) == (0, 40000)
    assert workloads._ports(Running(0), target) == (0, 40001)


@pytest.mark.parametrize(("limit", "flows"), [(20_000, 5000), (1024, 262), (256, 1), (1_000_000, 5000)])
def test_idle_flows_are_bounded_by_the_descriptors(limit: int, flows: int) -> None:
    assert idle_flows(limit) == flows
