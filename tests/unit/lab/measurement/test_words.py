"""What a person is told, word for word."""

from __future__ import annotations

import pytest

from lab.measurement.accounts import Collateral, Messages
from lab.measurement.diagnoses import Diagnosis
from lab.measurement.distributions import Distribution
from lab.measurement.episodes import Block
from lab.measurement.leaks import Leaks
from lab.measurement.summary import METRICS, Clock, Killed, Outcome, Run, Summary
from lab.measurement.words import (
    block_sentence,
    count,
    duration,
    ending,
    fault_sentences,
    interval_words,
    median_words,
    run_sentence,
    typical_sentence,
    verdict,
)

CLOCK = Clock(monotonic=0.0, realtime=0.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.0004, "0 ms"), (0.05, "50 ms"), (0.0996, "0.10 s"), (0.4, "0.40 s"), (9.999, "10.0 s")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_counts() -> None:
    assert (count(1, "run"), count(0, "run"), count(2, "run")) == ("1 run", "0 runs", "2 runs")


def test_a_block_that_went_well() -> None:
    block = Block(
        name="domain",
        t0=8.0,
        ttd_seconds=0.4,
        tts_seconds=0.6,
        ttr_seconds=0.7,
        outage_seconds=0.8,
        failback_seconds=2.0,
        recovered=True,
    )
    assert block_sentence(block) == (
        "blocked at 8.0 s, noticed 0.40 s later, first message through the proxy 0.60 s later, messages confirmed "
        "again 0.70 s later, longest silence 0.80 s, direct again 2.00 s after the block was lifted"
    )


def test_a_block_that_went_badly() -> None:
    block = Block(name="domain", t0=8.0, censored_at_seconds=12.0, failback_censored_at_seconds=5.0)
    assert block_sentence(block) == (
        "blocked at 8.0 s, never noticed, NOT RECOVERED within 12.0 s, not direct again within 5.00 s of the unblocking"
    )
    assert block_sentence(Block(name="b", t0=8.0, censored_at_seconds=3.0)).endswith("within 3.00 s")


def test_a_block_that_was_cut_short() -> None:
    cut = Block(name="b", t0=8.0, cut_short=True, censored_at_seconds=1.2)
    assert block_sentence(cut) == "blocked at 8.0 s, not noticed, cut short 1.20 s later, not recovered by then"
    back = Block(name="b", t0=8.0, cut_short=True, recovered=True, ttr_seconds=0.5, failback_censored_at_seconds=0.3)
    assert block_sentence(back).endswith("confirmed again 0.50 s later, cut short 0.30 s after the block was lifted")
    assert block_sentence(Block(name="b", cut_short=True)).startswith("cut short before the censor touched")


def test_what_was_broken_on_purpose() -> None:
    run = Run(seed=1, clock=CLOCK, faults=[Killed(role="proxy1", at_seconds=6.0123)])
    assert list(fault_sentences(run)) == ["proxy1 was killed at 6.0 s, as planned"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("completed", None),
        ("interrupted", "interrupted at 7.2 s"),
        ("timed_out", "timed out at 7.2 s"),
        ("role_died", "ended early by the death of a role at 7.2 s"),
        ("failed", "failed at 7.2 s"),
    ],
)
def test_how_a_run_ended(outcome: Outcome, words: str | None) -> None:
    assert ending(Run(seed=1, clock=CLOCK, outcome=outcome, ended_seconds=7.21)) == words


def test_the_verdict_says_first_what_was_cut_short() -> None:
    whole = Run(seed=1, clock=CLOCK, blocks=[Block(name="b", t0=1.0, recovered=True)])
    cut = Run(
        seed=1, clock=CLOCK, outcome="interrupted", ended_seconds=7.2, messages=Messages(sent=9, delivered=7, lost=2)
    )

    def said(*runs: Run) -> str:
        return verdict(Summary(scenario="s", runtime="netns", seed=1, runs=list(runs)))

    assert said(cut) == "interrupted at 7.2 s, 7 of 9 messages shown until then"
    assert said(whole, cut) == (
        "run 2 interrupted at 7.2 s; 1 run: the messenger got through the block, 0 lost, 0 shown twice"
    )
    assert said(cut, cut) == "run 1 interrupted at 7.2 s, run 2 interrupted at 7.2 s"
    assert "2 under way when it ended" in run_sentence(cut)


def test_a_block_without_effect() -> None:
    assert "no effect" in block_sentence(Block(name="domain"))


def test_a_run_that_went_well_and_one_that_did_not() -> None:
    good = Run(seed=1, clock=CLOCK, messages=Messages(sent=100), collateral=Collateral(tried=40, broken=2))
    assert run_sentence(good) == "100 messages sent, 0 lost, 0 shown twice, 2 of 40 bystander flows broken"
    bad = Run(
        seed=1,
        clock=CLOCK,
        messages=Messages(sent=1, lost=1),
        collateral=Collateral(tried=1, slowed=1),
        leaks=Leaks(packets=2, capture_dropped=1),
    )
    assert run_sentence(bad) == (
        "1 message sent, 1 lost, 0 shown twice, 0 of 1 bystander flow broken, 1 slowed, 2 packets LEAKED, "
        "the captures missed 1 packet"
    )
    quiet = Run(seed=1, clock=CLOCK, leaks=Leaks(packets=0))
    assert run_sentence(quiet).endswith("nothing leaked")


def test_medians() -> None:
    assert median_words(Distribution()) == "–"
    assert median_words(Distribution(n=3, n_censored=3)) == "not within the time watched (3 runs)"
    assert median_words(Distribution(n=3, p50=0.4)) == "0.40 s"
    assert median_words(Distribution(n=3, n_censored=1, p50=0.4)) == "0.40 s, 1 of 3 not seen"
    assert interval_words(Distribution(n=3, p50=0.4)) == ""
    assert interval_words(Distribution(n=3, p50=0.4, range=(0.3, 0.5))) == "range: 0.30 s to 0.50 s"
    assert interval_words(Distribution(n=6, p50=0.4, ci95=(0.3, 0.5))) == "95 %: 0.30 s to 0.50 s"
    assert interval_words(Distribution(n=1, p50=0.4, range=(0.4, 0.4))) == ""


def test_the_typical_run() -> None:
    assert typical_sentence({metric: Distribution(n=3, p50=0.4) for metric in METRICS}) == (
        "noticed 0.40 s after the first packet was hit, first message through the proxy after 0.40 s, confirmed "
        "again after 0.40 s; direct again 0.40 s after the block was lifted"
    )


@pytest.mark.parametrize(
    ("recovered", "words"),
    [
        ([], "1 run without a block: 0 lost, 0 shown twice"),
        ([True], "1 run: the messenger got through the block, 0 lost, 0 shown twice"),
        ([True, True], "1 run: the messenger got through both blocks, 0 lost, 0 shown twice"),
        ([True] * 3, "1 run: the messenger got through all 3 blocks, 0 lost, 0 shown twice"),
        ([True, False], "1 run: the messenger got through 1 of 2 blocks, 0 lost, 0 shown twice"),
    ],
)
def test_the_verdict(recovered: list[bool], words: str) -> None:
    run = Run(seed=1, clock=CLOCK, blocks=[Block(name="b", t0=1.0, recovered=each) for each in recovered])
    assert verdict(Summary(scenario="s", runtime="netns", seed=1, runs=[run])) == words


def test_what_the_client_made_of_a_block_stands_beside_the_truth() -> None:
    block = Block(
        name="domain",
        t0=8.0,
        ttd_seconds=0.4,
        ttr_seconds=0.7,
        recovered=True,
        censor_actions=["domain: sni_drop", "domain: drop"],
        diagnosis=Diagnosis(route="direct", kind="sni_drop", confidence=0.9, seconds=1.5),
    )
    assert block_sentence(block).endswith(
        "taken for sni_drop (90% sure) after 1.50 s (the censor: domain: sni_drop and domain: drop)"
    )
