"""Sans-IO: nf_tables requests as bytes: sets and their elements, and the few rules that need no program.

Each function returns messages to be put between `begin` and `end` (one transaction), in tables of the family `inet`.
An interval travels as two elements: where it starts and, with a flag, the first value behind it. The fields of a
concatenated key are padded to 4 bytes each. linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import islice

from censor.packet_io.netlink import NLM_F_ACK, attribute, message

SUBSYSTEM = 10
_INET = 1  # NFPROTO_INET: tables for both IP versions
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _NEW_CHAIN = 0, 3
_DELETE_CHAIN, _NEW_RULE, _DELETE_RULE, _NEW_SET, _DELETE_SET, _NEW_ELEMENTS, _DELETE_ELEMENTS = 5, 6, 8, 9, 11, 12, 14
_CREATE, _APPEND = 0x400, 0x800
_NESTED = 0x8000
_INTERVALS, _TIMEOUTS = 0x4, 0x10
_OWNED = 0x2
_FORWARD_HOOK = 2
_META_MARK = 3
_JUMP = -3
_E_KEY, _E_FLAGS, _E_TIMEOUT = 1, 3, 4

_be32 = struct.Struct("!I")
_be64 = struct.Struct("!Q")
_ipv4_interval = struct.Struct("!12sI12sI8s")
# The elements of a message are nested in one attribute, whose length has 16 bits.
_ELEMENTS_BYTES = 65_000
# A key of two IPv6 addresses, a protocol and two ports, with a timeout, has 68; an IPv6 interval has 64.
_LARGEST_ELEMENT_BYTES = 68


class Field(IntEnum):
    """A field of a set's key; the value is what the `nft` program calls the type by, in the kernel."""

    IPV4_ADDRESS = 7
    IPV6_ADDRESS = 8
    PROTOCOL = 12
    PORT = 13

    @property
    def padded_bytes(self) -> int:
        return 16 if self is Field.IPV6_ADDRESS else 4


Interval = tuple[int, int]
"""Addresses as numbers, the last one included."""


def begin(sequence: int) -> bytes:
    """Starts a transaction of nf_tables."""
    return message(0, _BATCH_BEGIN, SUBSYSTEM, b"", sequence=sequence)


def end(sequence: int) -> bytes:
    """Ends and commits it."""
    return message(0, _BATCH_END, SUBSYSTEM, b"", sequence=sequence)


def key(*fields: bytes) -> bytes:
    """The key of an element: its fields in network order, each padded to 4 bytes."""
    return b"".join([field + bytes(-len(field) % 4) for field in fields])


def add_set(
    table: str, name: str, fields: Sequence[Field], *, intervals: bool = False, timeouts: bool = False
) -> bytes:
    """A new set; EEXIST is not raised for one that is there already and alike."""
    kind = 0
    for field in fields:
        kind = kind << 6 | field
    body = _names((1, table), (2, name))
    body += attribute(3, _be32.pack(intervals * _INTERVALS | timeouts * _TIMEOUTS))
    body += attribute(4, _be32.pack(kind)) + attribute(5, _be32.pack(sum(field.padded_bytes for field in fields)))
    return _request(_NEW_SET, body + attribute(10, _be32.pack(1)), _CREATE)  # an id is demanded, but nothing uses it


def add_owned_table(name: str) -> bytes:
    """A table that nobody but the socket which asks for it may change, and that goes when this is closed."""
    return _request(_NEW_TABLE, _names((1, name)) + attribute(2, _be32.pack(_OWNED)), _CREATE)


def add_forward_chain(table: str, name: str, priority: int) -> bytes:
    """A base chain in the forward hook."""
    hook = attribute(1, _be32.pack(_FORWARD_HOOK)) + attribute(2, struct.pack("!i", priority))
    body = _names((1, table), (3, name)) + attribute(4 | _NESTED, hook) + _names((7, "filter"))
    return _request(_NEW_CHAIN, body, _CREATE)


def add_mark(table: str, name: str, bits: int) -> bytes:
    """A rule at the end of chain `name`: sets `bits` in the packet mark."""
    register = _be32.pack(1)
    mask, bits_set = (attribute(1, struct.pack("=I", value)) for value in (~bits & 0xFFFFFFFF, bits))
    key_ = attribute(2, _be32.pack(_META_MARK))
    load = _expression("meta", key_ + attribute(1, register))
    change = attribute(1, register) + attribute(2, register) + attribute(3, _be32.pack(4))
    change += attribute(4 | _NESTED, mask) + attribute(5 | _NESTED, bits_set)
    store = _expression("meta", key_ + attribute(3, register))
    return _add_rule(table, name, load + _expression("bitwise", change) + store)


def delete_set(table: str, name: str) -> bytes:
    """Away with the set; EBUSY when a rule uses it."""
    return _request(_DELETE_SET, _names((1, table), (2, name)))


def flush_set(table: str, name: str) -> bytes:
    """Away with all its elements."""
    return _request(_DELETE_ELEMENTS, _names((1, table), (2, name)))


def flush_chain(table: str, name: str) -> bytes:
    """Away with all its rules."""
    return _request(_DELETE_RULE, _names((1, table), (2, name)))


def delete_chain(table: str, name: str) -> bytes:
    """Away with the chain; EBUSY when a rule jumps to it."""
    return _request(_DELETE_CHAIN, _names((1, table), (3, name)))


def add_jump(table: str, name: str, target: str) -> bytes:
    """A rule at the end of chain `name`: everything goes through chain `target`."""
    verdict = attribute(1, struct.pack("!i", _JUMP)) + _names((2, target))
    data = attribute(1, bytes(4)) + attribute(2 | _NESTED, attribute(2 | _NESTED, verdict))
    return _add_rule(table, name, _expression("immediate", data))


def add_elements(table: str, name: str, keys: Iterable[bytes], *, timeout_ms: int | None = None) -> list[bytes]:
    """Elements of a set without intervals. One that is there already stays, on newer kernels with the new timeout."""
    more = b"" if timeout_ms is None else attribute(_E_TIMEOUT, _be64.pack(timeout_ms))
    return _elements(_NEW_ELEMENTS, table, name, (_element(one, more) for one in keys))


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> list[bytes]:
    """ENOENT when one is not there, because its time was over, say."""
    return _elements(_DELETE_ELEMENTS, table, name, (_element(one) for one in keys))


def add_intervals(table: str, name: str, intervals: Iterable[Interval], *, version: int) -> list[bytes]:
    """Intervals, which must overlap neither each other nor what the set has (EEXIST); `version`: of IP, 4 or 6."""
    return _elements(_NEW_ELEMENTS, table, name, _intervals(intervals, version))


def delete_intervals(table: str, name: str, intervals: Iterable[Interval], *, version: int) -> list[bytes]:
    """Intervals with exactly these ends; ENOENT when there is none."""
    return _elements(_DELETE_ELEMENTS, table, name, _intervals(intervals, version))


def _request(type_: int, body: bytes, flags: int = 0) -> bytes:
    return message(SUBSYSTEM, type_, 0, body, flags=flags | NLM_F_ACK, family=_INET)


def _names(*names: tuple[int, str]) -> bytes:
    return b"".join([attribute(type_, name.encode() + b"\0") for type_, name in names])


def _expression(name: str, data: bytes) -> bytes:
    return attribute(1 | _NESTED, _names((1, name)) + attribute(2 | _NESTED, data))


def _add_rule(table: str, name: str, expressions: bytes) -> bytes:
    return _request(_NEW_RULE, _names((1, table), (2, name)) + attribute(4 | _NESTED, expressions), _CREATE | _APPEND)


def _element(value: bytes, more: bytes = b"") -> bytes:
    return attribute(1 | _NESTED, attribute(_E_KEY | _NESTED, attribute(1, value)) + more)


_END_FLAG = attribute(_E_FLAGS, _be32.pack(1))
_IPV4_START, _IPV4_END = _element(bytes(4))[:12], _element(bytes(4), _END_FLAG)[:12]
_IPV6_START, _IPV6_END = _element(bytes(16))[:12], _element(bytes(16), _END_FLAG)[:12]


def _intervals(intervals: Iterable[Interval], version: int) -> Iterable[bytes]:
    """One interval a piece. Nothing is behind the highest address, so that an interval up to there has a start only."""
    if version == 4:
        pack = _ipv4_interval.pack
        return (
            pack(_IPV4_START, first, _IPV4_END, last + 1, _END_FLAG)
            if last < 0xFFFFFFFF
            else _IPV4_START + _be32.pack(first)
            for first, last in intervals
        )
    highest = (1 << 128) - 1
    return (
        _IPV6_START + first.to_bytes(16) + (_IPV6_END + (last + 1).to_bytes(16) + _END_FLAG if last < highest else b"")
        for first, last in intervals
    )


def _elements(type_: int, table: str, name: str, elements: Iterable[bytes]) -> list[bytes]:
    """Messages with as many elements each as there is room for."""
    names = _names((1, table), (2, name))
    flags = _CREATE if type_ == _NEW_ELEMENTS else 0
    messages = []
    source = iter(elements)
    while some := list(islice(source, _ELEMENTS_BYTES // _LARGEST_ELEMENT_BYTES)):
        messages.append(_request(type_, names + attribute(3 | _NESTED, b"".join(some)), flags))
    return messages
