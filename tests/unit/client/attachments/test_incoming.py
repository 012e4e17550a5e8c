from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest

from client.attachments import incoming as module
from client.attachments.incoming import NOT_TAKEN, IncomingAttachments
from client.attachments.pieces import Cancel, Chunk, Offer, Piece, encode
from client.state.receiving import ReceivingState
from sidedoor.settings import UsageError

DATA = b"0123456789"
LATER = "its beginning is not known here"


def offer(number: int = 1, name: str = "a.txt", data: bytes = DATA) -> Offer:
    return Offer(number, name, len(data), hashlib.sha256(data).digest())


class Desk:
    """The receiver's attachments over one state file; `restart` is a new life."""

    def __init__(self, folder: Path) -> None:
        self._state_file = str(folder / "bob.db")
        self.folder = folder / "attachments"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.open()

    def open(self, folder: bool = True) -> None:
        self.state = ReceivingState(self._state_file, name="bob")
        path = str(self.folder) if folder else None
        self.attachments = IncomingAttachments(path, 1000, self.state, self._emit)

    def restart(self, folder: bool = True) -> None:
        self.state.close()
        self.open(folder)

    def _emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def take(self, *pieces: Piece, session: int = 9) -> list[str]:
        return [self.attachments.take("alice", session, encode(piece)) for piece in pieces]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_part_file_is_verified_and_renamed(desk: Desk) -> None:
    assert desk.take(offer(), Chunk(1, 0, b"01234")) == ["", ""]
    assert desk.files() == {"a.txt.00000009-1.part": b"01234"}
    assert desk.take(Chunk(1, 5, b"56789")) == [""]
    assert desk.files() == {"a.txt": DATA}
    assert desk.of("attachment_received") == [
        {"sender": "alice", "name": "a.txt", "path": str(desk.folder / "a.txt"), "bytes": 10}
    ]
    assert desk.of("attachment_offered") == [{"sender": "alice", "name": "a.txt", "bytes": 10}]


def test_an_empty_file_is_one_too(desk: Desk) -> None:
    assert desk.take(offer(data=b"")) == [""]
    assert desk.files() == {"a.txt": b""}


def test_nothing_that_is_there_is_overwritten(desk: Desk) -> None:
    for number, name in enumerate(("a.txt", "a.txt", "a.txt", "b", "b"), 1):
        assert desk.take(offer(number, name), Chunk(number, 0, DATA)) == ["", ""]
    assert sorted(desk.files()) == ["a (2).txt", "a (3).txt", "a.txt", "b", "b (2)"]


def test_names_from_the_sender_stay_in_the_folder(desk: Desk) -> None:
    assert desk.take(offer(name="../../.ssh/authorized_keys"), Chunk(1, 0, DATA)) == ["", ""]
    assert sorted(desk.files()) == ["authorized_keys"]


def test_a_later_life_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2)
    desk.take(offer(), Chunk(1, 0, b"01234"))
    (desk.folder / "a.txt.00000009-1.part").write_bytes(b"01234567")  # Written, not noted.
    desk.restart()
    assert desk.take(offer(), Chunk(1, 0, b"01234"), Chunk(1, 5, b"56"), Chunk(1, 7, b"789")) == [""] * 4
    assert desk.files() == {"a.txt": DATA}


def test_who_dies_around_the_renaming_finds_the_file_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    last = Chunk(1, 5, b"56789")
    desk.take(offer(), Chunk(1, 0, b"01234"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            desk.take(last)
    desk.restart()
    with monkeypatch.context() as patch:
        patch.setattr(desk.attachments, "_emit", killed)
        with pytest.raises(Killed):
            desk.take(last)
    desk.restart()
    assert desk.take(last) == [""]
    assert desk.files() == {"a.txt": DATA}


def test_who_dies_before_noting_that_it_is_renamed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    rename = Path.rename

    def killed(self: Path, target: Path) -> None:
        rename(self, target)
        raise Killed

    desk.take(offer())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            desk.take(Chunk(1, 0, DATA))
    desk.restart()
    assert desk.take(Chunk(1, 0, DATA)) == [""]
    assert desk.files() == {"a.txt": DATA}
    assert len(desk.of("attachment_received")) == 1


def test_a_wrong_hash_is_refused_and_stays_refused(desk: Desk) -> None:
    wrong = "its SHA-256 is not the one that was announced"
    assert desk.take(offer(), Chunk(1, 0, b"012345678X")) == ["", wrong]
    assert desk.files() == {}
    assert desk.attachments.refusal("alice", 9) == wrong
    desk.restart()
    assert desk.take(Chunk(1, 0, b"012345678X"), offer()) == [wrong, wrong]
    assert desk.attachments.refusal("alice", 9) == wrong
    assert desk.take(offer(2), Chunk(2, 0, DATA)) == ["", ""]
    assert desk.attachments.refusal("alice", 9) == desk.attachments.refusal("alice", 10) == ""
    assert desk.of("attachment_refused") == [{"sender": "alice", "name": "a.txt", "reason": wrong}]


def test_too_large_is_refused_by_its_offer(desk: Desk) -> None:
    reason = "it has 1001 bytes, and 1000 are the most that are taken here"
    assert desk.take(offer(data=bytes(1001)), Chunk(1, 0, bytes(5))) == [reason, reason]
    assert desk.files() == {}


def test_without_a_folder_nothing_is_taken(desk: Desk) -> None:
    desk.take(offer(), Chunk(1, 0, b"0"))
    desk.restart(folder=False)
    assert desk.take(Chunk(1, 1, b"1"), offer(2), Chunk(2, 0, b"0")) == [NOT_TAKEN] * 3


@pytest.mark.parametrize(
    "chunk", [Chunk(1, 6, b"6"), Chunk(1, 4, b"45"), Chunk(1, 5, b"56789X")], ids=["gap", "overlap", "too long"]
)
def test_pieces_that_do_not_fit_together(desk: Desk, chunk: Chunk) -> None:
    assert desk.take(offer(), Chunk(1, 0, b"01234"), chunk)[2] == "its pieces do not fit together"
    assert desk.files() == {}


def test_a_chunk_without_its_beginning(desk: Desk) -> None:
    assert desk.take(Chunk(1, 0, b"0"), offer(), Chunk(2, 0, b"0")) == [LATER, "", LATER]
    assert desk.attachments.take("alice", 9, b"no piece") == "it is no piece of an attachment"


def test_the_sender_takes_it_back(desk: Desk) -> None:
    cancel = Cancel(1, "changed")
    assert desk.take(cancel, offer(), Chunk(1, 0, b"0"), cancel, cancel, Cancel(7, "changed")) == [""] * 6
    assert desk.files() == {}
    assert [fields["reason"] for fields in desk.of("attachment_refused")] == ["the sender takes it back: changed"]
    assert desk.take(offer(2), Chunk(2, 0, DATA), Cancel(2, "too late")) == [""] * 3
    assert desk.files() == {"a.txt": DATA}


def test_a_sender_that_begins_anew_leaves_no_part_behind(desk: Desk) -> None:
    desk.take(offer(), Chunk(1, 0, b"0"), session=8)
    desk.take(offer(), Chunk(1, 0, DATA), session=9)
    desk.take(offer(name="b"), session=10)
    assert sorted(desk.files()) == ["a.txt", "b.0000000a-1.part"]
    assert [(partial.session, partial.done) for partial in desk.state.partials] == [(10, False)]
    desk.attachments.take("carol", 9, encode(offer(name="c")))
    assert len(desk.files()) == 3


@pytest.mark.parametrize("left", [b"012", None], ids=["shorter", "gone"])
def test_a_part_file_that_somebody_touched(desk: Desk, left: bytes | None) -> None:
    desk.take(offer(), Chunk(1, 0, b"01234"))
    desk.restart()
    part = desk.folder / "a.txt.00000009-1.part"
    part.unlink()
    if left is not None:
        part.write_bytes(left)
    reason = "No such file or directory" if left is None else "its .part file was changed"
    assert desk.take(Chunk(1, 5, b"56789")) == [f"it cannot be written: {reason}"]


def test_a_disk_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert desk.take(offer()) == ["it cannot be written: No space left on device"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        assert desk.take(offer(2), Chunk(2, 0, DATA)) == ["", "it cannot be written: No space left on device"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = ReceivingState(None, name="bob")
    with pytest.raises(UsageError, match=r"attachments_folder .*/file: cannot be made: File exists"):
        IncomingAttachments(str(tmp_path / "file"), 1, state, lambda event, /, **fields: None)
    state.close()


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ReceivingState(None, name="bob")
    with pytest.raises(UsageError, match="attachments_folder /proc: cannot be written: "):
        IncomingAttachments("/proc", 1, state, lambda event, /, **fields: None)

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        IncomingAttachments(str(tmp_path / "new" / "in"), 1, state, lambda event, /, **fields: None)
    assert not list(tmp_path.iterdir())
    state.close()


def test_a_folder_that_is_abandoned_is_removed_if_it_is_new_and_empty(tmp_path: Path) -> None:
    state = ReceivingState(None, name="bob")
    for _ in range(2):
        IncomingAttachments(str(tmp_path / "a" / "b"), 1, state, lambda event, /, **fields: None).abandon()
        assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    made = IncomingAttachments(str(tmp_path / "a" / "b"), 1, state, lambda event, /, **fields: None)
    (tmp_path / "a" / "b" / "theirs").touch()
    made.abandon()
    assert (tmp_path / "a" / "b" / "theirs").exists()
    state.close()
