"""What is asked of the censor, compared with what a run shows."""

from __future__ import annotations

from lab.benchmarks.censor.goals import outcomes
from lab.benchmarks.censor.results import Results, Sample
from tests.unit.lab.benchmarks.censor.test_results import results


def test_each_profile_and_the_inspection() -> None:
    held = {(outcome.subject, outcome.goal.asked): outcome.held for outcome in outcomes(results())}
    assert held == {
        ("idle", 0.95): False,
        ("idle", 2.0): True,
        ("idle", 8000): True,
        ("slow", 0.95): False,
        ("slow", 2.0): False,
        ("slow", 8000): False,
        ("every-packet", 5.0): True,
    }


def test_what_was_not_measured_is_neither() -> None:
    run = Results(["idle"], [Sample(1, "idle", "start", failure="bad rules")], {}, 1, 1.0)
    assert [outcome.held for outcome in outcomes(run)] == [None] * 3
