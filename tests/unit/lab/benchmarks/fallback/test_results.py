"""Cells, comparisons and the JSON of runs whose figures are known."""

from __future__ import annotations

import json

import pytest

from lab.benchmarks.fallback.arms import NO_SPARE
from lab.benchmarks.fallback.records import Cost, Lateness, Messages, Verdict
from lab.benchmarks.fallback.results import Results, split
from tests.unit.lab.benchmarks.fallback.made_up import censored, record, recovered

OURS = [0.36, 0.38, 0.39, 0.40, 0.41, 0.44]
SLOW = [4.0, 4.1, 4.2, 4.3, 4.4, 4.5]


def test_a_cell_is_the_runs_of_one_policy_in_the_same_circumstances() -> None:
    runs = [record(), record("rst"), record(policy="outline"), record(rtt_ms=200), record(killed=True), record()]
    cells = Results(runs).cells
    assert [(c.key.block, c.key.policy, c.key.rtt_ms, c.key.killed, len(c.all)) for c in cells] == [
        ("syn-drop", "sidedoor", 40, False, 2),
        ("syn-drop", "outline", 40, False, 1),
        ("syn-drop", "sidedoor", 200, False, 1),
        ("syn-drop", "sidedoor", 40, True, 1),
        ("rst", "sidedoor", 40, False, 1),
    ]
    found = Results(runs).cell("rst", "sidedoor", rtt_ms=40, loss=0.0, warm=True)
    assert found == cells[-1]
    assert Results(runs).cell("rst", "sidedoor", rtt_ms=40, loss=0.0, warm=False) is None


def test_times_are_of_runs_that_count_messages_of_all() -> None:
    late = record(ttr_seconds=9.0, lateness_ms=Lateness(lab=500.0), messages=Messages(sent=100, delivered=99, lost=1))
    (cell,) = Results([*recovered(OURS), late]).cells
    assert (cell.ttr.n, cell.ttr.p50) == (6, 0.39)
    found = cell.to_json()
    assert found["messages"] == {
        "sent": 700,
        "delivered": 699,
        "lost": 1,
        "pending": 0,
        "duplicated_application": 0,
        "duplicated_transport": 0,
    }
    assert found["n_not_counted"] == 1


def test_runs_that_never_recovered_are_censored_and_compared_as_such() -> None:
    runs = [*recovered([0.4, 0.5]), *censored(2, 15.0)]
    (cell,) = Results(runs).cells
    assert (cell.ttr.n, cell.ttr.n_censored, cell.ttr.p50, cell.ttr.p95) == (4, 2, 0.5, None)
    assert split(runs, "ttr_seconds") == ([0.4, 0.5], [15.0, 15.0])
    # Two recovered without ever having called the path bad: that could be waited for only until then.
    silent = [
        record(ttd_seconds=None, ttr_seconds=0.3),
        record(ttr_seconds=None, censored_at_seconds=None, ttd_seconds=None),
    ]
    assert split(silent, "ttd_seconds") == ([], [0.3, 0.0])


def test_no_p95_of_fewer_than_59_runs() -> None:
    (few,) = Results(recovered([0.4] * 58)).cells
    assert (few.p95, few.p95_upper) == (None, None)
    (enough,) = Results(recovered([0.4 + number / 1000 for number in range(59)])).cells
    assert enough.p95 == pytest.approx(0.456)
    assert enough.p95_upper == pytest.approx(0.458)  # of 59, the greatest


def test_cost_and_diagnosis_of_a_cell() -> None:
    runs = [
        record(cost=Cost(wire_bytes=10, connections_opened=2, proxies_revealed=1, false_switches=1)),
        record(cost=Cost(wire_bytes=None, connections_opened=4, proxies_revealed_before=2, proxies_revealed=3)),
        record(diagnosis=Verdict(kind="reset"), cost=Cost()),
    ]
    found = Results(runs).cells[0].to_json()
    assert found["cost"] == {
        "connections_opened": 2,
        "wire_bytes": 10,
        "proxies_revealed_before": 2,
        "proxies_revealed": 3,
        "false_switches": 1,
    }
    assert found["diagnosis"] == {"right": 2, "of": 3}


def test_the_best_baseline_is_the_one_with_the_least_median() -> None:
    runs = [*recovered(OURS), *recovered(SLOW, policy="outline"), *censored(6, 60.0, policy="tdlib")]
    (comparison,) = Results(runs).comparisons
    assert comparison.best == "outline"
    assert comparison.ratio is not None
    assert comparison.ratio.value == pytest.approx(4.2 / 0.39)
    assert not comparison.ratio.at_least
    assert comparison.to_json()["best_baseline"] == "outline"


def test_where_no_baseline_recovered_the_ratio_is_at_least_that() -> None:
    runs = [*recovered(OURS), *censored(6, 60.0, policy="tdlib"), *censored(6, 30.0, policy="signal")]
    (comparison,) = Results(runs).comparisons
    assert comparison.best is None
    assert comparison.ratio is not None
    assert comparison.ratio.at_least
    assert comparison.ratio.value == pytest.approx(60.0 / 0.39)


def test_only_clients_of_the_same_lab_are_compared() -> None:
    alone = recovered([9.0] * 6, condition="syn-drop-warm-40ms-0pc-sidedoor")
    runs = [*recovered(OURS), *alone, *recovered(SLOW, policy="outline"), *recovered(OURS, "rst")]
    (comparison,) = Results(runs).comparisons
    assert comparison.ours.ttr.n == 6
    never = Results([*censored(6, 60.0), *recovered(SLOW, policy="outline")]).comparisons[0]
    assert never.ratio is None
    assert never.to_json()["ratio"] is None


def test_the_price_of_holding_no_spare() -> None:
    runs = [*recovered(OURS), *recovered([2 * value for value in OURS], policy=NO_SPARE), record("rst", NO_SPARE)]
    found = Results(runs).no_spare
    assert [price.cell.key.block for price in found] == ["syn-drop", "rst"]
    assert found[0].ratio is not None
    assert found[0].ratio.value == pytest.approx(2.0)
    assert found[1].to_json() == {"block": "rst", "ttr_p50_seconds": 0.4, "ratio": None}
    assert found[0].to_json()["ratio"]["value"] == pytest.approx(2.0)


def test_the_shape_of_the_json() -> None:
    late = record(lateness_ms=Lateness(client=80.0))
    runs = [*recovered(OURS), late, record(problem="the block did not hit this client")]
    data = json.loads(json.dumps(Results(runs, {"cpus": 2}, {"rst": "broke"}, parallel=3, seconds=9.5).to_json()))
    (cell,) = data["cells"]
    assert {key: cell[key] for key in ("block", "policy", "rtt_ms", "loss", "warm", "n", "n_censored")} == {
        "block": "syn-drop",
        "policy": "sidedoor",
        "rtt_ms": 40,
        "loss": 0.0,
        "warm": True,
        "n": 6,
        "n_censored": 0,
    }
    assert set(cell["ttr_seconds"]) >= {"p50", "p95", "ci95"}
    assert cell["ttr_seconds"]["ci95"][0] <= cell["ttr_seconds"]["p50"] <= cell["ttr_seconds"]["ci95"][1]
    assert {"messages", "cost"} <= set(cell)
    assert data["parallel"] == {
        "labs": 3,
        "lateness_ms": {"p50": 0.0, "p95": 80.0, "p99": 80.0, "max": 80.0},
        "limit_ms": 50.0,
        "runs": 8,
        "repeated_for_lateness": 1,
        "repeated_for_other_reasons": 1,
        "calibration": None,
    }
    assert (data["failures"], data["machine"], data["seconds"]) == ({"rst": "broke"}, {"cpus": 2}, 9.5)


def test_nothing_measured_is_no_mistake() -> None:
    data = Results([]).to_json()
    assert (data["cells"], data["comparisons"], data["parallel"]["lateness_ms"]["max"]) == ([], [], None)
