from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.messages import (
    LIMIT_BYTES,
    Accepted,
    Ack,
    Hello,
    Message,
    Ping,
    Pong,
    ProxyList,
    ProxyListWanted,
    Record,
    RecordError,
    Replaced,
    decode,
    encode,
)

RECORDS: list[Record] = [
    Hello("alice"),
    Hello("alice", 2**62),
    Replaced("alice"),
    Message("alice", "bob", 2**63 - 1, 7, 3, 1.5, b"\x00\xff body"),
    Accepted(7),
    Ack("alice", "bob", 5, 7),
    Ping(1),
    Pong(1),
    ProxyListWanted(7),
    ProxyList(b"signature {}"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_there_and_back(record: Record) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_no_prefix_and_no_extension_of_a_record_is_one(record: Record) -> None:
    payload = encode(record)
    for length in range(len(payload)):
        with pytest.raises(RecordError):
            decode(payload[:length])
    with pytest.raises(RecordError):
        decode(payload + b"\x00")


@pytest.mark.parametrize(
    "payload",
    [
        msgspec.msgpack.encode(["unknown", 1]),
        msgspec.msgpack.encode(["ack", "alice"]),
        msgspec.msgpack.encode(["ack", "alice", "bob", 2**63, 1]),
        b"\x92\xa4ping\xa1x",
        b"\x93\xa5hello\xa1\xff",
    ],
    ids=["unknown kind", "field missing", "session too large", "wrong type", "no UTF-8"],
)
def test_what_is_no_record(payload: bytes) -> None:
    with pytest.raises(RecordError, match="not a record"):
        decode(payload)


def test_a_record_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(RecordError, match="over the limit"):
        decode(bytes(LIMIT_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_an_error(payload: bytes) -> None:
    try:
        record = decode(payload)
    except RecordError:
        return
    assert decode(encode(record)) == record
