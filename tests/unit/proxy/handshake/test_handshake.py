"""One port, several protocols; and that segmentation makes no difference to any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake import Handshake, Refused, Requested
from proxy.wire import Address, Command, ReplyCode
from tests.unit.proxy.handshake.driver import BOUND, check_every_cut, drive

ADDRESS = b"\x01\x7f\x00\x00\x01\x00\x50"
SOCKS5 = b"\x05\x01\x00\x05\x01\x00" + ADDRESS
SOCKS4 = b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"
HTTP = b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"
TARGET = Address.of("127.0.0.1", 80)


@pytest.mark.parametrize(("stream", "protocol"), [(SOCKS5, "socks5"), (SOCKS4, "socks4"), (HTTP, "http")])
def test_the_first_byte_decides(stream: bytes, protocol: str) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(b"")
    assert (handshake.protocol, handshake.next_event()) == ("", None)
    handshake.receive(stream[:1])
    assert handshake.protocol == protocol
    handshake.receive(stream[1:])
    event = handshake.next_event()
    assert isinstance(event, Requested)
    assert (event.command, event.target, event.protocol) == (Command.CONNECT, TARGET, protocol)


@pytest.mark.parametrize(
    ("first", "protocols", "reason"),
    [
        (71, ("socks5",), "version 71, expected 5 (looks like HTTP, which is not among the protocols)"),
        (4, ("socks5", "http"), "version 4, expected 5 or HTTP (looks like SOCKS4, which is not among the protocols)"),
        (5, ("http",), "version 5, expected HTTP (looks like SOCKS5, which is not among the protocols)"),
        (22, ("socks4", "socks5"), "version 22, expected 5 or 4 (looks like TLS, which this port does not speak)"),
        (0, ("socks5", "socks4", "http"), "version 0, expected 5 or 4 or HTTP"),
        (103, (), "version 103, expected nothing"),
    ],
)
def test_what_is_not_served_is_answered_with_nothing(first: int, protocols: tuple[str, ...], reason: str) -> None:
    handshake = Handshake(authenticate=False, protocols=frozenset(protocols))
    handshake.receive(bytes((first,)) + b"behind")
    assert handshake.next_event() == Refused(reason)
    assert handshake.next_event() is None
    assert (handshake.protocol, handshake.data_to_send()) == ("", b"")


@given(
    st.sampled_from([b"\x05\x01\x00", b"\x05\x02\x00\x02", b"\x05\x01\x02", b"\x05\x00", b"\x04", b"\x16", b""]),
    st.sampled_from([b"\x01\x04anna\x06secret", b"\x01\x04anna\x03bad", b"\x05", b"\x01\x00\x00", b""]),
    st.one_of(
        st.sampled_from([b"\x05\x01\x00" + ADDRESS, b"\x05\x02\x00" + ADDRESS, b"\x05\x03\x00" + ADDRESS]),
        st.sampled_from([b"\x05\x09\x00" + ADDRESS, b"\x05\x01\x00\x07", b"\x09"]),
        st.binary(max_size=20),
    ),
    st.booleans(),
    st.data(),
)
def test_any_segmentation_of_any_socks5_gives_the_same(
    greeting: bytes, credentials: bytes, request: bytes, authenticate: bool, data: st.DataObject
) -> None:
    check_some_cuts(greeting + credentials + request, authenticate, data)


@given(
    st.sampled_from([b"\x04\x01", b"\x04\x02", b"\x04\x09"]),
    st.sampled_from([b"\x00\x50\x7f\x00\x00\x01", b"\x00\x50\x00\x00\x00\x01", b""]),
    st.sampled_from([b"\x00", b"anna\x00", b"u" * 256]),
    st.sampled_from([b"a.example\x00", b"a\nb\x00", b"d" * 256, b""]),
    st.binary(max_size=20),
    st.booleans(),
    st.data(),
)
def test_any_segmentation_of_any_socks4_gives_the_same(
    head: bytes, address: bytes, user: bytes, domain: bytes, rest: bytes, authenticate: bool, data: st.DataObject
) -> None:
    check_some_cuts(head + address + user + domain + rest, authenticate, data)


@given(
    st.sampled_from([b"CONNECT a:1 HTTP/1.1\r\n", b"CONNECT a:0 HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"SSH-2.0\n"]),
    st.sampled_from([b"Host: a\r\n", b""]),
    st.sampled_from(
        [b"Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n", b"Proxy-Authorization: Basic Og==\r\n", b"X: \0\r\n", b""]
    ),
    st.sampled_from([b"\r\n", b" folded\r\n\r\n", b"\n", b"\rX"]),
    st.binary(max_size=20),
    st.booleans(),
    st.data(),
)
def test_any_segmentation_of_any_http_gives_the_same(
    line: bytes, host: bytes, field: bytes, end: bytes, rest: bytes, authenticate: bool, data: st.DataObject
) -> None:
    check_some_cuts(line + host + field + end + rest, authenticate, data)


def check_some_cuts(stream: bytes, authenticate: bool, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    segments = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert drive(segments, authenticate=authenticate) == drive([stream], authenticate=authenticate)


@pytest.mark.parametrize("stream", [SOCKS5, SOCKS4, HTTP])
def test_what_comes_behind_a_request_is_early_data_once(stream: bytes) -> None:
    assert check_every_cut(stream + stream).early == stream


@pytest.mark.parametrize("stream", [SOCKS5, SOCKS4, HTTP])
def test_early_data_that_comes_while_the_driver_connects(stream: bytes) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(stream + b"first ")
    handshake.next_event()
    handshake.receive(b"second")
    assert handshake.next_event() is None
    handshake.succeed(BOUND)
    assert handshake.has_early_data
    assert (handshake.early_data(), handshake.early_data()) == (b"first second", b"")
    assert not handshake.has_early_data


def test_a_step_out_of_turn_is_the_drivers_mistake() -> None:
    for front in (b"", b"\x05", b"\x05\x01\x00", b"\x04", b"C", b"\x16"):
        handshake = Handshake(authenticate=False)
        handshake.receive(front)
        handshake.next_event()
        with pytest.raises(KeyError):
            handshake.succeed(BOUND)
        with pytest.raises(KeyError):
            handshake.fail(ReplyCode.GENERAL_FAILURE)


def test_handshakes_share_nothing() -> None:
    one, other = Handshake(authenticate=False), Handshake(authenticate=False)
    one.receive(SOCKS5[:3])
    one.next_event()
    assert (other.protocol, other.data_to_send(), one.data_to_send()) == ("", b"", b"\x05\x00")
