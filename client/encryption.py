"""End-to-end encryption between the two ends: what the origin, a proxy and a censor carry says nothing. Sans-IO.

Each end has a static X25519 key pair and knows the other's public key; a sender draws an ephemeral pair for each of its
lives besides. A message is sealed twice with NaCl's `Box` (X25519, XSalsa20-Poly1305; PyNaCl's documentation):

    body = Box(ephemeral, peer).encrypt( Box(static, peer).encrypt( names, session, id, base, lane, text ) )

The inner box shows that the sender's static key made it, the outer one that nobody who gets hold of that key later
opens it: the ephemeral private key is in memory only and ends with the sender. Who has the *receiver's* static key
reads everything: there is no ratchet. Every copy has random nonces of its own. The ephemeral public key is in each
message, so that a receiver needs no memory.

What the inner box holds has to agree with the record around it: a message that was swapped, moved to another session or
given another id, lane or name is refused, and `client.delivery` restores the order of the ids. An ack carries a proof,
a static box of what it says, so that the origin cannot make a message count as shown; nor can it make the receiver
leave messages out by a higher `base`: that needs the sender's word or the receiver's own proof.

What the origin still sees: the names, who writes to whom, when, and lengths. It can withhold, which looks like a path
that carries nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

import msgspec
import nacl.utils
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from client.messages import Ack, Message

KEY_BYTES = 32
_BOXES_LIMIT = 64
"""Ephemeral keys whose shared secret is kept: computing one takes longer than opening a message."""

Random = Callable[[int], bytes]


class Undecryptable(Exception):
    """A message or an ack that is not from the peer, or was changed; the text says what is wrong."""


class _InsideMessage(msgspec.Struct, frozen=True, array_like=True, tag="message"):
    sender: str
    receiver: str
    session: int
    id: int
    base: int
    lane: int
    body: bytes


class _InsideAck(msgspec.Struct, frozen=True, array_like=True, tag="ack"):
    sender: str
    receiver: str
    session: int
    id: int
    refused: str


_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(_InsideMessage)
_acks = msgspec.msgpack.Decoder(_InsideAck)
Inside = TypeVar("Inside", _InsideMessage, _InsideAck)


def encode_key(key: bytes) -> str:
    """A public key as people pass it on: base64, 44 characters."""
    return base64.b64encode(key).decode()


def decode_key(text: str) -> bytes:
    """The other way round. Raises ValueError."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"expected a public key, 44 characters of base64 as `sidedoor client key` prints it, got {text!r}"
        )
    return key


class Encryption:
    """One end's keys, and what it does with them. Raises ValueError for a peer's key that cannot be one."""

    def __init__(
        self, private_key: bytes, peer_key: bytes, ephemeral_key: bytes, *, random: Random = nacl.utils.random
    ) -> None:
        """Keys of 32 bytes: the own private one, the peer's public one, and a fresh private one for this life."""
        self._private = PrivateKey(private_key)
        if bytes(self._private.public_key) == peer_key:
            raise ValueError("the peer's public key is this end's own")
        peer = PublicKey(peer_key)
        ephemeral = PrivateKey(ephemeral_key)
        self._random = random
        self._ephemeral_public = bytes(ephemeral.public_key)
        try:
            self._static = Box(self._private, peer)
            self._ephemeral = Box(ephemeral, peer)
        except CryptoError as error:
            raise ValueError("the peer's public key is none that anybody can have") from error
        self._boxes: dict[bytes, Box] = {}  # of the peer's ephemeral keys; the one unused for longest goes first

    def seal(self, message: Message) -> Message:
        """The message as it may travel."""
        inside = _InsideMessage(
            message.sender,
            message.receiver,
            message.session,
            message.id,
            message.base,
            message.lane,
            message.body,
        )
        inner = self._encrypt(self._static, _encoder.encode(inside))
        return msgspec.structs.replace(message, key=self._ephemeral_public, body=self._encrypt(self._ephemeral, inner))

    def open(self, message: Message) -> Message:
        """The message as it was before `seal`, with a `base` that can be relied on. Raises Undecryptable."""
        if not message.key:
            raise Undecryptable("it is not encrypted")
        try:
            inner = self._box(message.key).decrypt(message.body)
        except CryptoError as error:
            raise Undecryptable("it is not for this end's key, or was changed") from error
        inside = _opened(self._static, inner, _messages)
        if (inside.sender, inside.receiver, inside.session, inside.id, inside.lane) != (
            message.sender,
            message.receiver,
            message.session,
            message.id,
            message.lane,
        ):
            raise Undecryptable(f"it is message {inside.id} of another place, put here")
        return msgspec.structs.replace(
            message, body=inside.body, base=max(inside.base, self._shown_before(message)), key=b"", shown=b""
        )

    def prove(self, ack: Ack) -> Ack:
        """The ack with its proof."""
        inside = _InsideAck(ack.sender, ack.receiver, ack.session, ack.id, ack.refused)
        return msgspec.structs.replace(ack, proof=self._encrypt(self._static, _encoder.encode(inside)))

    def check(self, ack: Ack) -> None:
        """Raises Undecryptable unless the peer has said what the ack says."""
        inside = _opened(self._static, ack.proof, _acks)
        if inside != _InsideAck(ack.sender, ack.receiver, ack.session, ack.id, ack.refused):
            raise Undecryptable(f"it is the ack of message {inside.id} of another place, put here")

    def _shown_before(self, message: Message) -> int:
        """The lowest id that is not shown, if that is this end's own word; else 0: then the sender's has to do."""
        try:
            inside = _opened(self._static, message.shown, _acks)
        except Undecryptable:
            return 0
        same = (message.sender, message.receiver, message.session) == (inside.sender, inside.receiver, inside.session)
        return inside.id + 1 if same else 0

    def _encrypt(self, box: Box, plain: bytes) -> bytes:
        return bytes(box.encrypt(plain, self._random(Box.NONCE_SIZE)))

    def _box(self, key: bytes) -> Box:
        box = self._boxes.pop(key) if key in self._boxes else Box(self._private, PublicKey(key))
        self._boxes[key] = box
        if len(self._boxes) > _BOXES_LIMIT:
            del self._boxes[next(iter(self._boxes))]
        return box


def _opened(box: Box, sealed: bytes, decoder: msgspec.msgpack.Decoder[Inside]) -> Inside:
    try:
        return decoder.decode(box.decrypt(sealed))
    except CryptoError as error:
        raise Undecryptable("it is not from the peer's key, or was changed") from error
    except msgspec.DecodeError as error:
        raise Undecryptable("it is of another kind, put here") from error
