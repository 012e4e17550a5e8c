"""Sans-IO: properties out of payloads, one module a protocol. Any bytes are good input: an analyzer never raises.

Each module has `ANALYZER`, which says what it finds and in which bytes; `censor.analyzers.all.ANALYZERS` has them all.
Names of properties start with the analyzer's own; the one that is the analyzer's name alone (`tls`) is a boolean:
whether this is its protocol.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from censor.properties import Properties, Type


class Outcome(enum.Enum):
    """Why nothing was found: MORE bytes may make a message; OTHER: this is something else, or malformed."""

    MORE = "more"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """A message was recognised.

    properties: what it says; the analyzer's own name is true, and whatever the message lacks is None.
    consumed: bytes of the stream up to its end; behind them the next one may start. `rest`: bytes behind these (a body)
    that are none of the analyzer's business, and may not have come yet.
    message: the parsed message, for actions that answer it (a forged DNS answer needs the query).
    partial: these properties hold already, those that are missing are unknown still; the reader is to be called again
    as after MORE (a SOCKS greeting has come, the request has not).
    """

    properties: Properties
    consumed: int = 0
    rest: int = 0
    message: object = None
    partial: bool = False


Wanted = frozenset[str]
"""The properties that somebody asks for; what costs time and is not among them is left out (not even None)."""

Read = Callable[[bytes, Wanted], Finding | Outcome]


@dataclass(frozen=True, slots=True)
class Analyzer:
    """What a protocol's module offers.

    stream: reads the first message of a direction's bytes in order, from the start of a message on; called again with
        more bytes until it says something else than MORE or a partial Finding, or `limit_bytes` are there.
    datagram: makes the reader of one flow's datagrams; each datagram of the client is one call.
    repeats: whether messages follow one another on a stream (requests on a connection that is kept alive), or every
        datagram is a message of its own: then a flow is never done with.
    joined: its censor reads segments behind one another even where it reads each by itself (`reassembly` none).
    first_payload: reads the first payload of the client alone, a segment's or a datagram's, and never says MORE.
    """

    name: str
    properties: Mapping[str, Type]
    stream: Read | None = None
    datagram: Callable[[], Read] | None = None
    first_payload: Read | None = None
    repeats: bool = False
    joined: bool = False
    limit_bytes: int = 16384
    ports: tuple[int, ...] = field(default=())
    """The server ports that it is looked for on unless a rule says otherwise; none: on all."""
