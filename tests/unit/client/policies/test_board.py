from __future__ import annotations

import pytest

from client.policies import Abort, Close, Dial, Ping, ProbeEnded, Recollection
from client.policies.board import Board
from client.policies.hedging import Doubt
from client.policies.links import Link, Role
from client.policies.sidedoor_settings import SidedoorSettings


@pytest.fixture
def board() -> Board:
    return Board(SidedoorSettings(), "direct")


def standing(board: Board, route: str = "direct", role: Role = "carrier", *, rtt: float | None = None) -> Link:
    link = board.dial(route, role, 0.0)
    board.established(link, 0.0)
    if rtt is not None:
        board.rtt(route).sample(rtt, 0.0)
    board.take()
    return link


def test_connections_and_pings_are_numbered_and_found_by_their_role(board: Board) -> None:
    direct = board.dial("direct", "candidate", 1.0)
    spare = board.dial("proxy1", "spare", 1.0)
    assert board.pending() == [direct, spare]
    board.established(direct, 2.0)
    direct.role = "carrier"
    board.ping(direct, 2.0)
    board.ping(direct, 3.0)
    assert board.take() == [Dial(1, "direct"), Dial(2, "proxy1"), Ping(1, 1), Ping(1, 2)]
    assert board.take() == []
    assert (board.carrier, board.pending(), board.with_role("spare", "probe")) == (direct, [spare], [spare])
    assert direct.established.waiting_since == 2.0


def test_without_a_connection_in_use_there_is_no_carrier(board: Board) -> None:
    assert board.carrier is None


def test_what_stands_is_closed_and_a_dial_aborted_unless_told_otherwise(board: Board) -> None:
    dialed = board.dial("proxy1", "spare", 0.0)
    board.take()
    for link, command in ((standing(board), None), (standing(board), Abort), (dialed, None)):
        board.drop(link, command)
    assert board.take() == [Close(2), Abort(3), Abort(1)]
    assert board.links == {}


def test_an_announced_attempt_has_one_end(board: Board) -> None:
    link = board.dial("direct", "candidate", 0.0)
    link.announced = True
    board.established(link, 1.0)
    board.drop(link)
    assert board.take() == [Dial(1, "direct"), ProbeEnded(1, "direct", None), Close(1)]


def test_a_new_network_forgets_round_trips_and_hedges(board: Board) -> None:
    standing(board, rtt=0.3)
    board.hedges("direct").ended(Doubt(0.0, copies=1), 0.0)
    board.recall(Recollection({"proxy1": 0.1}))
    assert (board.rtt("direct").smoothed, board.rtt("proxy1").smoothed) == (None, 0.1)
    assert board.hedges("direct").factor(0.0) == 1


@pytest.mark.parametrize(
    ("rtt", "hedge", "lonely", "verdict"),
    [
        (None, 1.0, 0.38, 0.8),
        (0.01, 0.1, 0.41, 0.85),
        (0.04, 0.16, 0.5, 1.0),
        (0.2, 0.8, 0.98, 1.8),
        (2.0, 1.0, 6.38, 10.8),
    ],
)
def test_how_long_is_too_long(board: Board, rtt: float | None, hedge: float, lonely: float, verdict: float) -> None:
    """After one sample, whose variation is half of it."""
    link = standing(board, rtt=rtt)
    found = board.hedge_delay(link, 0.0), board.lonely_delay(link), board.verdict_delay(link)
    assert found == pytest.approx((hedge, lonely, verdict))


def test_hedges_that_lost_delay_the_next_but_not_beyond_the_lonely_delay(board: Board) -> None:
    link = standing(board, rtt=0.04)
    delays = []
    for _ in range(3):
        delays.append(board.hedge_delay(link, 0.0))
        board.hedges("direct").ended(Doubt(0.0, copies=1), 0.0)
    assert delays == pytest.approx([0.16, 0.32, 0.5])


def test_however_slow_a_path_has_become_the_hedge_does_not_wait_for_more_than_some_floors(board: Board) -> None:
    link = standing(board, rtt=0.04)
    for _ in range(20):
        board.rtt("direct").sample(0.4, 1.0)
    assert board.hedge_delay(link, 0.0) == pytest.approx(4 * 0.04 + 0.08)


def test_a_connection_is_behind_when_an_answer_is_overdue_and_then_of_no_use(board: Board) -> None:
    link, dialed = standing(board, rtt=0.04), board.dial("proxy1", "spare", 0.0)
    assert (board.behind_at(link, 0.0), board.behind(link, 9.0)) == (None, False)
    link.established.sent(1, 1.0)
    assert board.behind_at(link, 1.0) == pytest.approx(1.16)
    assert [board.behind(link, now) for now in (1.15, 1.17)] == [False, True]
    assert board.usable([dialed, link], 1.15) is link
    assert board.usable([dialed, link], 1.17) is None
