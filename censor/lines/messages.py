"""Sans-IO: what a censor and its workers say to each other: msgpack behind its length in four bytes.

A worker answers `Start`, `Stage`, `Commit`, `Tell` and `Count` in their order, each with one message; the rest it says
unasked. `Convict` and `End` have no answer.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from censor.decision import Blocked, Hit, Suspect
from censor.rules import RuleSet

_length = struct.Struct("!I")


class Convict(msgspec.Struct, frozen=True, tag=True):
    """The prober found a server to be a proxy: Core.convict."""

    address: bytes
    port: int
    t: float
    seconds: float


class Start(msgspec.Struct, frozen=True, tag=True):
    """What a worker begins with. lists: pickled, by name. Answered by Ready or Refused."""

    queue: int
    receive_buffer_bytes: int
    flow_limit: int
    residual_limit: int
    generation: int
    rules: RuleSet
    lists: dict[str, bytes]
    convicted: list[Convict]


class Stage(msgspec.Struct, frozen=True, tag=True):
    """The rules that are next, and their lists; None: as it has that one. Answered by Staged."""

    rules: RuleSet
    lists: dict[str, bytes | None]


class Commit(msgspec.Struct, frozen=True, tag=True):
    """Judge by what was staged. Answered by Applied."""


class Logged(msgspec.Struct, frozen=True):
    """A packet that the kernel stopped for a rule, by a block of addresses or a residual block."""

    rule: str
    by_address: bool
    payload: bytes


class Tell(msgspec.Struct, frozen=True, tag=True):
    """What these packets were. Answered by Told."""

    logged: list[Logged]


class Count(msgspec.Struct, frozen=True, tag=True):
    """Answered by Counts."""


class End(msgspec.Struct, frozen=True, tag=True):
    """Nothing is queued any more: decide on what waits and end."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The queue is bound."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Binding the queue was refused; the worker ends."""

    reason: str


class Staged(msgspec.Struct, frozen=True, tag=True):
    """Nothing has changed so far."""


class Applied(msgspec.Struct, frozen=True, tag=True):
    """The staged rules are in force."""

    generation: int


class Told(msgspec.Struct, frozen=True, tag=True):
    """For each of the packets; None: it knows nothing of the flow."""

    hits: list[Hit | None]


class Counts(msgspec.Struct, frozen=True, tag=True):
    """Line.statistics."""

    counts: dict[str, Any]


class Event(msgspec.Struct, frozen=True, tag=True):
    """To be emitted; `t` is among the fields."""

    event: str
    fields: dict[str, Any]


class BlockBegun(msgspec.Struct, frozen=True, tag=True):
    """A residual block for the kernel."""

    blocked: Blocked


class Suspected(msgspec.Struct, frozen=True, tag=True):
    """A server for the prober."""

    suspect: Suspect


Order = Start | Stage | Commit | Convict | Tell | Count | End
"""From the censor to a worker."""
Report = Ready | Refused | Staged | Applied | Told | Counts | Event | BlockBegun | Suspected
"""From a worker to the censor."""

_encoder = msgspec.msgpack.Encoder()
_ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_REPORTS: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    """The message as it goes over the socket."""
    body = _encoder.encode(message)
    return _length.pack(len(body)) + body


class Frames:
    """Bytes in, bodies of messages out, whatever the pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete with `data`."""
        buffer = self._buffer
        buffer += data
        bodies, position = [], 0
        while len(buffer) >= position + _length.size:
            (length,) = _length.unpack_from(buffer, position)
            end = position + _length.size + length
            if len(buffer) < end:
                break
            bodies.append(bytes(buffer[position + _length.size : end]))
            position = end
        del buffer[:position]
        return bodies


def order(body: bytes) -> Order:
    return _ORDERS.decode(body)


def report(body: bytes) -> Report:
    return _REPORTS.decode(body)
