from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey

from client import inboxes as module
from client.attachments.incoming import NOT_TAKEN, IncomingAttachments
from client.attachments.pieces import Chunk, Offer, encode
from client.delivery import Delivery
from client.encryption import Encryption
from client.inboxes import Inboxes
from client.messages import ATTACHMENTS, Ack, Message
from client.state.receiving import ReceivingState

ALICE, BOB = bytes([1]) * 32, bytes([2]) * 32


def public(key: bytes) -> bytes:
    return bytes(PrivateKey(key).public_key)


def message(id_: int, base: int = 1, session: int = 9, body: bytes = b"body", lane: int = 0) -> Message:
    return Message("alice", "bob", session, id_, base, 0.0, body, lane)


class Life:
    """One life of the receiver over a state file. `deaf`: the application dies when it is shown something."""

    def __init__(
        self, folder: Path, encryption: Encryption | None = None, *, taken: int = 0, attachments: bool = False
    ) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.shown: list[Delivery] = []
        self.deaf = False
        self.state = ReceivingState(str(folder / "bob.db"), name="bob")
        incoming = IncomingAttachments(str(folder / "files") if attachments else None, 100, self.state, self._emit)
        self.inboxes = Inboxes("bob", self.state, encryption, incoming, self._emit, self._show)
        self.inboxes.resume(taken)

    def _emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def _show(self, delivery: Delivery) -> None:
        if self.deaf:
            raise InterruptedError
        self.shown.append(delivery)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def receive(self, *messages: Message) -> list[tuple[int, str]]:
        return [(ack.id, ack.refused) for each in messages for ack in self.inboxes.receive(each)]


def test_order_is_restored_and_each_shown_is_acknowledged(tmp_path: Path) -> None:
    life = Life(tmp_path)
    assert life.inboxes.receive(message(2)) == []
    assert life.inboxes.receive(message(1)) == [Ack("alice", "bob", 9, 1), Ack("alice", "bob", 9, 2)]
    assert life.receive(message(2), message(1)) == [(2, ""), (1, "")]
    assert [(delivery.position, delivery.id) for delivery in life.shown] == [(1, 1), (2, 2)]
    assert [fields["reordered"] for fields in life.of("message_delivered")] == [True, False]
    assert len(life.of("message_duplicate")) == 2
    assert not life.of("message_shown_twice")
    assert life.state.unconfirmed == []
    life.state.close()


def test_a_later_life_shows_nothing_twice(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.receive(message(1), message(2))
    first.state.close()
    second = Life(tmp_path)
    assert second.receive(message(2), message(1), message(3)) == [(2, ""), (1, ""), (3, "")]
    assert [delivery.id for delivery in second.shown] == [3]
    second.state.close()


@pytest.mark.parametrize("taken", [0, 2], ids=["not known", "taken"])
def test_what_was_being_handed_out_comes_again_unless_the_application_has_it(tmp_path: Path, taken: int) -> None:
    first = Life(tmp_path)
    first.receive(message(1))
    first.deaf = True
    with pytest.raises(InterruptedError):
        first.receive(message(2))
    first.state.close()
    second = Life(tmp_path, taken=taken)
    again = [] if taken else [Delivery(2, "alice", 9, 2, b"body", again=True)]
    assert second.shown == again
    assert [fields["again"] for fields in second.of("message_delivered")] == [True] * len(again)
    assert second.receive(message(2), message(3)) == [(2, ""), (3, "")]
    assert second.shown == [*again, Delivery(3, "alice", 9, 3, b"body")]
    second.state.close()


def test_a_session_out_of_memory_is_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 1)
    life = Life(tmp_path)
    life.receive(message(1, session=1), message(1, session=2), message(1, session=1), message(2, session=1))
    assert [(delivery.session, delivery.id) for delivery in life.shown] == [(1, 1), (2, 1), (1, 2)]
    life.state.close()


def test_a_defect_that_shows_twice_is_told(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.receive(message(1))
    life.inboxes._inboxes.clear()
    life.state.advance("alice", 9, 1)
    life.receive(message(1))
    assert life.of("message_shown_twice") == [{"id": 1, "sender": "alice"}]
    life.state.close()


def test_encrypted_messages_are_shown_plain_and_acks_proven(tmp_path: Path) -> None:
    alice = Encryption(ALICE, public(BOB), bytes([3]) * 32)
    life = Life(tmp_path, Encryption(BOB, public(ALICE), bytes([4]) * 32))
    (ack,) = life.inboxes.receive(alice.seal(message(1)))
    alice.check(ack)
    assert [delivery.body for delivery in life.shown] == [b"body"]
    life.state.close()


def test_an_origin_that_swaps_replays_reorders_or_invents_is_noticed(tmp_path: Path) -> None:
    alice = Encryption(ALICE, public(BOB), bytes([3]) * 32)
    life = Life(tmp_path, Encryption(BOB, public(ALICE), bytes([4]) * 32))
    one, two, three = (alice.seal(message(id_, body=b"%d" % id_)) for id_ in (1, 2, 3))
    swapped = msgspec.structs.replace(one, body=two.body, key=two.key)
    elsewhere = msgspec.structs.replace(one, session=10)
    invented = message(1, body=b"invented")
    skipping = msgspec.structs.replace(three, base=3)
    assert life.receive(swapped, elsewhere, invented) == []
    assert [fields["reason"] for fields in life.of("message_undecryptable")] == [
        "it is message 2 of another place, put here",
        "it is message 1 of another place, put here",
        "it is not encrypted",
    ]
    assert life.receive(skipping, two) == [], "1 is missing, whatever the origin says"
    assert life.receive(one, one) == [(1, ""), (2, ""), (3, ""), (1, "")]
    assert [delivery.body for delivery in life.shown] == [b"1", b"2", b"3"]
    life.state.close()


def test_an_end_without_a_key_does_not_show_what_is_encrypted(tmp_path: Path) -> None:
    alice = Encryption(ALICE, public(BOB), bytes([3]) * 32)
    life = Life(tmp_path)
    assert life.receive(alice.seal(message(1))) == []
    assert life.of("message_undecryptable") == [
        {"sender": "alice", "id": 1, "reason": "it is encrypted, and this end has no key"}
    ]
    assert life.receive(message(1)) == [(1, "")]
    life.state.close()


def test_pieces_go_to_the_attachments_and_are_acknowledged(tmp_path: Path) -> None:
    life = Life(tmp_path, attachments=True)
    pieces = [
        encode(Offer(1, "a", 2, hashlib.sha256(b"ab").digest())),
        encode(Chunk(1, 0, b"a")),
        encode(Chunk(1, 1, b"b")),
    ]
    copies = [message(id_, body=body, lane=ATTACHMENTS) for id_, body in enumerate(pieces, 1)]
    assert life.receive(copies[2], copies[0]) == [(1, "")]
    life.state.close()
    again = Life(tmp_path, attachments=True)
    assert again.receive(copies[0], copies[1], copies[2]) == [(1, ""), (2, ""), (3, "")]
    assert (tmp_path / "files" / "a").read_bytes() == b"ab"
    assert again.shown == []
    again.state.close()


def test_a_refusal_comes_with_every_ack_copies_included(tmp_path: Path) -> None:
    life = Life(tmp_path)
    offer = message(1, body=encode(Offer(1, "a", 1, b"")), lane=ATTACHMENTS)
    assert life.receive(offer, offer) == [(1, NOT_TAKEN), (1, NOT_TAKEN)]
    life.state.close()
    again = Life(tmp_path)
    assert again.receive(offer) == [(1, NOT_TAKEN)]
    again.state.close()
