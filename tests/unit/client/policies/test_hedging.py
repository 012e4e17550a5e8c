from __future__ import annotations

from client.policies.hedging import FORGIVE_SECONDS, LOSSES_MOST, Doubt, HedgeRecord


def test_hedges_that_lose_double_the_delay_up_to_a_most() -> None:
    record = HedgeRecord()
    factors = []
    for now in range(LOSSES_MOST + 1):
        factors.append(record.factor(float(now)))
        record.ended(Doubt(0.0, copies=1), float(now))
    assert factors == [1, 2, 4, 8]
    assert record.factor(float(LOSSES_MOST)) == 8


def test_losses_are_forgiven_one_by_one() -> None:
    record = HedgeRecord()
    for _ in range(LOSSES_MOST):
        record.ended(Doubt(0.0, copies=1), 0.0)
    spans = range(LOSSES_MOST + 2)
    assert [record.factor(span * FORGIVE_SECONDS) for span in spans] == [8, 4, 2, 1, 1]
    record.ended(Doubt(0.0, copies=1), 2 * FORGIVE_SECONDS)
    assert record.factor(2 * FORGIVE_SECONDS) == 4


def test_a_hedge_that_wins_sets_the_delay_back() -> None:
    record = HedgeRecord()
    record.ended(Doubt(0.0, copies=1), 0.0)
    record.ended(Doubt(0.0, copies=3, wins=1), 1.0)
    assert record.factor(1.0) == 1


def test_a_doubt_without_a_copy_says_nothing_about_hedges() -> None:
    record = HedgeRecord()
    record.ended(Doubt(0.0), 0.0)
    assert record.factor(0.0) == 1
