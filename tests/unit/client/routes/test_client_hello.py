from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.routes.client_hello import begins_application_data, cut_in_two, in_records, records, server_name_span

NAME = "messenger.example"
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"
APPLICATION_DATA = b"\x17\x03\x03\x00\x02ab"


def real_hello(name: str | None = NAME) -> bytes:
    """What OpenSSL writes first."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def small_hello(extensions: bytes) -> bytes:
    """The least that is a ClientHello, with these extensions."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


HELLO = real_hello()


def test_the_name_of_a_real_hello_is_found() -> None:
    span = server_name_span(HELLO)
    assert span is not None
    assert HELLO[slice(*span)] == NAME.encode()


def test_a_hello_without_a_name() -> None:
    assert server_name_span(real_hello(None)) is None
    assert server_name_span(small_hello(b"")) is None
    assert server_name_span(small_hello(b"\x00\x17\x00\x00")) is None


@pytest.mark.parametrize(
    "extension",
    [
        b"\x00\x00\x00\x00",  # empty, as a server's answer has it
        b"\x00\x00\x00\x06\x00\x04\x07\x00\x01a",  # another type of name
        b"\x00\x00\x00\x06\x00\x04\x00\x00\x09a",  # a name longer than the record
    ],
)
def test_names_that_are_none(extension: bytes) -> None:
    assert server_name_span(small_hello(extension)) is None


def test_the_least_hello() -> None:
    hello = small_hello(b"\x00\x17\x00\x00" + b"\x00\x00\x00\x06\x00\x04\x00\x00\x01a")
    assert server_name_span(hello) == (len(hello) - 1, len(hello))


@pytest.mark.parametrize(
    "record",
    [CHANGE_CIPHER_SPEC, APPLICATION_DATA, b"\x16", HELLO[:-1], b"\x16\x03\x03\x00\x04\x0e\0\0\0"],
)
def test_other_records_are_left_alone(record: bytes) -> None:
    assert server_name_span(record) is None
    assert in_records(record, 3) == record
    assert cut_in_two(record) == (record, b"")


@given(st.binary(max_size=200))
def test_no_bytes_are_too_much(data: bytes) -> None:
    assert server_name_span(b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data) in (None, (48, 48))
    assert b"".join(records(data)) == data


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_no_changed_byte_is_too_much(at: int, value: int) -> None:
    changed = HELLO[:at] + bytes([value]) + HELLO[at + 1 :]
    span = server_name_span(changed)
    assert span is None or 0 < span[0] <= span[1] <= len(changed)
    assert b"".join(cut_in_two(changed)) == changed


@pytest.mark.parametrize("count", range(2, 17))
def test_records_have_no_whole_name_and_make_the_same_message(count: int) -> None:
    cut = list(records(in_records(HELLO, count)))
    assert len(cut) == count
    assert {record[:3] for record in cut} == {HELLO[:3]}
    assert b"".join(record[5:] for record in cut) == HELLO[5:]
    assert all(0 < len(record) - 5 == int.from_bytes(record[3:5], "big") for record in cut)
    assert not any(NAME.encode() in record for record in cut)


def test_a_name_shorter_than_the_records_are_many() -> None:
    assert len(list(records(in_records(real_hello("abc"), 16)))) <= 4


def test_two_segments_have_half_the_name_each() -> None:
    for before in (b"", CHANGE_CIPHER_SPEC):
        first, second = cut_in_two(before + HELLO)
        assert first + second == before + HELLO
        assert first.endswith(b"messenge")
        assert second.startswith(b"r.example")


def test_where_application_data_begins() -> None:
    assert not begins_application_data(CHANGE_CIPHER_SPEC + HELLO)
    assert begins_application_data(CHANGE_CIPHER_SPEC + APPLICATION_DATA)
