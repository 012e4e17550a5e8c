"""(What comes of it in a whole policy: test_sidedoor.py.)"""

from __future__ import annotations

import pytest

from client.policies import Copy, Ping
from client.policies.board import Board
from client.policies.doubting import Doubting
from client.policies.hedging import SLOWER_SECONDS
from client.policies.links import Link
from client.policies.sidedoor_settings import SidedoorSettings

RTT = 0.04
SETTINGS = SidedoorSettings()
VERDICT = SETTINGS.verdict_seconds + SETTINGS.verdict_floors * RTT
LONELY = SETTINGS.lonely_seconds + SETTINGS.lonely_floors * RTT


class Bench:
    """A carrier and a spare that stand, their round trips known."""

    def __init__(self) -> None:
        self.board = Board(SETTINGS, "direct")
        self.doubting = Doubting(SETTINGS, self.board)
        self.carrier, self.spare = self._standing("direct"), self._standing("proxy1")
        self.carrier.role, self.spare.role = "carrier", "spare"
        self.delay = self.board.hedge_delay(self.carrier, 0.0)

    def _standing(self, route: str) -> Link:
        link = self.board.dial(route, "candidate", 0.0)
        self.board.established(link, 0.0)
        self.board.rtt(route).sample(RTT, 0.0)
        self.board.take()
        return link

    def sent(self, *ids: int, now: float = 0.0) -> None:
        for id_ in ids:
            self.carrier.established.sent(id_, now)

    def due(self, now: float, *, alone: bool = False) -> str | None:
        return self.doubting.due(self.carrier, None if alone else self.spare, now)

    def copies(self) -> list[tuple[int, ...]]:
        return [command.ids for command in self.board.take() if isinstance(command, Copy)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_overdue_is_copied_once_and_one_message_alone_gets_a_ping_as_witness(bench: Bench) -> None:
    bench.sent(1)
    assert bench.doubting.deadline(bench.carrier, bench.spare, 0.0, 0.0) == bench.delay
    assert bench.due(bench.delay) is None
    assert bench.board.take() == [Ping(bench.carrier.number, 1), Copy(bench.spare.number, (1,))]
    bench.sent(2, 3, now=0.1)
    assert bench.due(0.1 + bench.delay) is None
    assert bench.copies() == [(2, 3)]


def test_a_hedge_that_wins_copies_the_rest_and_what_follows_at_once(bench: Bench) -> None:
    bench.sent(1)
    bench.due(bench.delay)
    bench.sent(2, now=bench.delay)
    bench.board.take()
    bench.doubting.answered(bench.spare, 1, bench.delay + 0.08)
    assert bench.copies() == [(2,)]
    bench.doubting.sent(bench.carrier, bench.spare, 3)
    bench.doubting.sent(bench.carrier, None, 4)
    assert bench.copies() == [(3,)]
    assert bench.carrier.doubt is not None
    assert (bench.carrier.doubt.wins, bench.carrier.doubt.copies) == (1, 3)


def test_what_the_carrier_answered_first_is_no_win(bench: Bench) -> None:
    bench.sent(1)
    bench.doubting.answered(bench.spare, 1, 0.1)
    bench.due(bench.delay)
    bench.carrier.established.answered(1, bench.delay)
    bench.doubting.answered(bench.spare, 1, bench.delay)
    assert bench.carrier.doubt is not None
    assert bench.carrier.doubt.wins == 0


def test_the_verdict_comes_after_a_win_and_later_without_one(bench: Bench) -> None:
    bench.sent(1)
    bench.due(bench.delay)
    assert bench.due(VERDICT) is None
    assert bench.due(SETTINGS.hopeless_verdicts * VERDICT) == "ack_overdue"
    bench.doubting.answered(bench.spare, 1, 0.3)
    assert bench.due(VERDICT - 0.01) is None
    assert bench.due(VERDICT) == "ack_overdue"


def test_without_a_spare_the_path_is_left_sooner(bench: Bench) -> None:
    bench.sent(1)
    assert bench.due(bench.delay, alone=True) is None
    assert bench.doubting.deadline(bench.carrier, None, 0.0, bench.delay) == pytest.approx(LONELY)
    assert bench.due(LONELY, alone=True) == "ack_overdue"
    assert bench.copies() == []


def test_a_path_that_trickles_is_slow(bench: Bench) -> None:
    bench.sent(1, 2)
    bench.due(bench.delay)
    bench.carrier.established.answered(1, bench.delay + 0.1)
    assert bench.due(SETTINGS.hopeless_verdicts * VERDICT) == "slow"


def test_round_trips_count_again_after_a_long_doubt_and_its_end_is_noted(bench: Bench) -> None:
    bench.sent(1)
    bench.due(bench.delay)
    assert bench.carrier.established.ambiguous
    bench.doubting.still_behind(bench.carrier, bench.delay + SLOWER_SECONDS - 0.01)
    assert bench.carrier.established.ambiguous
    bench.doubting.still_behind(bench.carrier, bench.delay + SLOWER_SECONDS)
    assert not bench.carrier.established.ambiguous
    bench.doubting.caught_up(bench.carrier, 6.0)
    assert bench.carrier.doubt is None
    assert bench.board.hedges("direct").factor(6.0) == 2, "that hedge lost"


def test_a_carrier_of_which_nothing_is_awaited_is_asked_for_a_sign_of_life(bench: Bench) -> None:
    assert bench.due(5.0) is None
    assert bench.board.take() == [Ping(bench.carrier.number, 1)]
    assert bench.carrier.doubt is None
