"""The server's handshake: what it answers, and that segmentation makes no difference."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake import (
    ConnectRequested,
    CredentialsPresented,
    Event,
    Handshake,
    Refused,
    State,
)
from proxy.wire import Address, ReplyCode

NO_AUTH = b"\x05\x01\x00"
USER_PASSWORD = b"\x05\x02\x00\x02"
ANNA = b"\x01\x04anna\x06secret"
CONNECT = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"
TARGET = Address.of("127.0.0.1", 80)
BOUND = Address.of("127.0.0.1", 40000)
FULL_REPLY = b"\x00\x01" + bytes(6)


def drive(segments: Iterable[bytes], *, authenticate: bool = False) -> tuple[list[Event], bytes, bytes]:
    """Feed segments as a driver does: verdict by password, every target connects. Events, answers, early data."""
    handshake = Handshake(authenticate=authenticate)
    events: list[Event] = []
    sent, early = b"", b""
    for segment in segments:
        handshake.receive(segment)
        while (event := handshake.next_event()) is not None:
            events.append(event)
            match event:
                case CredentialsPresented(_, password):
                    if (refused := handshake.verdict(password == b"secret")) is not None:
                        events.append(refused)
                case ConnectRequested():
                    handshake.succeed(BOUND)
        sent += handshake.data_to_send()
    if handshake.state is State.DONE:
        early = handshake.early_data()
        assert handshake.early_data() == b""
    assert handshake.data_to_send() == b""
    return events, sent, early


SUCCESS = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x9c\x40"


def test_no_auth() -> None:
    events, sent, early = drive([NO_AUTH, CONNECT])
    assert events == [ConnectRequested(TARGET)]
    assert sent == b"\x05\x00" + SUCCESS
    assert early == b""


def test_user_and_password() -> None:
    events, sent, _ = drive([USER_PASSWORD, ANNA, CONNECT], authenticate=True)
    assert events == [CredentialsPresented(b"anna", b"secret"), ConnectRequested(TARGET)]
    assert sent == b"\x05\x02" + b"\x01\x00" + SUCCESS


def test_the_whole_handshake_in_one_segment_with_early_data_behind_it() -> None:
    events, sent, early = drive([USER_PASSWORD + ANNA + CONNECT + b"GET / HTTP/1.1\r\n"], authenticate=True)
    assert events[-1] == ConnectRequested(TARGET)
    assert sent == b"\x05\x02\x01\x00" + SUCCESS
    assert early == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("authenticate", [False, True])
def test_every_split_point(authenticate: bool) -> None:
    stream = (USER_PASSWORD + ANNA if authenticate else NO_AUTH) + CONNECT + b"early"
    whole = drive([stream], authenticate=authenticate)
    for index in range(len(stream) + 1):
        assert drive([stream[:index], stream[index:]], authenticate=authenticate) == whole
    assert drive([bytes((value,)) for value in stream], authenticate=authenticate) == whole


@given(
    st.sampled_from([NO_AUTH, USER_PASSWORD, b"\x05\x00", b"\x04\x01", b""]),
    st.sampled_from([ANNA, b"\x01\x04anna\x03bad", b"\x05", b"\x01\x00\x00", b""]),
    st.one_of(
        st.sampled_from([CONNECT, b"\x05\x02" + CONNECT[2:], b"\x05\x09" + CONNECT[2:], b"\x05\x01\x00\x07", b"\x09"]),
        st.binary(max_size=20),
    ),
    st.booleans(),
    st.data(),
)
def test_any_segmentation_of_anything_gives_the_same(
    greeting: bytes, credentials: bytes, request: bytes, authenticate: bool, data: st.DataObject
) -> None:
    stream = greeting + credentials + request
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    segments = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert drive(segments, authenticate=authenticate) == drive([stream], authenticate=authenticate)


@pytest.mark.parametrize(
    ("greeting", "authenticate"),
    [(b"\x05\x00", False), (b"\x05\x01\x02", False), (NO_AUTH, True), (b"\x05\x02\x01\x80", True)],
)
def test_no_acceptable_method(greeting: bytes, authenticate: bool) -> None:
    events, sent, _ = drive([greeting], authenticate=authenticate)
    assert events == [Refused("no acceptable authentication method")]
    assert sent == b"\x05\xff"


def test_wrong_password() -> None:
    events, sent, _ = drive([USER_PASSWORD, b"\x01\x04anna\x05wrong", CONNECT], authenticate=True)
    assert events[1:] == [Refused("wrong user or password")]
    assert sent == b"\x05\x02\x01\x01"


def test_empty_user_and_password_are_legal_on_the_wire() -> None:
    events, _, _ = drive([USER_PASSWORD, b"\x01\x00\x00"], authenticate=True)
    assert events[0] == CredentialsPresented(b"", b"")


def test_wrong_version_of_the_sub_negotiation() -> None:
    _, sent, _ = drive([USER_PASSWORD, b"\x05\x00\x00"], authenticate=True)
    assert sent == b"\x05\x02\x01\x01"


def test_socks4_is_answered_with_nothing() -> None:
    events, sent, _ = drive([b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"])
    assert events == [Refused("greeting: version 4, expected 5")]
    assert sent == b""


@pytest.mark.parametrize("command", [2, 3])
def test_known_commands_that_are_not_supported(command: int) -> None:
    events, sent, _ = drive([NO_AUTH, b"\x05" + bytes((command,)) + CONNECT[2:]])
    assert isinstance(events[0], Refused)
    assert (events[0].reply, events[0].target) == (ReplyCode.COMMAND_NOT_SUPPORTED, TARGET)
    assert sent == b"\x05\x00\x05\x07" + FULL_REPLY


def test_unknown_address_type() -> None:
    events, sent, _ = drive([NO_AUTH, b"\x05\x01\x00\x02"])
    assert isinstance(events[0], Refused)
    assert events[0].reply is ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
    assert sent == b"\x05\x00\x05\x08" + FULL_REPLY


def domain_request(domain: bytes) -> bytes:
    return b"\x05\x01\x00\x03" + bytes((len(domain),)) + domain + b"\x00\x50"


@pytest.mark.parametrize(
    ("domain", "target"),
    [
        (b"x" * 255, Address.of("x" * 255, 80)),
        (b"::1", Address.of("::1", 80)),
        (b"[::1]", Address.of("::1", 80)),
        (b"127.0.0.1", TARGET),
    ],
)
def test_domains_and_ip_literals_in_their_place(domain: bytes, target: Address) -> None:
    events, _, _ = drive([NO_AUTH, domain_request(domain)])
    assert events == [ConnectRequested(target)]


def test_control_characters_in_a_domain_are_refused() -> None:
    events, sent, _ = drive([NO_AUTH, domain_request(b"a\r\nb")])
    assert isinstance(events[0], Refused)
    assert events[0].reply is ReplyCode.GENERAL_FAILURE
    assert sent == b"\x05\x00\x05\x01" + FULL_REPLY


def test_a_failed_connection() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + CONNECT)
    assert handshake.next_event() == ConnectRequested(TARGET)
    assert handshake.next_event() is None
    handshake.fail(ReplyCode.CONNECTION_REFUSED)
    assert handshake.data_to_send() == b"\x05\x00\x05\x05" + FULL_REPLY


def test_a_step_out_of_turn_is_the_drivers_mistake() -> None:
    with pytest.raises(KeyError):
        Handshake(authenticate=False).succeed(BOUND)


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(CredentialsPresented(b"anna", b"secret"))
