from __future__ import annotations

import pytest

from client.diagnosis.trace import Trace


def established(at: float = 0.0) -> Trace:
    made = Trace(1, "direct", at, stage_at=at)
    made.established(at)
    return made


def carry(trace: Trace, start: float, count: int, *, interval: float, latency: float, base: float = 0.04) -> float:
    """`count` messages of 1000 bytes, one answered after the other; returns the last answer's time."""
    now = start
    for number in range(count):
        trace.sent(number, 1000, start + number * 0.02)
    for number in range(count):
        now = max(start + number * 0.02 + latency, now + interval)
        trace.answer(number, now, base=base, best_rate=0.0)
    return now


def test_stages_are_timed_from_one_to_the_next() -> None:
    made = Trace(1, "direct", 5.0, stage_at=5.0)
    assert made.entered("dns", 5.0) is None
    assert made.entered("tcp", 5.25) == 0.25
    assert made.dialing
    assert not made.pending(0.5, 5.5)
    assert made.pending(0.5, 5.75)
    made.established(6.0)
    assert made.passed == ("dns", "tcp")
    assert not made.dialing
    assert not made.pending(0.0, 9.0)


def test_a_dial_that_was_given_up_was_pending_until_then() -> None:
    made = Trace(1, "direct", 5.0, stage_at=5.0)
    made.over(5.5)
    assert made.pending(0.5, 9.0)
    assert not made.pending(0.6, 9.0)
    made.failure = "connection_refused"
    assert not made.pending(0.0, 9.0), "it has failed, not been slow"


def test_silence_counts_from_the_oldest_that_is_owed_or_the_last_answer() -> None:
    made = established()
    assert made.waiting_since is None
    assert not made.stalled(0.0, 9.0)
    made.sent(1, 1000, 1.0)
    made.sent(2, 1000, 1.5)
    made.pinged(7, 0.5)
    assert made.waiting_since == 0.5
    assert made.pong(7, 2.0) == 1.5
    assert made.waiting_since == 2.0
    assert not made.stalled(1.0, 2.9)
    assert made.stalled(1.0, 3.0)
    made.over(2.5)
    assert not made.stalled(1.0, 9.0), "it was given up before"


def test_what_was_never_sent_here_is_no_sample() -> None:
    made = established()
    assert made.answer(1, 1.0, base=None, best_rate=0.0) is None
    assert made.pong(1, 1.0) is None
    assert (made.answered, made.ponged, made.progress_at) == (0, 0, 0.0)


def test_answers_that_all_come_late_and_too_few_make_a_path_slow() -> None:
    made = established()
    carry(made, 1.0, 40, interval=0.06, latency=0.04)
    assert made.slow_seconds > 0.8
    assert made.healthy_since is None


def test_answers_that_come_late_but_as_many_as_sent_do_not() -> None:
    made = established()
    carry(made, 1.0, 100, interval=0.02, latency=0.5)
    assert made.slow_seconds == 0.0


def test_the_policys_verdict_shortens_the_span_that_is_needed() -> None:
    made = established()
    made.condemned(base=0.04, best_rate=0.0)
    assert made.slow_seconds == 0.0
    for number in range(30):
        made.sent(number, 1000, 1.0 + number * 0.02)
    for number in range(5):
        made.answer(number, 1.4 + number * 0.1, base=0.04, best_rate=0.0)
    assert made.slow_seconds == 0.0
    made.condemned(base=0.04, best_rate=0.0)
    assert made.slow_seconds == pytest.approx(0.4)
    made.sent(99, 1000, 2.0)
    made.answer(99, 2.04, base=0.04, best_rate=0.0)
    made.condemned(base=0.04, best_rate=0.0)
    assert made.slow_seconds == pytest.approx(0.4), "an answer in time has ended the span"


def test_a_repaired_loss_ends_with_an_answer_in_time() -> None:
    made = established()
    made.sent(1, 1000, 1.0)
    made.sent(2, 1000, 1.4)
    made.answer(1, 1.45, base=0.04, best_rate=0.0)
    assert made.healthy_since is None
    made.answer(2, 1.45, base=0.04, best_rate=0.0)
    assert made.healthy_since == 1.45
    assert made.slow_seconds == 0.0


def test_a_pong_says_that_a_connection_is_well_again_unless_messages_are_late() -> None:
    made = established()
    made.sent(1, 1000, 1.0)
    made.answer(1, 2.0, base=0.04, best_rate=0.0)
    made.pinged(1, 2.0)
    made.pong(1, 2.04)
    assert made.healthy_since is None
    made.sent(2, 1000, 2.1)
    made.answer(2, 2.14, base=0.04, best_rate=0.0)
    made.healthy_since = None
    made.pinged(2, 2.2)
    made.pong(2, 2.24)
    assert made.healthy_since == pytest.approx(2.24)


def test_the_best_rate_of_the_route_is_what_is_expected() -> None:
    made = established()
    made.sent(0, 100, 0.0)
    for number in range(1, 30):
        made.sent(number, 10_000, 0.1)
    for number in range(30):
        made.answer(number, 0.5 + number * 0.1, base=0.04, best_rate=1_000_000.0)
    assert made.slow_seconds == pytest.approx(2.9)
