from __future__ import annotations

import pytest

from client.policies.evidence import Evidence
from client.policies.rtt import RttEstimate


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(RttEstimate(), heard_at=0.0)


def test_nothing_awaited_is_no_silence(evidence: Evidence) -> None:
    assert (evidence.unanswered, evidence.waiting_since, evidence.silent_since) == (0, None, None)
    assert (evidence.first_untaken, evidence.answered_at) == (None, None)


def test_the_wait_counts_from_the_oldest_copy_or_ping(evidence: Evidence) -> None:
    evidence.pinged(1, 0.5)
    assert (evidence.unanswered, evidence.waiting_since) == (1, 0.5)
    evidence.sent(1, 1.0)
    assert (evidence.unanswered, evidence.waiting_since) == (2, 0.5)
    evidence.ponged(1, 1.5)
    assert evidence.waiting_since == 1.0
    evidence.pinged(2, 2.0)
    assert (evidence.unanswered, evidence.waiting_since) == (2, 1.0)


def test_silence_begins_again_with_each_sign_of_life_and_the_wait_does_not(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.sent(2, 1.1)
    evidence.answered(1, 1.4)
    assert (evidence.waiting_since, evidence.silent_since) == (1.1, 1.4)
    evidence.heard(1.6)
    assert (evidence.waiting_since, evidence.silent_since) == (1.1, 1.6)


def test_answers_are_samples_and_unknown_ones_are_only_life(evidence: Evidence) -> None:
    evidence.sent(1, 1.0, 300)
    evidence.answered(1, 1.25)
    assert (evidence.rtt.smoothed, evidence.answered_bytes, evidence.answered_at) == (0.25, 300, 1.25)
    evidence.answered(7, 2.0)
    evidence.ponged(7, 3.0)
    assert (evidence.rtt.smoothed, evidence.heard_at) == (0.25, 3.0)
    assert (evidence.answered_bytes, evidence.answered_at) == (300, 1.25)
    evidence.pinged(8, 4.0)
    evidence.ponged(8, 4.25)
    assert (evidence.unanswered, evidence.answered_at) == (0, 4.25)


def test_while_it_is_ambiguous_answers_count_and_are_no_samples(evidence: Evidence) -> None:
    evidence.ambiguous = True
    evidence.sent(1, 1.0, 300)
    evidence.answered(1, 2.0)
    assert (evidence.rtt.smoothed, evidence.answered_bytes, evidence.answered_at) == (None, 300, 2.0)


def test_a_second_copy_by_the_same_connection_does_not_make_the_message_younger(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.sent(1, 2.0)
    assert (evidence.unanswered, evidence.waiting_since) == (1, 1.0)


def test_what_is_overdue_is_taken_once_and_oldest_first(evidence: Evidence) -> None:
    for id_ in (1, 2, 3):
        evidence.sent(id_, float(id_))
    assert evidence.take_overdue(1.5, 2.0) == ()
    assert evidence.take_overdue(1.5, 3.5) == (1, 2)
    assert evidence.take_overdue(1.5, 3.5) == ()
    assert evidence.first_untaken == 3.0
    evidence.take(3)
    evidence.take(3)
    assert evidence.take_overdue(0.0, 9.0) == ()
    assert evidence.first_untaken is None


def test_what_was_taken_can_be_given_back_unless_it_is_answered(evidence: Evidence) -> None:
    evidence.sent(1, 1.0)
    evidence.sent(2, 2.0)
    evidence.take_overdue(0.0, 2.0)
    evidence.answered(1, 2.5)
    assert (evidence.waits_for(1), evidence.waits_for(2)) == (False, True)
    evidence.return_taken()
    assert evidence.first_untaken == 2.0
    assert evidence.take_overdue(0.0, 3.0) == (2,)
