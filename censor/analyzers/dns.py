"""Sans-IO: the question out of a DNS query datagram, and forged answers to it (RFC 1035)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

A, AAAA = 1, 28
NXDOMAIN = 3

_header = struct.Struct("!HHHHHH")
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0100, 0x0080
_OPCODE = 0x7800
_NAME_POINTER = b"\xc0\x0c"  # to the question's name, which always stands behind the header


@dataclass(frozen=True, slots=True)
class Query:
    """The first question of a query. `name`: lower case, no trailing dot, bytes that are not ASCII as `\\xNN`."""

    id: int
    flags: int
    name: str
    type: int
    question: bytes
    """As it stood on the wire, so that an answer repeats its letter case (0x20 encoding)."""


def query(payload: bytes) -> Query | None:
    """The query in a UDP payload; None for whatever is not one (responses, other opcodes, malformed names)."""
    if len(payload) < _header.size:
        return None
    id_, flags, questions, *_ = _header.unpack_from(payload)
    if flags & (_RESPONSE | _OPCODE) or not questions:
        return None
    labels = []
    position = _header.size
    while True:
        if position >= len(payload):
            return None
        length = payload[position]
        position += 1
        if not length:
            break
        if length > 63 or position + length > len(payload):  # a compressed question is never sent by a real client
            return None
        labels.append(payload[position : position + length].decode("ascii", "backslashreplace").lower())
        position += length
    if position + 4 > len(payload):
        return None
    (type_,) = struct.unpack_from("!H", payload, position)
    return Query(id_, flags, ".".join(labels), type_, payload[_header.size : position + 4])


def nxdomain(query: Query) -> bytes:
    """The answer "no such name"."""
    return _response(query, NXDOMAIN, [])


def forged(query: Query, addresses: Iterable[str], ttl_seconds: int) -> bytes:
    """An answer with those of `addresses` that are of the question's type; none of them is "no such record"."""
    records = []
    for text in addresses:
        address = ipaddress.ip_address(text)
        type_ = A if address.version == 4 else AAAA
        if type_ == query.type:
            packed = address.packed
            records.append(_NAME_POINTER + struct.pack("!HHIH", type_, 1, ttl_seconds, len(packed)) + packed)
    return _response(query, 0, records)


def _response(query: Query, rcode: int, records: list[bytes]) -> bytes:
    flags = _RESPONSE | query.flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | rcode
    return _header.pack(query.id, flags, 1, len(records), 0, 0) + query.question + b"".join(records)
