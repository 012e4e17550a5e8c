"""Every message whole, byte by byte and with bytes behind it; and what is no message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import (
    AuthResult,
    Command,
    Credentials,
    Greeting,
    MethodChoice,
    ProtocolError,
    Reply,
    ReplyCode,
    Request,
    readers,
    write_auth_result,
    write_credentials,
    write_greeting,
    write_method_choice,
    write_reply,
    write_request,
)
from tests.unit.proxy.wire.contract import Reader, addresses, check_any_bytes, check_message

byte = st.integers(0, 255)
cases: st.SearchStrategy[tuple[Reader, bytes, Any, int]] = st.one_of(
    st.lists(byte, max_size=255).map(
        lambda methods: (
            readers.read_greeting,
            write_greeting(Greeting(tuple(methods))),
            Greeting(tuple(methods)),
            readers.GREETING_LIMIT_BYTES,
        )
    ),
    st.builds(MethodChoice, byte).map(
        lambda m: (readers.read_method_choice, write_method_choice(m), m, readers.METHOD_CHOICE_LIMIT_BYTES)
    ),
    st.builds(Credentials, st.binary(max_size=255), st.binary(max_size=255)).map(
        lambda m: (readers.read_credentials, write_credentials(m), m, readers.CREDENTIALS_LIMIT_BYTES)
    ),
    st.builds(AuthResult, byte).map(
        lambda m: (readers.read_auth_result, write_auth_result(m), m, readers.AUTH_RESULT_LIMIT_BYTES)
    ),
    st.builds(Request, st.sampled_from(Command), addresses).map(
        lambda m: (readers.read_request, write_request(m), m, readers.REQUEST_LIMIT_BYTES)
    ),
    st.builds(Reply, st.sampled_from(ReplyCode), addresses).map(
        lambda m: (readers.read_reply, write_reply(m), m, readers.REPLY_LIMIT_BYTES)
    ),
)


@given(cases, st.binary(max_size=20))
def test_whole_byte_by_byte_and_with_bytes_behind(case: tuple[Reader, bytes, Any, int], behind: bytes) -> None:
    read, data, message, limit_bytes = case
    check_message(read, data, message, limit_bytes, behind)


@given(
    st.sampled_from(
        [
            (readers.read_greeting, readers.GREETING_LIMIT_BYTES),
            (readers.read_method_choice, readers.METHOD_CHOICE_LIMIT_BYTES),
            (readers.read_credentials, readers.CREDENTIALS_LIMIT_BYTES),
            (readers.read_auth_result, readers.AUTH_RESULT_LIMIT_BYTES),
            (readers.read_request, readers.REQUEST_LIMIT_BYTES),
            (readers.read_reply, readers.REPLY_LIMIT_BYTES),
        ]
    ),
    st.one_of(st.binary(), st.binary().map(lambda data: b"\x05\x01\x00\x03" + data), st.just(b"\x01")),
    st.booleans(),
)
def test_any_bytes_give_a_message_or_a_remote_error_and_never_want_more_than_the_limit(
    reader: tuple[Reader, int], data: bytes, full: bool
) -> None:
    read, limit_bytes = reader
    check_any_bytes(read, data, limit_bytes, full=full)


GENERAL_FAILURE = b"\x05\x01\x00\x01" + bytes(6)


@pytest.mark.parametrize(
    ("read", "data", "reply"),
    [
        (readers.read_greeting, b"\x04", b""),
        (readers.read_method_choice, b"\x04", b""),
        (readers.read_credentials, b"\x05", b"\x01\x01"),
        (readers.read_auth_result, b"\x05", b""),
        (readers.read_request, b"\x04", GENERAL_FAILURE),
        (readers.read_request, b"\x05\x01\x00\x02", b"\x05\x08\x00\x01" + bytes(6)),
        (readers.read_request, b"\x05\x00\x00\x01" + bytes(6), b"\x05\x07\x00\x01" + bytes(6)),
        (readers.read_request, b"\x05\x01\x00\x03\x00\x00\x50", GENERAL_FAILURE),
        (readers.read_reply, b"\x04", b""),
        (readers.read_reply, b"\x05\x00\x00\x00", b""),
        (readers.read_reply, b"\x05\x09\x00\x01" + bytes(6), b""),
        (readers.read_reply, b"\x05\x00\x00\x03\x00\x00\x50", b""),
    ],
)
def test_errors_carry_what_to_send(read: Reader, data: bytes, reply: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        read(bytearray(data))
    assert raised.value.reply == reply


@pytest.mark.parametrize(
    "bad", [b"a\r\nb", b"a\x00b", b"a\nb", b"\x7f", b"a b", b"\xff", "\u2028".encode(), b"\x1b[2J"]
)
def test_a_domain_that_could_forge_a_log_line_is_refused_and_not_repeated(bad: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        readers.read_request(bytearray(b"\x05\x01\x00\x03" + bytes((len(bad),)) + bad + b"\x00\x50"))
    assert raised.value.reply == GENERAL_FAILURE
    assert str(raised.value).isprintable()


def test_an_unknown_command_is_judged_when_the_message_is_complete() -> None:
    buffer = bytearray(b"\x05\x09\x00\x01\x7f\x00\x00\x01\x00")
    assert readers.read_request(buffer) is None
    buffer += b"\x50"
    with pytest.raises(ProtocolError):
        readers.read_request(buffer)
    assert not buffer
