"""The pieces of an attachment, each the body of one message of the attachments' lane; and names for files. Sans-IO."""

from __future__ import annotations

import re
import unicodedata

import msgspec

from client.messages import Natural

LIMIT_BYTES = 64 << 20
"""The longest attachment."""
CHUNK_BYTES = 32 << 10
"""What one chunk carries: on a slow link a message waits for no more than the chunks that are under way."""
NAME_LIMIT_BYTES = 180
"""Of a file's name in UTF-8: file systems take 255, and `.part` and a number may be added."""


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="offer"):
    """The first piece. `sha256`: 32 bytes, of the whole file; `number` counts the sender's attachments."""

    number: Natural
    name: str
    size: Natural
    sha256: bytes


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    """The bytes from `offset`."""

    number: Natural
    offset: Natural
    data: bytes


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """The sender takes the attachment back; `reason`: for people."""

    number: Natural
    reason: str


Piece = Offer | Chunk | Cancel

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Piece] = msgspec.msgpack.Decoder(Piece)


def encode(piece: Piece) -> bytes:
    """The piece as the body of a message."""
    return _encoder.encode(piece)


def decode(body: bytes) -> Piece:
    """The piece in `body`. Raises ValueError."""
    return _decoder.decode(body)


def chunks(size: int) -> int:
    """How many chunks a file of this size has."""
    return -(-size // CHUNK_BYTES)


def safe_name(name: str) -> str:
    """A name for a file that stays in its folder and is not hidden, whatever the sender says.

    No folders, no control and formatting characters (bidirectional overrides hide the true ending), nothing that file
    systems reserve, at most NAME_LIMIT_BYTES, with the ending kept.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    visible = "".join("_" if unicodedata.category(char).startswith("C") else char for char in last)
    clean = re.sub(r'[<>:"|?*]', "_", visible).strip(". ")
    stem, dot, ending = clean.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, dot, ending = clean, "", ""
    room = NAME_LIMIT_BYTES - len((dot + ending).encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip()
    return stem + dot + ending or "attachment"
