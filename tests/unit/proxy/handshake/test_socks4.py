"""SOCKS4 and 4a: what it answers, and that segmentation makes no difference."""

from __future__ import annotations

import pytest

from proxy.handshake import Handshake, Requested
from proxy.wire import Address, Command, ReplyCode
from tests.unit.proxy.handshake.driver import BOUND, PEER, check_every_cut, drive, refusal

CONNECT = b"\x04\x01\x00\x50\x7f\x00\x00\x01anna\x00"
BIND = b"\x04\x02" + CONNECT[2:]
WITH_DOMAIN = b"\x04\x01\x00\x50\x00\x00\x00\x07anna\x00"
TARGET = Address.of("127.0.0.1", 80)
GRANTED = b"\x00\x5a\x9c\x40\x7f\x00\x00\x01"
GRANTED_WITH_PEER = b"\x00\x5a\xc3\x50\xc0\x00\x02\x07"
REJECTED = b"\x00\x5b" + bytes(6)


def test_connect_to_an_address() -> None:
    expected = Requested(Command.CONNECT, TARGET, "socks4")
    assert check_every_cut(CONNECT + b"early") == ([expected], GRANTED, b"early")


@pytest.mark.parametrize("host", ["a.example", "x" * 255, "::1", "192.0.2.1"])
def test_connect_to_a_domain_and_to_ip_literals_in_its_place(host: str) -> None:
    expected = Requested(Command.CONNECT, Address.of(host, 80), "socks4")
    assert check_every_cut(WITH_DOMAIN + host.encode() + b"\x00early") == ([expected], GRANTED, b"early")


def test_bind_is_answered_twice() -> None:
    expected = Requested(Command.BIND, TARGET, "socks4")
    assert check_every_cut(BIND) == ([expected], GRANTED + GRANTED_WITH_PEER, b"")


@pytest.mark.parametrize("listens", [False, True])
def test_bind_can_fail_before_and_after_its_first_reply(listens: bool) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(BIND)
    handshake.next_event()
    if listens:
        handshake.listening(BOUND)
        assert handshake.data_to_send() == GRANTED
    handshake.fail(ReplyCode.HOST_UNREACHABLE)
    assert handshake.data_to_send() == REJECTED


@pytest.mark.parametrize("code", [code for code in ReplyCode if code is not ReplyCode.SUCCEEDED])
def test_whatever_fails_is_rejected(code: ReplyCode) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(CONNECT)
    handshake.next_event()
    handshake.fail(code)
    assert handshake.data_to_send() == REJECTED


def test_a_bound_ipv6_address_has_no_room() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(CONNECT)
    handshake.next_event()
    handshake.succeed(Address.of("2001:db8::1", 80))
    assert handshake.data_to_send() == b"\x00\x5a\x00\x50" + bytes(4)


def test_with_authentication_nobody_gets_in() -> None:
    driven = drive([CONNECT + b"early"], authenticate=True)
    assert driven.sent == b"\x00\x5d" + bytes(6)
    assert "no password" in refusal(driven).reason
    assert (refusal(driven).reply, refusal(driven).target) == (None, TARGET)


@pytest.mark.parametrize(
    "request_",
    [b"\x04\x09" + CONNECT[2:], WITH_DOMAIN + b"a\r\nb\x00", WITH_DOMAIN + b"\x00", CONNECT[:8] + b"u" * 256],
)
def test_what_is_no_request(request_: bytes) -> None:
    driven = check_every_cut(request_)
    assert driven.sent == REJECTED
    assert refusal(driven).reply is ReplyCode.GENERAL_FAILURE


def test_a_step_out_of_turn_is_the_drivers_mistake() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(CONNECT)
    with pytest.raises(KeyError):
        handshake.succeed(BOUND)
    handshake.next_event()
    with pytest.raises(KeyError):
        handshake.verdict(True)
    with pytest.raises(KeyError):
        handshake.listening(PEER)
