from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from client.messages import Message
from client.state import receiving as module
from client.state.receiving import Partial, ReceivingState, Recorded
from sidedoor.settings import UsageError


def message(id_: int, session: int = 9) -> Message:
    return Message("alice", "bob", session, id_, 1, 0.0, b"%d" % id_)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "bob.db")


def test_what_was_taken_and_what_was_not_confirmed_is_known_in_the_next_life(path: str) -> None:
    state = ReceivingState(path, name="bob")
    assert state.next_id("alice", 9) == 1
    assert state.record([message(1), message(2), message(3)], 4) == [1, 2, 3]
    state.confirm(2)
    state.close()
    again = ReceivingState(path, name="bob")
    assert again.next_id("alice", 9) == 4
    assert again.next_id("alice", 8) == again.next_id("carol", 9) == 1
    assert again.unconfirmed == [Recorded(3, "alice", 9, 3, b"3")]
    again.close()


def test_positions_grow_across_lives_even_if_nothing_is_left(path: str) -> None:
    state = ReceivingState(path, name="bob")
    state.record([message(1)], 2)
    state.confirm(1)
    state.close()
    again = ReceivingState(path, name="bob")
    assert again.record([message(2)], 3) == [2]
    again.close()


def test_the_session_unused_for_longest_is_forgotten(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 2)
    state = ReceivingState(path, name="bob")
    state.advance("alice", 1, 5)
    state.advance("alice", 2, 6)
    state.close()
    again = ReceivingState(path, name="bob")
    again.advance("alice", 1, 7)
    again.advance("alice", 3, 8)
    assert [again.next_id("alice", session) for session in (1, 2, 3)] == [7, 1, 8]
    again.close()


def test_an_attachment_is_known_as_it_was_put_last(path: str) -> None:
    partial = Partial("alice", 9, 1, "a.txt", 100, b"h" * 32, "a.txt.part")
    done = msgspec.structs.replace(partial, session=8, received=100, final="a.txt", done=True, refusal="no")
    state = ReceivingState(path, name="bob")
    state.put_partial(partial)
    state.put_partial(done)
    state.put_partial(msgspec.structs.replace(partial, received=50))
    state.close()
    again = ReceivingState(path, name="bob")
    assert again.partials == [done, msgspec.structs.replace(partial, received=50)]
    again.remove_partial("alice", 8)
    assert [found.session for found in again.partials] == [9]
    again.close()


def test_a_damaged_file_is_told_and_left_to_others(path: str) -> None:
    ReceivingState(path, name="bob").close()
    database = sqlite3.connect(path)
    database.execute("ALTER TABLE sessions RENAME TO others")
    for _ in range(2):  # The first one has let go of the lock.
        with pytest.raises(UsageError, match="no such table: sessions"):
            ReceivingState(path, name="bob")
    database.execute("ALTER TABLE others RENAME TO sessions")
    database.close()
    ReceivingState(path, name="bob").close()
