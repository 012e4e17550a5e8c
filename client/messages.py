"""The messenger's records: what the two ends and the origin say to each other. Sans-IO.

One record is one binary WebSocket message (RFC 6455 section 5.6), a MessagePack array whose first item names the
record. A message travels sender -> origin -> receiver; the origin answers each copy with `Accepted` on the connection
it came by, which tells the sender about the *path*; the receiver answers with `Ack` when it has shown the message,
which tells the sender about the *message*.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

PATH = "/messages"
"""Where the origin serves its WebSocket."""

LIMIT_BYTES = 1 << 20
"""The longest encoded record that either side takes; a longer one ends its connection."""


MESSAGES, ATTACHMENTS = 0, 1
"""The lanes of a sender: its messages, and the pieces of its attachments, which wait for the messages."""


Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class RecordError(ValueError):
    """Bytes that are no record of this protocol: the connection they came by is to be closed."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first record on a connection that is to carry messages.

    `receiver`: the number of the process that shows what is sent to `peer`, which it has drawn by itself; 0: this end
    only sends. Of several connections of one receiver, the one that said hello last gets what is for it; another
    receiver of the same name replaces it for good.
    """

    peer: str
    receiver: Natural = 0


class Replaced(msgspec.Struct, frozen=True, array_like=True, tag="replaced"):
    """Another receiver has said hello as `peer` and gets what is sent to it: as RFC 6120 section 4.9.3.3, conflict."""

    peer: str


class Message(msgspec.Struct, frozen=True, array_like=True, tag="message"):
    """A numbered message.

    Each lane of a sender is a session: ids count from 1 in it. `base` is the lowest id that was not acknowledged when
    this copy was made: all below it were shown, so that a receiver without memory knows where to start. `queued_at` is
    in seconds on the sender's monotonic clock and means something to the sender only. `lane`: MESSAGES or ATTACHMENTS.

    End-to-end encrypted (`client.encryption`) when `key` is not empty: then it is the sender's ephemeral public key, 32
    bytes, and `body` is sealed. `shown`: the receiver's proof of its ack of `base` - 1, put there by an origin that has
    raised `base`, since nobody else's word for it counts.
    """

    sender: str
    receiver: str
    session: Natural
    id: Natural
    base: Natural
    queued_at: float
    body: bytes
    lane: Natural = MESSAGES
    key: bytes = b""
    shown: bytes = b""


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag="accepted"):
    """The origin has a copy of the message; answered on the connection by which the copy came."""

    id: Natural
    session: Natural = 0


class Ack(msgspec.Struct, frozen=True, array_like=True, tag="ack"):
    """The receiver has shown the message to its user. Since it shows in order, all lower ids are shown, too.

    `refused`: why the receiver does not take the attachment to which the message belongs; empty: it does. `proof`: what
    shows that the receiver said so, and no one on the way (`client.encryption`); empty without encryption.
    """

    sender: str
    receiver: str
    session: Natural
    id: Natural
    refused: str = ""
    proof: bytes = b""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    """Asks the origin for a sign of life. Needs no hello: also for connections that carry nothing (yet)."""

    number: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    """The answer to the ping of the same number, on the same connection."""

    number: int


class ProxyListWanted(msgspec.Struct, frozen=True, array_like=True, tag="proxy_list_wanted"):
    """Asks the origin for a signed list of proxies that is newer than `version` (0: none is known). Needs no hello."""

    version: int


class ProxyList(msgspec.Struct, frozen=True, array_like=True, tag="proxy_list"):
    """The answer: a document as of `client.proxy_list`; empty: the origin has none that is newer."""

    document: bytes


Record = Hello | Replaced | Message | Accepted | Ack | Ping | Pong | ProxyListWanted | ProxyList

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """The record as the payload of one binary WebSocket message."""
    return _encoder.encode(record)


def decode(payload: bytes) -> Record:
    """The record in `payload`. Raises RecordError on anything else, a payload over LIMIT_BYTES included."""
    if len(payload) > LIMIT_BYTES:
        raise RecordError(f"a record of {len(payload)} bytes, over the limit of {LIMIT_BYTES}")
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a record of this messenger: {error}") from error
