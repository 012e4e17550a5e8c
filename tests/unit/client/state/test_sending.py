from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from client.state.sending import Lane, QueuedAttachment, QueuedMessage, SendingState, boot_id
from sidedoor.settings import UsageError

HASH = b"h" * 32


class Lives:
    """One file, opened again and again; each session drawn is a new number; the time is what it is set to."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.drawn = 0
        self.time = 1000.0
        self.draw: Callable[[], int] = self._draw

    def open(self, boot: str = "boot 1") -> SendingState:
        return SendingState(self._path, name="alice", peer="bob", draw=self.draw, boot=boot, wall=lambda: self.time)

    def _draw(self) -> int:
        self.drawn += 1
        return self.drawn


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(str(tmp_path / "alice.db"))


def test_a_later_life_has_the_messages_the_session_and_the_ids(lives: Lives) -> None:
    state = lives.open()
    assert state.messages_lane == Lane(1, 0, 0)
    for id_ in (1, 2, 3):
        state.add_message(id_, b"%d" % id_)
        lives.time += 1
    state.remove_messages(1)
    state.close()
    lives.time += 5
    again = lives.open()
    assert again.messages_lane == Lane(1, 1, 3)
    assert again.messages == [QueuedMessage(2, 7.0, b"2"), QueuedMessage(3, 6.0, b"3")]
    again.close()


def test_with_nothing_left_a_new_session_begins(lives: Lives) -> None:
    state = lives.open()
    state.add_message(1, b"")
    state.remove_messages(1)
    state.close()
    again = lives.open()
    assert (again.messages_lane, again.messages) == (Lane(3, 0, 0), [])
    again.close()


def test_a_clock_that_was_set_back_makes_nothing_younger_than_now(lives: Lives) -> None:
    state = lives.open()
    state.add_message(1, b"")
    lives.time -= 100
    assert state.messages[0].age_seconds == 0
    state.close()


def test_after_a_reboot_the_ids_are_not_trusted(lives: Lives) -> None:
    state = lives.open("boot 1")
    for id_ in range(1, 8):
        state.add_message(id_, b"%d" % id_)
    state.remove_messages(2)
    state.begin_attachment(state.add_attachment("/a", "a", 1, HASH), 1)
    state.use_piece(2)
    state.close()
    again = lives.open("boot 2")
    assert again.messages_lane == Lane(3, 0, 5)
    assert [(queued.id, queued.body) for queued in again.messages] == [(id_ - 2, b"%d" % id_) for id_ in range(3, 8)]
    assert again.attachments_lane == Lane(4, 0, 0)
    assert again.attachments[0].first_id == 0
    again.close()


def test_attachments_go_on_where_they_were(lives: Lives) -> None:
    state = lives.open()
    numbers = [state.add_attachment(f"/{name}", name, 10, HASH) for name in "abc"]
    assert numbers == [1, 2, 3]
    state.remove_attachment(1)
    state.begin_attachment(2, 5)
    state.fail_attachment(2, "changed")
    state.acked_piece(6)
    state.use_piece(8)
    state.close()
    again = lives.open()
    assert again.attachments_lane == Lane(2, 6, 8)
    assert again.attachments == [
        QueuedAttachment(2, "/b", "b", 10, HASH, 5, "changed"),
        QueuedAttachment(3, "/c", "c", 10, HASH, 0, ""),
    ]
    for number in (2, 3):
        again.remove_attachment(number)
    assert again.add_attachment("/d", "d", 1, HASH) == 4
    again.remove_attachment(4)
    again.close()
    last = lives.open()
    assert last.attachments_lane == Lane(5, 0, 0)
    last.close()


def test_the_file_is_one_pairs(lives: Lives, tmp_path: Path) -> None:
    lives.open().close()
    with pytest.raises(UsageError, match="belongs to sender alice to bob, not to sender alice to carol"):
        SendingState(str(tmp_path / "alice.db"), name="alice", peer="carol", draw=lambda: 1)


def test_what_cannot_be_read_leaves_the_file_to_others(lives: Lives) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    lives.draw, right = broken, lives.draw
    with pytest.raises(ZeroDivisionError):
        lives.open()
    lives.draw = right
    lives.open().close()


def test_the_boot_id_is_the_kernels_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    assert boot_id() == boot_id()
    monkeypatch.setattr(Path, "read_text", unreadable)
    assert boot_id() == ""
