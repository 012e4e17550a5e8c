"""SOCKS5: what it answers, and that segmentation makes no difference."""

from __future__ import annotations

import pytest

from proxy.handshake import CredentialsPresented, Handshake, Refused, Requested
from proxy.wire import Address, Command, ReplyCode
from tests.unit.proxy.handshake.driver import BOUND, PEER, check_every_cut, drive, refusal

NO_AUTH = b"\x05\x01\x00"
ONLY_PASSWORD = b"\x05\x01\x02"
USER_PASSWORD = b"\x05\x02\x00\x02"
ANNA = b"\x01\x04anna\x06secret"
CONNECT = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"
TARGET = Address.of("127.0.0.1", 80)
REQUESTED = Requested(Command.CONNECT, TARGET, "socks5")
FULL_REPLY = b"\x00\x01" + bytes(6)
SUCCESS = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x9c\x40"
SUCCESS_WITH_PEER = b"\x05\x00\x00\x01\xc0\x00\x02\x07\xc3\x50"


def test_no_auth() -> None:
    assert drive([NO_AUTH, CONNECT]) == ([REQUESTED], b"\x05\x00" + SUCCESS, b"")


def test_user_and_password() -> None:
    events, sent, _ = drive([USER_PASSWORD, ANNA, CONNECT], authenticate=True)
    assert events == [CredentialsPresented(b"anna", b"secret"), REQUESTED]
    assert sent == b"\x05\x02" + b"\x01\x00" + SUCCESS


def test_without_authentication_any_user_and_password_will_do_where_a_client_offers_nothing_else() -> None:
    for credentials in (ANNA, b"\x01\x00\x00", b"\x01\x04anna\x05wrong"):
        events, sent, early = check_every_cut(ONLY_PASSWORD + credentials + CONNECT + b"early")
        assert (events, sent, early) == ([REQUESTED], b"\x05\x02\x01\x00" + SUCCESS, b"early")


def test_no_auth_is_preferred_where_it_is_offered_in_any_place() -> None:
    for greeting in (b"\x05\x02\x00\x02", b"\x05\x02\x02\x00", b"\x05\x03\x01\x02\x00"):
        assert drive([greeting]).sent == b"\x05\x00"


def test_the_whole_handshake_in_one_segment_with_early_data_behind_it() -> None:
    events, sent, early = drive([USER_PASSWORD + ANNA + CONNECT + b"GET / HTTP/1.1\r\n"], authenticate=True)
    assert events[-1] == REQUESTED
    assert sent == b"\x05\x02\x01\x00" + SUCCESS
    assert early == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("command", [1, 2, 3])
@pytest.mark.parametrize("authenticate", [False, True])
def test_every_cut(authenticate: bool, command: int) -> None:
    negotiation = USER_PASSWORD + ANNA if authenticate else NO_AUTH
    driven = check_every_cut(
        negotiation + b"\x05" + bytes((command,)) + CONNECT[2:] + b"early", authenticate=authenticate
    )
    assert driven.events[-1] == Requested(Command(command), TARGET, "socks5")
    assert driven.early == b"early"


@pytest.mark.parametrize(
    ("greeting", "authenticate"),
    [(b"\x05\x00", False), (b"\x05\x01\x01", False), (NO_AUTH, True), (b"\x05\x02\x01\x80", True)],
)
def test_no_acceptable_method(greeting: bytes, authenticate: bool) -> None:
    events, sent, _ = drive([greeting, CONNECT], authenticate=authenticate)
    assert events == [Refused("no acceptable authentication method", anonymous=True)]
    assert sent == b"\x05\xff"


def test_wrong_password() -> None:
    events, sent, _ = drive([USER_PASSWORD, b"\x01\x04anna\x05wrong", CONNECT], authenticate=True)
    assert events[1:] == [Refused("wrong user or password")]
    assert sent == b"\x05\x02\x01\x01"


def test_empty_user_and_password_are_legal_on_the_wire() -> None:
    assert drive([USER_PASSWORD, b"\x01\x00\x00"], authenticate=True).events[0] == CredentialsPresented(b"", b"")


@pytest.mark.parametrize("authenticate", [False, True])
def test_wrong_version_of_the_sub_negotiation(authenticate: bool) -> None:
    driven = drive([ONLY_PASSWORD, b"\x05\x00\x00"], authenticate=authenticate)
    assert driven.sent == b"\x05\x02\x01\x01"
    assert refusal(driven).reply is None


def test_bind_is_answered_twice() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + b"\x05\x02" + CONNECT[2:])
    assert handshake.next_event() == Requested(Command.BIND, TARGET, "socks5")
    assert handshake.data_to_send() == b"\x05\x00"
    handshake.listening(BOUND)
    assert handshake.data_to_send() == SUCCESS
    assert handshake.next_event() is None
    handshake.succeed(PEER)
    assert handshake.data_to_send() == SUCCESS_WITH_PEER


@pytest.mark.parametrize("listens", [False, True])
def test_bind_can_fail_before_and_after_its_first_reply(listens: bool) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + b"\x05\x02" + CONNECT[2:])
    handshake.next_event()
    if listens:
        handshake.listening(BOUND)
    handshake.data_to_send()
    handshake.fail(ReplyCode.HOST_UNREACHABLE)
    assert handshake.data_to_send() == b"\x05\x04" + FULL_REPLY


def test_udp_associate_tells_the_address_that_takes_datagrams() -> None:
    events, sent, _ = drive([NO_AUTH, b"\x05\x03\x00\x01" + bytes(6)])
    assert events == [Requested(Command.UDP_ASSOCIATE, Address.of("0.0.0.0", 0), "socks5")]
    assert sent == b"\x05\x00" + SUCCESS


def test_unknown_commands() -> None:
    driven = drive([NO_AUTH, b"\x05\x09" + CONNECT[2:]])
    assert refusal(driven).reply is ReplyCode.COMMAND_NOT_SUPPORTED
    assert driven.sent == b"\x05\x00\x05\x07" + FULL_REPLY


def test_unknown_address_type() -> None:
    driven = drive([NO_AUTH, b"\x05\x01\x00\x02"])
    assert refusal(driven).reply is ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
    assert driven.sent == b"\x05\x00\x05\x08" + FULL_REPLY


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
    assert drive([NO_AUTH, domain_request(domain)]).events == [Requested(Command.CONNECT, target, "socks5")]


def test_control_characters_in_a_domain_are_refused() -> None:
    driven = drive([NO_AUTH, domain_request(b"a\r\nb")])
    assert refusal(driven).reply is ReplyCode.GENERAL_FAILURE
    assert driven.sent == b"\x05\x00\x05\x01" + FULL_REPLY


def test_a_failed_connection() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + CONNECT)
    assert handshake.next_event() == REQUESTED
    assert handshake.next_event() is None
    handshake.fail(ReplyCode.CONNECTION_REFUSED)
    assert handshake.data_to_send() == b"\x05\x00\x05\x05" + FULL_REPLY


@pytest.mark.parametrize("command", [1, 3])
def test_only_bind_has_a_first_reply_and_it_is_not_left_out(command: int) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + b"\x05" + bytes((command,)) + CONNECT[2:])
    handshake.next_event()
    with pytest.raises(KeyError):
        handshake.listening(BOUND)
    handshake = Handshake(authenticate=False)
    handshake.receive(NO_AUTH + b"\x05\x02" + CONNECT[2:])
    handshake.next_event()
    with pytest.raises(KeyError):
        handshake.succeed(BOUND)
