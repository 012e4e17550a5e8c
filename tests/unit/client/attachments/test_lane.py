from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.attachments.lane import AttachmentLane
from client.attachments.pieces import CHUNK_BYTES, Cancel, Chunk, Offer, Piece, decode
from client.attachments.source import Source, SourceChanged, open_source
from client.attachments.window import PieceWindow
from client.messages import Ack
from client.state.sending import SendingState

NOW = 1.0


class Desk:
    """A sender's lane over one state file, and the events it made; `restart` is a new life."""

    def __init__(self, folder: Path, window_chunks: int = 8) -> None:
        self.folder = folder
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._chunks = window_chunks
        self.lane = self._open()

    def _open(self) -> AttachmentLane:
        self.state = SendingState(str(self.folder / "alice.db"), name="alice", peer="bob", draw=lambda: 7)
        window = PieceWindow(self._chunks, size=self._chunks)  # as it is when nothing queues
        return AttachmentLane(self.state, self._emit, window=window)

    def restart(self) -> None:
        self.lane.close()
        self.state.close()
        self.lane = self._open()

    def _emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def file(self, name: str, size: int) -> Source:
        path = self.folder / name
        path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        return open_source(str(path))

    def pieces(self, connection: int = 1) -> list[tuple[int, Piece]]:
        found = []
        while (entry := self.lane.next(connection, NOW)) is not None:
            found.append((entry.id, decode(entry.body)))
        return found

    def ack(self, id_: int, refused: str = "") -> None:
        self.lane.acked(Ack("alice", "bob", self.lane.session, id_, refused), NOW)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_offer_then_the_chunks_and_the_next_attachment_behind_them(desk: Desk) -> None:
    first, second = desk.file("a", CHUNK_BYTES + 5), desk.file("b", 0)
    assert [desk.lane.add(first, "a"), desk.lane.add(second, "b")] == [1, 2]
    sent = desk.pieces()
    assert [(id_, type(piece)) for id_, piece in sent] == [(1, Offer), (2, Chunk), (3, Chunk)]
    assert sent[0][1] == Offer(1, "a", CHUNK_BYTES + 5, first.sha256)
    assert sent[2][1] == Chunk(1, CHUNK_BYTES, b"x" * 5)
    assert len(desk.lane) == 2
    desk.ack(2)
    desk.ack(2)
    assert desk.of("attachment_sent") == []
    assert desk.pieces() == []
    desk.ack(3)
    assert desk.pieces() == [(4, Offer(2, "b", 0, second.sha256))]
    desk.ack(4)
    assert [fields["attachment"] for fields in desk.of("attachment_sent")] == [1, 2]
    assert [(f["attachment"], f["sent"]) for f in desk.of("attachment_progress")] == [
        (1, CHUNK_BYTES),
        (1, CHUNK_BYTES + 5),
        (2, 0),
    ]
    assert (len(desk.lane), desk.pieces(), desk.lane.base) == (0, [], 5)


def test_no_more_than_the_window_is_under_way(tmp_path: Path) -> None:
    desk = Desk(tmp_path, window_chunks=2)
    desk.lane.add(desk.file("a", 5 * CHUNK_BYTES), "a")
    assert [id_ for id_, _ in desk.pieces()] == [1, 2]
    desk.ack(1)
    assert [id_ for id_, _ in desk.pieces()] == [3]


def test_what_a_lost_connection_carried_goes_again(desk: Desk) -> None:
    desk.lane.add(desk.file("a", 3 * CHUNK_BYTES), "a")
    desk.pieces(connection=1)
    desk.ack(2)
    assert desk.lane.lost(1) == 2
    assert [id_ for id_, _ in desk.pieces(connection=2)] == [3, 4]


def test_a_later_life_goes_on_behind_the_last_ack_once_the_file_was_read(desk: Desk) -> None:
    source = desk.file("a", 3 * CHUNK_BYTES)
    desk.lane.add(source, "a")
    before = dict(desk.pieces())
    desk.ack(2)
    desk.restart()
    assert [queued.number for queued in desk.lane.unread] == [1]
    assert (desk.pieces(), len(desk.lane)) == ([], 1)
    desk.lane.read(1, open_source(source.path))
    assert dict(desk.pieces()) == {3: before[3], 4: before[4]}
    desk.ack(4)
    assert desk.of("attachment_sent")
    desk.restart()
    assert (desk.lane.unread, len(desk.lane)) == ([], 0)


def test_an_ack_of_what_only_an_earlier_life_sent_is_one_of_all_before_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, window_chunks=4)
    source = desk.file("a", 3 * CHUNK_BYTES)
    desk.lane.add(source, "a")
    desk.pieces()
    desk._chunks = 1
    desk.restart()
    desk.lane.read(1, open_source(source.path))
    assert [id_ for id_, _ in desk.pieces()] == [1]
    desk.ack(3)
    assert [id_ for id_, _ in desk.pieces()] == [2]
    desk.ack(5)
    assert desk.pieces() == [], "nobody ever sent that"


def test_a_file_that_changes_meanwhile_is_taken_back(desk: Desk) -> None:
    source = desk.file("a", 9 * CHUNK_BYTES)
    desk.lane.add(source, "a")
    assert [id_ for id_, _ in desk.pieces()] == list(range(1, 9))
    Path(source.path).write_bytes(b"other")
    desk.ack(1)
    ((id_, piece),) = desk.pieces()
    assert (id_, piece) == (9, Cancel(1, "the file was changed while it was sent"))
    assert desk.of("attachment_failed") == [
        {"attachment": 1, "name": "a", "reason": "the file was changed while it was sent"}
    ]
    assert len(desk.lane) == 0
    desk.lane.add(desk.file("b", 1), "b")
    assert desk.pieces() == []
    desk.ack(9)
    assert [(id_, type(piece)) for id_, piece in desk.pieces()] == [(10, Offer), (11, Chunk)]
    assert len(desk.of("attachment_failed")) == 1
    assert not desk.of("attachment_sent")


@pytest.mark.parametrize("restarts", [1, 2], ids=["at once", "and a second time"])
def test_a_file_that_changed_between_two_lives_leaves_no_id_open(desk: Desk, restarts: int) -> None:
    source = desk.file("a", 5 * CHUNK_BYTES)
    desk.lane.add(source, "a")
    assert [id_ for id_, _ in desk.pieces()] == [1, 2, 3, 4, 5, 6]
    desk.ack(2)
    desk.restart()
    desk.lane.read(1, SourceChanged("other"))
    for _ in range(restarts - 1):
        desk.restart()
    assert desk.pieces() == [(id_, Cancel(1, "other")) for id_ in (3, 4, 5, 6, 7)]
    desk.ack(7)
    desk.lane.add(desk.file("b", 0), "b")
    assert [id_ for id_, _ in desk.pieces()] == [8]


def test_a_refusal_ends_it_and_the_ids_that_were_given_before_are_filled(desk: Desk) -> None:
    source = desk.file("a", 20 * CHUNK_BYTES)
    desk.lane.add(source, "a")
    desk.pieces()
    desk.restart()
    desk.lane.read(1, open_source(source.path))
    entry = desk.lane.next(1, NOW)
    assert entry is not None
    desk.ack(1, refused="too large")
    assert desk.of("attachment_failed")[0]["reason"] == "the receiver refuses it: too large"
    assert desk.pieces() == [(id_, Cancel(1, "the receiver refuses it: too large")) for id_ in range(2, 9)]
    desk.ack(8, refused="too large")
    assert len(desk.of("attachment_failed")) == 1
    desk.lane.add(desk.file("b", 0), "b")
    assert [id_ for id_, _ in desk.pieces()] == [9]


def test_one_that_failed_before_it_began_goes_without_a_piece(desk: Desk) -> None:
    for name in "abc":
        desk.lane.add(desk.file(name, 0), name)
    desk.restart()
    for number, queued in enumerate(desk.lane.unread, 1):
        desk.lane.read(queued.number, SourceChanged("gone") if number < 3 else open_source(queued.path))
    assert [(id_, type(piece)) for id_, piece in desk.pieces()] == [(1, Offer)]
    desk.ack(1)
    assert [fields["attachment"] for fields in desk.of("attachment_sent")] == [3]
    desk.restart()
    assert desk.lane.unread == []


def test_a_life_that_died_before_it_noted_the_end_leaves_that_to_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = desk.file("a", 1)
    desk.lane.add(source, "a")
    desk.pieces()
    with monkeypatch.context() as patch:
        patch.setattr(desk.state, "remove_attachment", lambda number: None)
        desk.ack(2)
    desk.events.clear()
    desk.restart()
    desk.lane.read(1, open_source(source.path))
    assert desk.pieces() == []
    assert (len(desk.lane), len(desk.of("attachment_sent"))) == (0, 1)
    desk.restart()
    assert desk.lane.unread == []
