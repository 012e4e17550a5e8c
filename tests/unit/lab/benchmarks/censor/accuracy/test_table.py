"""lab/benchmarks/censor/accuracy/table.py"""

from __future__ import annotations

from rich.console import Console

from lab.benchmarks.censor.accuracy.results import Accuracy
from lab.benchmarks.censor.accuracy.table import tables
from tests.unit.lab.benchmarks.censor.accuracy.test_results import HALF, INNOCENT, RESET, judge


def lines(*profiles: Accuracy) -> list[str]:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(tables(profiles))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_profiles_and_what_is_by_chance() -> None:
    good = Accuracy("good", [judge(INNOCENT, passed=900), judge(HALF, stalled=450, passed=450)], 7.6)
    bad = Accuracy("bad", [judge(RESET, reset=6, passed=2)], 3.0, 12)
    said = lines(good, bad, Accuracy("ugly", [], failure="the censor ended"))
    assert "good 1,800 0 0 0 8 OK" in said
    assert "bad 8 0 2 12 3 WRONG" in said
    assert "ugly the censor ended" in said
    assert "good half 900 50.0000% 450 401 to 499 OK" in said


def test_nothing_by_chance() -> None:
    assert not any("profile says" in line for line in lines(Accuracy("x", [judge(RESET, reset=1)])))
