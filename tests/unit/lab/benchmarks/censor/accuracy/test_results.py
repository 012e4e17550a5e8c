"""lab/benchmarks/censor/accuracy/results.py"""

from __future__ import annotations

import random

import pytest

from lab.benchmarks.censor.accuracy.flows import Fate, Flow, Seen
from lab.benchmarks.censor.accuracy.results import Accuracy, Counted, Judged, judged
from lab.benchmarks.censor.accuracy.truths import Case


def nothing(number: int, chance: random.Random) -> Flow:
    raise AssertionError


INNOCENT = Case("innocent", nothing)
RESET = Case("name", nothing, frozenset({Fate.RESET}))
HALF = Case("half", nothing, frozenset({Fate.STALLED, Fate.SLOWED}), share=0.5)


def judge(case: Case, **fates: int) -> Judged:
    return Judged(case, Counted(case.name, dict(fates)))


def test_what_is_counted() -> None:
    counted = Counted("x")
    for seen in (Seen(Fate.PASSED, 70), Seen(Fate.RESET, 3), Seen(Fate.PASSED, 100)):
        counted.add(seen)
    assert (counted.fates, counted.least_bytes, counted.most_bytes) == ({"passed": 2, "reset": 1}, 3, 100)


@pytest.mark.parametrize(
    ("case", "hit", "wrong", "likely", "held"),
    [
        (judge(INNOCENT, passed=9), 0, 0, (0, 0), True),
        (judge(INNOCENT, passed=9, dropped=1), 1, 0, (0, 0), False),
        (judge(RESET, reset=9), 9, 0, (9, 9), True),
        (judge(RESET, reset=8, passed=1), 8, 0, (9, 9), False),
        (judge(RESET, reset=8, dropped=1), 8, 1, (9, 9), False),
        (judge(HALF, stalled=3, slowed=3, passed=4), 6, 0, (0, 10), True),
        (judge(HALF, stalled=30, passed=70), 30, 0, (34, 66), False),
        (judge(HALF, stalled=50, passed=49, reset=1), 50, 1, (34, 66), False),
    ],
)
def test_a_case(case: Judged, hit: int, wrong: int, likely: tuple[int, int], held: bool) -> None:
    assert (case.hit, case.wrong, case.likely, case.held) == (hit, wrong, likely, held)


def test_a_profile() -> None:
    good = Accuracy("x", [judge(INNOCENT, passed=9), judge(RESET, reset=9), judge(HALF, stalled=50, passed=50)])
    assert (good.flows, good.false_positives, good.false_negatives, good.unlikely, good.held) == (118, 0, 0, [], True)
    cases = [judge(INNOCENT, passed=9, reset=2), judge(RESET, reset=6, passed=2, dropped=1), judge(HALF, passed=50)]
    bad = Accuracy("x", cases)
    assert (bad.false_positives, bad.false_negatives, bad.unlikely, bad.held) == (2, 3, cases[2:], False)
    assert not Accuracy("x", [], failure="no censor").held


def test_json() -> None:
    cases = judged(
        [INNOCENT, HALF], {one.counted.name: one.counted for one in (judge(HALF), judge(INNOCENT, passed=4))}
    )
    found = Accuracy("x", cases, 1.23, 5).to_json()
    innocent, half = found.pop("cases")
    assert found == {
        "flows": 4,
        "false_positives": 0,
        "false_negatives": 0,
        "unlikely": [],
        "held": True,
        "packets_missed": 5,
        "seconds": 1.2,
        "failure": None,
    }
    assert (innocent["case"], innocent["observed_share"], innocent["fates"]) == ("innocent", 0.0, {"passed": 4})
    assert (half["share"], half["observed_share"], half["likely_hits"]) == (0.5, None, [0, 0])
