from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey

from client.attachments.pieces import CHUNK_BYTES
from client.attachments.source import open_source
from client.encryption import Encryption, Undecryptable
from client.lanes import Due, Lanes
from client.messages import ATTACHMENTS, MESSAGES, Accepted, Ack, Message
from client.settings import OriginAddress, SenderSettings
from client.state.sending import SendingState

ALICE, BOB = bytes([1]) * 32, bytes([2]) * 32


def public(key: bytes) -> bytes:
    return bytes(PrivateKey(key).public_key)


class Life:
    """One life of the sender's lanes; sessions are 1, 2, 3, ... across lives."""

    drawn = 0

    def __init__(self, folder: Path, now: float = 0.0, encryption: Encryption | None = None, **more: Any) -> None:
        self.events: list[str] = []
        settings = SenderSettings(name="alice", peer="bob", origin=OriginAddress("localhost"), ca_file="ca.pem", **more)
        state = SendingState(str(folder / "alice.db"), name="alice", peer="bob", draw=self._draw, wall=lambda: 500.0)
        self.lanes = Lanes(settings, state, encryption, lambda event, /, **_: self.events.append(event), now)

    @staticmethod
    def _draw() -> int:
        Life.drawn += 1
        return Life.drawn

    def due(self, connection: int = 1) -> list[Due]:
        found = []
        while (due := self.lanes.next(connection, 0.0)) is not None:
            found.append(due)
        return found

    def ack(self, due: Due, refused: str = "") -> list[tuple[int, float]]:
        message = due.message
        return self.lanes.acked(Ack("alice", "bob", message.session, message.id, refused), 2.0)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    life = Life(tmp_path, limit_messages=3)
    yield life
    life.lanes.close()


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(bytes(2 * CHUNK_BYTES))
    return str(tmp_path / "file")


def test_messages_go_before_attachments(life: Life, file: str) -> None:
    life.lanes.attach(open_source(file))
    piece = life.lanes.next(1, 0.0)
    life.lanes.submit(b"a", 1.0)
    (first,) = life.due()
    assert piece is not None
    assert life.ack(piece) == []
    rest = life.due()
    assert (piece.number, piece.message.lane, first.number, first.message.lane) == (-1, ATTACHMENTS, 1, MESSAGES)
    assert [due.number for due in rest] == [-2, -3]
    assert piece.message.session != first.message.session == life.lanes.session
    assert [life.lanes.number(Accepted(5, due.message.session)) for due in (first, piece)] == [5, -5]
    assert not life.lanes.empty
    assert life.ack(first) == [(1, 1.0)]
    assert not life.lanes.empty
    assert life.ack(rest[-1]) == []
    assert life.lanes.empty
    assert "attachment_sent" in life.events


def test_what_is_queued_is_on_disk_and_what_is_acknowledged_is_not(tmp_path: Path) -> None:
    life = Life(tmp_path)
    for body in (b"a", b"b", b"c"):
        life.lanes.submit(body, 0.0)
    sent = life.due()
    life.ack(sent[0])
    life.lanes.close()
    again = Life(tmp_path, now=7.0)
    assert (again.lanes.messages, again.lanes.peak) == (2, 2)
    assert [(due.message.id, due.message.body, due.message.base) for due in again.due()] == [(2, b"b", 2), (3, b"c", 2)]
    assert again.ack(sent[2]) == [(2, -5.0), (3, -5.0)], "queued at 7, since the wall clock stood still"
    again.lanes.close()
    last = Life(tmp_path)
    assert last.lanes.empty
    last.lanes.close()


def test_a_full_queue_writes_nothing(life: Life) -> None:
    for _ in range(3):
        life.lanes.submit(b"", 0.0)
    assert life.lanes.full
    with pytest.raises(OverflowError, match="3 messages"):
        life.lanes.submit(b"", 0.0)
    assert (life.lanes.messages, len(life.due())) == (3, 3)


def test_hedges_are_for_messages(life: Life, file: str) -> None:
    life.lanes.attach(open_source(file))
    life.lanes.submit(b"a", 0.0)
    assert [due.number for due in life.due()] == [1, -1]
    copied = life.lanes.copy(1, 2)
    assert copied is not None
    assert (copied.number, copied.attempt) == (1, 2)
    assert life.lanes.copy(-1, 2) is None
    life.lanes.lost(1)
    assert [due.number for due in life.due(3)] == [1, -1]


def test_an_ack_of_another_session_is_none(life: Life) -> None:
    life.lanes.submit(b"a", 0.0)
    (due,) = life.due()
    assert life.lanes.acked(Ack("alice", "bob", due.message.session + 100, 1), 0.0) == []
    assert life.ack(due) == [(1, 2.0)]
    assert life.ack(due) == []


def test_all_is_sealed_and_an_ack_that_is_not_the_receivers_is_none(tmp_path: Path, file: str) -> None:
    bob = Encryption(BOB, public(ALICE), bytes([3]) * 32)
    life = Life(tmp_path, encryption=Encryption(ALICE, public(BOB), bytes([4]) * 32))
    life.lanes.submit(b"the text", 0.0)
    life.lanes.attach(open_source(file))
    sent = life.due()
    assert all(b"the text" not in msgspec.msgpack.encode(due.message) for due in sent)
    opened: list[Message] = [bob.open(due.message) for due in sent]
    assert opened[0].body == b"the text"
    ack = Ack("alice", "bob", sent[0].message.session, 1)
    with pytest.raises(Undecryptable):
        life.lanes.acked(ack, 0.0)
    assert life.lanes.messages == 1
    assert life.lanes.acked(bob.prove(ack), 0.5) == [(1, 0.5)]
    life.lanes.close()
