"""What is asked of the relay, compared with what a run shows."""

from __future__ import annotations

import pytest

from lab.benchmarks.goals import GOALS, Goal, Outcome, outcomes
from lab.benchmarks.results import Contestant, Results, Sample
from lab.benchmarks.workloads import WORKLOADS
from tests.unit.lab.benchmarks.test_results import results


def test_of_the_workloads_that_were_measured() -> None:
    found = {(o.goal.metric, o.goal.over): (o.measured, o.held) for o in outcomes(results())}
    assert found == {
        ("megabytes_per_second", "best"): (2.0, True),
        ("megabytes_per_second", "direct"): (0.75, True),
        ("cpu_seconds_per_gb", "best"): (0.5, True),
    }


def test_a_rate_is_to_be_high_and_a_cost_low() -> None:
    assert Outcome(Goal("x", "messages_per_second", 0.9), 0.8).held is False
    assert Outcome(Goal("x", "p99_microseconds", 1.2), 1.3).held is False
    assert Outcome(Goal("x", "p99_microseconds", 1.2), None).held is None


def run(peers: list[Contestant], metrics: dict[str, dict[str, float]], workload: str) -> dict[str, Outcome]:
    samples = [Sample(1, name, workload, values) for name, values in metrics.items()]
    found = outcomes(Results(peers, [workload], samples, {}, "C", 1, 1.0))
    return {f"{o.goal.metric}/{o.goal.over}/{o.goal.who}": o for o in found}


def test_a_percentile_is_compared_with_that_of_the_server_with_the_best_rate() -> None:
    metrics = {
        "sidedoor": {"messages_per_second": 10.0, "p99_microseconds": 30.0},
        "fast": {"messages_per_second": 9.0, "p99_microseconds": 20.0},
        "slow": {"messages_per_second": 1.0, "p99_microseconds": 1.0},
    }
    peers = [Contestant("sidedoor", own=True), Contestant("fast"), Contestant("slow")]
    found = run(peers, metrics, "ping-64B-64")
    assert found["p99_microseconds/best/sidedoor"].measured == 1.5
    assert found["p99_microseconds/best/sidedoor"].held is False


def test_the_entry_with_workers_and_named_peers() -> None:
    rates = {"sidedoor": 4.0, "sidedoor-2w": 8.0, "sing-box": 5.0}
    peers = [Contestant(name, own=name.startswith("side")) for name in rates]
    found = run(peers, {name: {"connects_per_second": rate} for name, rate in rates.items()}, "connects")
    assert found["connects_per_second/sing-box/sidedoor"].held is False
    assert found["connects_per_second/danted/sidedoor"].held is None
    assert found["connects_per_second/best/several"].measured == 1.6
    alone = run(peers[::2], {"sing-box": {"connects_per_second": 5.0}}, "connects")
    assert alone["connects_per_second/best/several"].held is None


def test_what_observing_costs() -> None:
    rates = {"sidedoor": 4.0, "sidedoor-observed": 3.9}
    peers = [Contestant(name, own=True) for name in rates]
    found = run(peers, {name: {"connects_per_second": rate} for name, rate in rates.items()}, "connects")
    assert found["connects_per_second/sidedoor/sidedoor-observed"].held is True
    assert found["connects_per_second/best/several"].held is None


def test_a_figure_that_stands_for_itself() -> None:
    found = run([Contestant("sidedoor", own=True)], {"sidedoor": {"pss_bytes_per_flow": 1500.0}}, "idle")
    assert found["pss_bytes_per_flow//sidedoor"].held is True


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.workload} {goal.metric} {goal.over}")
def test_each_is_about_a_workload_that_exists(goal: Goal) -> None:
    assert goal.workload in {workload.name for workload in WORKLOADS}
