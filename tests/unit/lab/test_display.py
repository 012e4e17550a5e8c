"""What a person sees while runs go on: a line a step, whatever the texts contain."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lab.display import Display
from lab.measurement.summary import Clock, Outcome
from lab.run import RunRecord
from lab.scenario import Scenario

SCENARIO = Scenario(name="mine", description=f"what it does [/and] {'x' * 100}")


def record(outcome: Outcome = "completed", problem: str | None = None) -> RunRecord:
    return RunRecord(1, 7, Clock(monotonic=0.0, realtime=0.0), [], outcome, problem)


def shown(*, terminal: bool, repeat: int, record_: RunRecord) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=60, color_system=None)
    with Display(console, SCENARIO, "netns", repeat) as display:
        display.start_run(1)
        display.step(3.25, "all: blocked [/tmp]")
        display.end_run(record_)
        display.note("measuring [it]")
    return stream.getvalue()


def test_a_line_a_step_where_there_is_no_terminal() -> None:
    assert shown(terminal=False, repeat=3, record_=record()).splitlines() == [
        f"mine on netns, 3 runs: {SCENARIO.description}",
        "  run 1/3    3.2 s  all: blocked [/tmp]",
        "  measuring [it]",
    ]


def test_a_problem_is_shown() -> None:
    lines = shown(terminal=False, repeat=1, record_=record("failed", "no [/dev/null] here")).splitlines()
    assert lines[0].startswith("mine on netns, 1 run: ")
    assert lines[2] == "  run 1/1 failed: no [/dev/null] here"


@pytest.mark.parametrize("problem", [None, "too bad"])
def test_on_a_terminal_the_same_lines_and_a_clock(problem: str | None) -> None:
    text = shown(terminal=True, repeat=1, record_=record("failed" if problem else "completed", problem))
    assert "all: blocked [/tmp]" in text
    assert ("too bad" in text) == bool(problem)
