"""Each expectation, held and not held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lab.measurement.accounts import Messages
from lab.measurement.episodes import Block
from lab.measurement.leaks import Leaks
from lab.measurement.summary import Clock, Run
from lab.scenario import Expectations
from lab.verdict import failures

GOOD = Block(name="address", recovered=True, failback_seconds=3.0, hits=4)
BAD = Block(name="address", censored_at_seconds=14.96, failback_censored_at_seconds=20.0)


def run(block: Block = GOOD, *, leaks: int | None = 0, plaintext: int | None = 0, **fields: Any) -> Run:
    return Run(
        seed=1,
        clock=Clock(monotonic=0.0, realtime=0.0),
        blocks=[block],
        messages=Messages(**fields),
        leaks=Leaks(packets=leaks, plaintext=plaintext),
    )


def said(expect: Expectations, run_: Run, switches: int = 0) -> list[str]:
    return list(failures(expect, run_, switches=switches))


def test_nothing_expected_nothing_checked() -> None:
    assert said(Expectations(), run(BAD, leaks=None, lost=7), switches=9) == []


def test_nothing_is_expected_of_a_run_that_was_cut_short() -> None:
    cut = msgspec.structs.replace(run(BAD, lost=7), outcome="interrupted", problems=["interrupted at 7.2 s"])
    assert said(Expectations(recovered=True, lost=0, messages_at_least=5), cut) == ["interrupted at 7.2 s"]


HELD_AND_NOT: dict[str, tuple[Expectations, Run, Run, str]] = {
    "recovered": (Expectations(recovered=True), run(), run(BAD), "block address: not recovered within 15.0 s"),
    "not recovered": (
        Expectations(recovered=False),
        run(BAD),
        run(),
        "block address: recovered, expected that it would not",
    ),
    "recovered, never hit": (
        Expectations(recovered=True),
        run(),
        run(Block(name="address")),
        "block address: not recovered within the time given",
    ),
    "failed back": (
        Expectations(failed_back=True),
        run(),
        run(BAD),
        "block address: not back on the direct path within 20.0 s",
    ),
    "not failed back": (
        Expectations(failed_back=False),
        run(BAD),
        run(),
        "block address: back on the direct path, expected that it would not be",
    ),
    "hits": (Expectations(hits_at_least=4), run(), run(BAD), "block address: 0 packets hit, expected at least 4"),
    "lost": (Expectations(lost=0), run(), run(lost=2), "lost: 2, expected 0"),
    "lost as expected": (Expectations(lost=2), run(lost=2), run(), "lost: 0, expected 2"),
    "shown twice": (
        Expectations(duplicated_application=0),
        run(),
        run(duplicated_application=1),
        "duplicated_application: 1, expected 0",
    ),
    "leaks": (Expectations(leaks=0), run(), run(leaks=5), "leaks: 5, expected 0"),
    "plaintext": (Expectations(plaintext=0), run(), run(plaintext=2), "plaintext: 2, expected 0"),
    "leaks unknown": (Expectations(leaks=0), run(), run(leaks=None), "leaks: unknown, expected 0"),
    "messages": (
        Expectations(messages_at_least=100),
        run(sent=100),
        run(sent=99),
        "messages sent: 99, expected at least 100",
    ),
}


@pytest.mark.parametrize("name", HELD_AND_NOT)
def test_an_expectation(name: str) -> None:
    expect, holds, does_not, line = HELD_AND_NOT[name]
    assert said(expect, holds) == []
    assert said(expect, does_not) == [line]


def test_switches() -> None:
    assert said(Expectations(switches=0), run(), switches=0) == []
    assert said(Expectations(switches=0), run(), switches=2) == ["switches: 2, expected 0"]


def test_problems_always_count() -> None:
    broken = Run(seed=1, clock=Clock(monotonic=0.0, realtime=0.0), problems=["censor was killed by signal 9"])
    assert said(Expectations(), broken) == ["censor was killed by signal 9"]
