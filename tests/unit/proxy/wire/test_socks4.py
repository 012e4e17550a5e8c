"""SOCKS4 and 4a: the bytes of both messages, whole and cut, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import (
    Address,
    AddressType,
    Fault,
    ProtocolError,
    Socks4Code,
    Socks4Command,
    Socks4Reply,
    Socks4Request,
    read_socks4_reply,
    read_socks4_request,
    write_socks4_reply,
    write_socks4_request,
)
from proxy.wire.socks4 import SOCKS4_REPLY_LIMIT_BYTES, SOCKS4_REQUEST_LIMIT_BYTES
from tests.unit.proxy.wire.contract import Reader, check_any_bytes, check_message, clean_addresses, ipv4_addresses

REJECTED = b"\x00\x5b" + bytes(6)
WITH_DOMAIN = b"\x04\x01\x00\x50\x00\x00\x00\x01"
users = st.binary(max_size=255).filter(lambda user: 0 not in user)
requests = st.builds(Socks4Request, st.sampled_from(Socks4Command), clean_addresses, users)


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert [int(command) for command in Socks4Command] == [1, 2]
    assert [int(code) for code in Socks4Code] == [90, 91, 92, 93]


def test_bytes_of_every_message() -> None:
    connect, bind = Socks4Command.CONNECT, Socks4Command.BIND
    plain = Socks4Request(connect, Address.of("192.0.2.1", 443), b"anna")
    assert write_socks4_request(plain) == b"\x04\x01\x01\xbb\xc0\x00\x02\x01anna\x00"
    assert write_socks4_request(Socks4Request(bind, Address.of("a.b", 80))) == (
        b"\x04\x02\x00\x50\x00\x00\x00\x01\x00a.b\x00"
    )
    assert write_socks4_reply(Socks4Reply(Socks4Code.GRANTED, Address.of("192.0.2.1", 443))) == (
        b"\x00\x5a\x01\xbb\xc0\x00\x02\x01"
    )
    assert write_socks4_reply(Socks4Reply(Socks4Code.REJECTED)) == REJECTED


def test_a_reply_has_no_room_for_ipv6() -> None:
    reply = write_socks4_reply(Socks4Reply(Socks4Code.GRANTED, Address.of("2001:db8::1", 443)))
    assert reply == b"\x00\x5a\x01\xbb" + bytes(4)


@given(requests, st.binary(max_size=20))
def test_requests_whole_byte_by_byte_and_with_bytes_behind(request: Socks4Request, behind: bytes) -> None:
    check_message(read_socks4_request, write_socks4_request(request), request, SOCKS4_REQUEST_LIMIT_BYTES, behind)


@given(st.builds(Socks4Reply, st.sampled_from(Socks4Code), ipv4_addresses), st.binary(max_size=20))
def test_replies_whole_byte_by_byte_and_with_bytes_behind(reply: Socks4Reply, behind: bytes) -> None:
    check_message(read_socks4_reply, write_socks4_reply(reply), reply, SOCKS4_REPLY_LIMIT_BYTES, behind)


@given(
    st.sampled_from([(read_socks4_request, SOCKS4_REQUEST_LIMIT_BYTES), (read_socks4_reply, SOCKS4_REPLY_LIMIT_BYTES)]),
    st.one_of(st.binary(), st.sampled_from([WITH_DOMAIN, WITH_DOMAIN + b"\x00", b"\x04\x09", b"\x00\x5a"])),
    st.binary(),
    st.booleans(),
)
def test_any_bytes_give_a_message_or_a_remote_error_and_never_want_more_than_the_limit(
    reader: tuple[Reader, int], front: bytes, rest: bytes, full: bool
) -> None:
    read, limit_bytes = reader
    check_any_bytes(read, front + rest, limit_bytes, full=full)


def test_user_and_domain_of_255_bytes_are_the_most() -> None:
    longest = WITH_DOMAIN + b"u" * 255 + b"\x00" + b"d" * 255 + b"\x00"
    request = read_socks4_request(bytearray(longest))
    assert request is not None
    assert (request.user, request.target.host) == (b"u" * 255, "d" * 255)
    assert len(longest) == SOCKS4_REQUEST_LIMIT_BYTES


@pytest.mark.parametrize(
    ("host", "target"),
    [
        (b"127.0.0.1", Address.of("127.0.0.1", 80)),
        (b"::1", Address.of("::1", 80)),
        (b"[::1]", Address.of("::1", 80)),
        (b"a.example", Address(AddressType.DOMAIN, "a.example", 80)),
    ],
)
def test_domains_and_ip_literals_in_their_place(host: bytes, target: Address) -> None:
    request = read_socks4_request(bytearray(WITH_DOMAIN + b"\x00" + host + b"\x00"))
    assert request == Socks4Request(Socks4Command.CONNECT, target)


def test_0_0_0_0_is_an_address_and_no_domain_follows() -> None:
    buffer = bytearray(b"\x04\x02\x00\x00\x00\x00\x00\x00\x00behind")
    assert read_socks4_request(buffer) == Socks4Request(Socks4Command.BIND, Address.of("0.0.0.0", 0))
    assert buffer == b"behind"


@pytest.mark.parametrize(
    "data",
    [
        b"\x05",
        b"\x04\x09\x00\x50\x7f\x00\x00\x01\x00",
        b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"u" * 256,
        WITH_DOMAIN + b"\x00" + b"d" * 256,
        WITH_DOMAIN + b"\x00\x00",
        WITH_DOMAIN + b"\x00a\r\nb\x00",
        WITH_DOMAIN + b"\x00\xff\x00",
    ],
)
def test_what_is_no_request_is_rejected_and_not_repeated(data: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        read_socks4_request(bytearray(data))
    assert (raised.value.fault, raised.value.reply) == (Fault.REMOTE, REJECTED)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("data", [b"\x04", b"\x00\x00" + bytes(6)])
def test_what_is_no_reply_is_answered_with_nothing(data: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        read_socks4_reply(bytearray(data))
    assert raised.value.reply == b""


@pytest.mark.parametrize(
    "request_",
    [
        Socks4Request(Socks4Command.CONNECT, Address.of("192.0.2.1", 1), b"u" * 256),
        Socks4Request(Socks4Command.CONNECT, Address.of("192.0.2.1", 1), b"a\x00b"),
        Socks4Request(Socks4Command.CONNECT, Address(AddressType.DOMAIN, "d" * 256, 1)),
        Socks4Request(Socks4Command.CONNECT, Address(AddressType.DOMAIN, "a\x00b", 1)),
        Socks4Request(Socks4Command.CONNECT, Address(AddressType.IPV4, "1.2.3", 1)),
        Socks4Request(Socks4Command.CONNECT, Address.of("192.0.2.1", 65536)),
    ],
)
def test_what_the_format_cannot_carry_is_our_fault(request_: Socks4Request) -> None:
    with pytest.raises(ProtocolError) as raised:
        write_socks4_request(request_)
    assert raised.value.fault is Fault.LOCAL
