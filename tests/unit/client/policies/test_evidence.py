from __future__ import annotations

import pytest

from client.policies.evidence import Evidence
from client.policies.rtt import RttEstimate


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(RttEstimate(), heard_at=0.0)


def test_nothing_awaited_is_no_silence(evidence: Evidence) -> None:
    assert (evidence.unanswered, evidence.silent_since, evidence.second_sent_at) == (0, None, None)


def test_silence_counts_from_the_oldest_unanswered_copy(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.pinged(1, 1.5)
    evidence.sent(2, 2.0)
    assert (evidence.unanswered, evidence.silent_since, evidence.second_sent_at) == (3, 1.0, 1.5)


def test_silence_begins_again_with_each_sign_of_life(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.sent(2, 1.1)
    evidence.answered(1, 1.4)
    assert (evidence.unanswered, evidence.silent_since) == (1, 1.4)
    evidence.heard(1.6)
    assert evidence.silent_since == 1.6


def test_answers_are_samples_and_unknown_ones_are_only_life(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.answered(1, 1.25)
    assert evidence.rtt.smoothed == 0.25
    evidence.answered(7, 2.0)
    evidence.ponged(7, 3.0)
    assert (evidence.rtt.smoothed, evidence.heard_at) == (0.25, 3.0)
    evidence.pinged(8, 4.0)
    evidence.ponged(8, 4.25)
    assert evidence.unanswered == 0
