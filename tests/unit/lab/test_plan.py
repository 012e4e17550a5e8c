"""Plans cross into the lab's process as plain data."""

from __future__ import annotations

import json

import msgspec
import pytest

from lab.plan import ExperimentPlan, SessionPlan


@pytest.mark.parametrize(
    "plan",
    [
        ExperimentPlan(scenario="/s", out="/o", seed=7, repeat=3, timeout_seconds=1.5, json=True),
        ExperimentPlan(scenario="/s", out="/o", seed=7, repeat=1),
        SessionPlan(delay_seconds=0.02),
        SessionPlan(delay_seconds=0.02, censor=False),
        SessionPlan(delay_seconds=0.02, capture="/tmp/packets"),
    ],
)
def test_there_and_back(plan: ExperimentPlan | SessionPlan) -> None:
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(plan))), type(plan)) == plan
