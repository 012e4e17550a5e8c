from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from client import encryption as module
from client.encryption import Encryption, Undecryptable, decode_key, encode_key
from client.messages import ATTACHMENTS, Ack, Message

A, B, C, EPHEMERAL, OTHER_EPHEMERAL = (bytes([number]) * 32 for number in (1, 2, 3, 4, 5))
TEXT = b"meet me at the side door"


def public(private: bytes) -> bytes:
    return bytes(PrivateKey(private).public_key)


def ends(ephemeral: bytes = EPHEMERAL) -> tuple[Encryption, Encryption]:
    return Encryption(A, public(B), ephemeral), Encryption(B, public(A), OTHER_EPHEMERAL)


def message(id_: int = 7, base: int = 5, session: int = 9) -> Message:
    return Message("alice", "bob", session, id_, base, 1.5, TEXT)


def ack(id_: int = 7, session: int = 9, refused: str = "") -> Ack:
    return Ack("alice", "bob", session, id_, refused)


def test_there_and_back() -> None:
    alice, bob = ends()
    sealed = alice.seal(message())
    assert (sealed.key, sealed.id, sealed.queued_at) == (public(EPHEMERAL), 7, 1.5)
    assert TEXT not in msgspec.msgpack.encode(sealed)
    assert bob.open(sealed) == message()


@given(body=st.binary(max_size=2000), id_=st.integers(1, 2**63 - 1), lane=st.integers(0, 1))
def test_any_body(body: bytes, id_: int, lane: int) -> None:
    alice, bob = ends()
    plain = msgspec.structs.replace(message(), body=body, id=id_, lane=lane)
    assert bob.open(alice.seal(plain)) == plain


def test_two_copies_have_nothing_in_common_but_the_ephemeral_key() -> None:
    alice, _ = ends()
    one, other = alice.seal(message()), alice.seal(message())
    assert one.body != other.body
    assert len(one.body) == len(other.body)


def test_nonces_come_from_the_randomness_that_is_given() -> None:
    bodies = [
        Encryption(A, public(B), EPHEMERAL, random=random.Random(1).randbytes).seal(message()).body for _ in range(2)
    ]
    assert bodies[0] == bodies[1]


def test_the_senders_static_key_alone_opens_nothing() -> None:
    """Who gets hold of it after the sender's end has the static box, and the outer one is in its way."""
    alice, _ = ends()
    thief = Encryption(A, public(B), OTHER_EPHEMERAL)
    with pytest.raises(Undecryptable, match="not for this end's key"):
        thief.open(alice.seal(message()))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda m: msgspec.structs.replace(m, id=8),
        lambda m: msgspec.structs.replace(m, session=10),
        lambda m: msgspec.structs.replace(m, sender="carol"),
        lambda m: msgspec.structs.replace(m, receiver="carol"),
        lambda m: msgspec.structs.replace(m, lane=ATTACHMENTS),
    ],
    ids=["id", "session", "sender", "receiver", "lane"],
)
def test_a_message_in_another_place_is_refused(tamper: Callable[[Message], Message]) -> None:
    alice, bob = ends()
    with pytest.raises(Undecryptable, match="message 7 of another place"):
        bob.open(tamper(alice.seal(message())))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda m: msgspec.structs.replace(m, body=m.body[:-1] + bytes([m.body[-1] ^ 1])),
        lambda m: msgspec.structs.replace(m, body=b""),
        lambda m: msgspec.structs.replace(m, body=m.body[:30]),
        lambda m: msgspec.structs.replace(m, key=public(C)),
        lambda m: msgspec.structs.replace(m, key=b"short"),
        lambda m: msgspec.structs.replace(m, key=bytes(32)),
    ],
    ids=["bit", "empty", "cut", "key", "short key", "key of low order"],
)
def test_what_was_changed_is_refused(tamper: Callable[[Message], Message]) -> None:
    alice, bob = ends()
    with pytest.raises(Undecryptable, match="was changed"):
        bob.open(tamper(alice.seal(message())))


def test_plain_text_is_refused() -> None:
    with pytest.raises(Undecryptable, match="not encrypted"):
        ends()[1].open(message())


def test_a_stranger_is_refused_although_his_message_is_for_this_key() -> None:
    stranger = Encryption(C, public(B), EPHEMERAL)
    with pytest.raises(Undecryptable, match="not from the peer's key"):
        ends()[1].open(stranger.seal(message()))


def test_a_message_is_not_its_own_answer() -> None:
    """The static box is the same both ways; the names are not."""
    alice, bob = ends()
    reflected = msgspec.structs.replace(bob.seal(message()), sender="bob", receiver="alice")
    with pytest.raises(Undecryptable, match="another place"):
        alice.open(reflected)


def test_the_origin_raises_the_base_by_the_receivers_own_word_only() -> None:
    alice, bob = ends()
    sealed = alice.seal(message())
    lie = msgspec.structs.replace(sealed, base=7)
    assert bob.open(lie).base == 5
    assert bob.open(msgspec.structs.replace(lie, shown=bob.prove(ack(6)).proof)).base == 7
    assert bob.open(msgspec.structs.replace(lie, shown=bob.prove(ack(3)).proof)).base == 5
    assert bob.open(msgspec.structs.replace(lie, shown=bob.prove(ack(6, session=8)).proof)).base == 5


def test_an_ack_is_the_peers_or_none() -> None:
    alice, bob = ends()
    proven = bob.prove(ack(refused="too large"))
    alice.check(proven)
    for forged in (
        msgspec.structs.replace(proven, id=8),
        msgspec.structs.replace(proven, session=8),
        msgspec.structs.replace(proven, refused=""),
    ):
        with pytest.raises(Undecryptable, match="ack of message 7 of another place"):
            alice.check(forged)
    with pytest.raises(Undecryptable, match="not from the peer's key"):
        alice.check(ack())


def test_a_static_box_of_another_kind_is_no_ack() -> None:
    alice, bob = ends()
    inner = bob._box(public(EPHEMERAL)).decrypt(alice.seal(message()).body)
    with pytest.raises(Undecryptable, match="another kind"):
        alice.check(msgspec.structs.replace(ack(), proof=inner))


def test_boxes_of_ephemeral_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOXES_LIMIT", 2)
    _, bob = ends()
    for number in (11, 12, 11, 13):
        bob.open(ends(bytes([number]) * 32)[0].seal(message()))
    assert list(bob._boxes) == [public(bytes([number]) * 32) for number in (11, 13)]


@pytest.mark.parametrize(
    ("peer", "reason"), [(public(A), "this end's own"), (bytes(32), "none that anybody can have")], ids=["own", "zero"]
)
def test_a_peers_key_that_cannot_be_one(peer: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Encryption(A, peer, EPHEMERAL)


def test_keys_are_44_characters() -> None:
    assert decode_key(encode_key(A) + "\n") == A
    for bad in ("", "?", encode_key(A)[:40], encode_key(A + b"x")):
        with pytest.raises(ValueError, match="44 characters"):
            decode_key(bad)
