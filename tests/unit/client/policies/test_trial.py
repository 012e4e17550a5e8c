from __future__ import annotations

import pytest

from client.policies.trial import EARLY_SECONDS, HASTY_SECONDS, LEAST_BYTES, MOST_BYTES, Trial, Trials


@pytest.mark.parametrize(
    ("answered_bytes", "now", "late", "passed"),
    [
        (999, 2.0, False, False),
        (1000, 1.0, False, True),
        (0, 3.0, False, True),
        (590, 3.0, False, True),
        (610, 3.0, False, False),
        (990, 5.0, False, True),
        (5000, 9.0, True, False),
    ],
    ids=[
        "neither",
        "enough bytes",
        "its time is over",
        "too slow",
        "they come soon",
        "they did not",
        "an answer is late",
    ],
)
def test_a_trial_is_passed_by_bytes_or_by_time(answered_bytes: int, now: float, late: bool, passed: bool) -> None:
    assert Trial(needed_bytes=1000, began_at=0.0, until=2.5).passed(answered_bytes, now, late=late) is passed


def test_at_first_a_trial_needs_the_least_or_a_short_time() -> None:
    assert Trials(1.5).begin(10.0) == Trial(LEAST_BYTES, 10.0, 11.5)


def test_after_an_early_failure_time_alone_proves_nothing_for_a_while_and_twice_the_bytes_are_needed() -> None:
    trials = Trials(1.5)
    trials.failed_after(16_000, 10.0)
    assert trials.begin(20.0) == Trial(32_000, 20.0, 10.0 + EARLY_SECONDS)
    assert trials.begin(10.0 + EARLY_SECONDS) == Trial(32_000, 10.0 + EARLY_SECONDS, 10.0 + EARLY_SECONDS + 1.5)
    trials.failed_after(0, 100.0)
    assert trials.begin(100.0).needed_bytes == LEAST_BYTES


def test_a_failure_after_many_bytes_has_another_reason() -> None:
    trials = Trials(1.5)
    trials.failed_after(MOST_BYTES // 2 + 1, 10.0)
    assert trials.begin(10.0) == Trial(LEAST_BYTES, 10.0, 11.5)


@pytest.mark.parametrize(("lasted", "until"), [(HASTY_SECONDS - 1, EARLY_SECONDS), (HASTY_SECONDS, 1.5)])
def test_a_path_in_use_has_failed_early_only_soon_after_its_return(lasted: float, until: float) -> None:
    trials = Trials(1.5)
    trials.returned(100.0)
    trials.left_after(16_000, 100.0 + lasted)
    assert trials.begin(100.0 + lasted).until == 100.0 + lasted + until


def test_a_path_that_was_never_left_has_not_returned() -> None:
    trials = Trials(1.5)
    trials.left_after(100, 1.0)
    assert trials.begin(1.0).until == 2.5
