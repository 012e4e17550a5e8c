from __future__ import annotations

from typing import Any

import pytest

from client import switchboard as module
from client.messages import Accepted, Ack, Hello, Message, Ping, Pong, Replaced
from client.switchboard import Misbehaviour, Switchboard


class Events(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, /, **fields: Any) -> None:
        self.append((event, fields))


def message(id_: int, base: int = 1, session: int = 9) -> Message:
    return Message("alice", "bob", session, id_, base, 0.5, b"body")


def ack(id_: int, proof: bytes = b"") -> Ack:
    return Ack("alice", "bob", 9, id_, proof=proof)


ALICE, ALICE_AGAIN, BOB, BOB_AGAIN = 1, 2, 3, 4
BOB_HERE = Hello("bob", receiver=71)
BOB_ELSEWHERE = Hello("bob", receiver=72)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def board(events: Events) -> Switchboard:
    board = Switchboard(events)
    board.receive(ALICE, Hello("alice"))
    return board


def test_a_message_goes_on_and_its_ack_comes_back(board: Switchboard) -> None:
    board.receive(BOB, BOB_HERE)
    assert board.receive(ALICE, message(1)) == [(ALICE, Accepted(1, 9)), (BOB, message(1))]
    assert board.receive(BOB, ack(1)) == [(ALICE, ack(1))]


def test_an_ack_goes_by_each_connection_that_carried_a_copy_and_by_the_newest(board: Switchboard) -> None:
    board.receive(BOB, BOB_HERE)
    board.receive(ALICE, message(1))
    spare = 7
    board.receive(spare, message(1))
    assert board.receive(BOB, ack(1)) == [(ALICE, ack(1)), (spare, ack(1))]
    board.receive(ALICE, message(2))
    board.receive(ALICE_AGAIN, Hello("alice"))
    assert board.receive(BOB, ack(2)) == [(ALICE, ack(2)), (ALICE_AGAIN, ack(2))]


def test_messages_wait_for_a_receiver_that_is_away_and_come_in_order(board: Switchboard) -> None:
    for id_ in (2, 1, 3):
        assert board.receive(ALICE, message(id_)) == [(ALICE, Accepted(id_, 9))]
    assert board.receive(BOB, BOB_HERE) == [(BOB, message(id_)) for id_ in (1, 2, 3)]


def test_what_was_not_acknowledged_comes_again_with_the_base_that_the_origin_knows(board: Switchboard) -> None:
    board.receive(BOB, BOB_HERE)
    for id_ in (1, 2):
        board.receive(ALICE, message(id_))
    board.receive(BOB, ack(1))
    board.left(BOB)
    assert board.receive(BOB_AGAIN, BOB_HERE) == [(BOB_AGAIN, message(2, base=2))]


def test_a_copy_is_dropped_and_an_ack_that_may_be_lost_is_given_again(board: Switchboard, events: Events) -> None:
    board.receive(BOB, BOB_HERE)
    board.receive(ALICE, message(1))
    assert board.receive(ALICE_AGAIN, message(1)) == [(ALICE_AGAIN, Accepted(1, 9))]
    board.receive(BOB, ack(1))
    assert board.receive(ALICE_AGAIN, message(1)) == [(ALICE_AGAIN, Accepted(1, 9)), (ALICE_AGAIN, ack(1))]
    assert [event for event, _ in events].count("message_duplicate") == 2


def test_an_ack_stands_for_all_before_it_and_is_what_their_copies_get(board: Switchboard) -> None:
    spare = 7
    board.receive(ALICE, message(1))
    board.receive(spare, message(2))
    board.receive(ALICE, message(3))
    assert board.receive(BOB, ack(2)) == [(ALICE, ack(2)), (spare, ack(2))]
    assert board.receive(BOB, ack(1)) == [(ALICE, ack(1))]
    assert board.receive(ALICE, message(1)) == [(ALICE, Accepted(1, 9)), (ALICE, ack(2))]
    assert board.receive(BOB, BOB_HERE) == [(BOB, message(3, base=3))]


def test_a_raised_base_goes_with_the_receivers_proof(board: Switchboard) -> None:
    board.receive(BOB, ack(1, b"proof"))
    board.receive(ALICE, message(2))
    (_, forwarded), *_ = board.receive(BOB, BOB_HERE)
    assert isinstance(forwarded, Message)
    assert (forwarded.base, forwarded.shown) == (2, b"proof")


def test_an_end_of_that_name_that_only_sends_gets_nothing_of_what_is_for_it(board: Switchboard) -> None:
    board.receive(BOB, BOB_HERE)
    assert board.receive(BOB_AGAIN, Hello("bob")) == []
    assert board.receive(ALICE, message(1)) == [(ALICE, Accepted(1, 9)), (BOB, message(1))]


def test_another_receiver_of_the_name_replaces_the_first_for_good(board: Switchboard, events: Events) -> None:
    spare, late = 7, 8
    board.receive(BOB, BOB_HERE)
    board.receive(spare, BOB_HERE)
    board.receive(ALICE, message(1))
    told = [(BOB, Replaced("bob")), (spare, Replaced("bob"))]
    assert board.receive(BOB_AGAIN, BOB_ELSEWHERE) == [*told, (BOB_AGAIN, message(1))]
    assert board.receive(late, BOB_HERE) == [(late, Replaced("bob"))]
    assert board.receive(ALICE, message(2)) == [(ALICE, Accepted(2, 9)), (BOB_AGAIN, message(2))]
    assert [event for event, _ in events].count("receiver_replaced") == 1


def test_a_receiver_that_is_gone_is_replaced_without_a_word_but_not_let_in_again(
    board: Switchboard, events: Events
) -> None:
    board.receive(BOB, BOB_HERE)
    board.left(BOB)
    assert board.receive(BOB_AGAIN, BOB_ELSEWHERE) == []
    assert "receiver_replaced" not in [event for event, _ in events]
    assert board.receive(BOB, BOB_HERE) == [(BOB, Replaced("bob"))]


def test_of_names_without_a_receiver_only_so_many_are_remembered(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAME_LIMIT", 2)
    board.receive(BOB, BOB_HERE)
    board.receive(5, Hello("carol", receiver=1))
    board.left(5)
    board.receive(6, Hello("dave", receiver=2))
    board.receive(5, Hello("carol", receiver=3))
    board.receive(7, Hello("carol", receiver=1))  # That she had been here before is forgotten: it replaces 3.
    assert board.receive(5, Hello("carol", receiver=3)) == [(5, Replaced("carol"))]
    assert board.receive(ALICE, message(1)) == [(ALICE, Accepted(1, 9)), (BOB, message(1))]


def test_acks_go_to_the_newest_connection(board: Switchboard) -> None:
    board.receive(ALICE_AGAIN, Hello("alice"))
    assert board.receive(BOB, ack(1)) == [(ALICE_AGAIN, ack(1))]
    board.receive(ALICE, Hello("alice"))
    assert board.receive(BOB, ack(2)) == [(ALICE, ack(2))]
    board.left(ALICE)
    assert board.receive(BOB, ack(3)) == [(ALICE_AGAIN, ack(3))]
    board.left(ALICE_AGAIN)
    assert board.receive(BOB, ack(4)) == []


def test_a_new_session_counts_from_one_again(board: Switchboard) -> None:
    board.receive(ALICE, message(1))
    board.receive(BOB, ack(1))
    assert board.receive(ALICE, message(1, session=10)) == [(ALICE, Accepted(1, 10))]


def test_peers_join_with_the_first_connection_and_leave_with_the_last(board: Switchboard, events: Events) -> None:
    board.receive(ALICE_AGAIN, Hello("alice"))
    board.left(ALICE)
    board.left(99)
    board.left(ALICE_AGAIN)
    assert events == [("peer_joined", {"peer": "alice"}), ("peer_left", {"peer": "alice"})]


def test_pings_are_answered_without_a_hello(board: Switchboard) -> None:
    assert board.receive(77, Ping(5)) == [(77, Pong(5))]


@pytest.mark.parametrize("record", [Accepted(1), Pong(1)])
def test_what_only_the_origin_says(board: Switchboard, record: Accepted | Pong) -> None:
    with pytest.raises(Misbehaviour, match="for the origin to say"):
        board.receive(ALICE, record)


def test_too_many_pending_messages_are_misbehaviour(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_LIMIT", 2)
    for id_ in (1, 2):
        board.receive(ALICE, message(id_))
    with pytest.raises(Misbehaviour, match="wait for bob"):
        board.receive(ALICE, message(3))


def test_too_many_pending_bytes_are_misbehaviour(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_LIMIT_BYTES", 7)
    for _ in range(2):
        board.receive(ALICE, message(1))  # Of four bytes; the copy is not kept.
        board.receive(BOB, ack(1))
    board.receive(ALICE, message(2))
    with pytest.raises(Misbehaviour, match="4 bytes of alice"):
        board.receive(ALICE, message(3))
    board.receive(BOB, ack(2))
    board.receive(ALICE, message(3))


def test_the_sessions_share_a_limit_of_bytes(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_LIMIT_BYTES", 7)
    monkeypatch.setattr(module, "SESSION_LIMIT", 2)
    board.receive(ALICE, message(1, session=1))
    with pytest.raises(Misbehaviour, match="for all together"):
        board.receive(ALICE, message(1, session=2))
    board.receive(BOB, Ack("alice", "bob", 3, 1))  # The session that is forgotten for it makes room.
    board.receive(ALICE, message(1, session=2))


def test_the_session_unused_for_longest_is_forgotten(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 2)
    for session in (1, 2, 1, 3):
        board.receive(ALICE, message(session, session=session))
    kept = [record.session for _, record in board.receive(BOB, BOB_HERE) if isinstance(record, Message)]
    assert kept == [1, 3]
