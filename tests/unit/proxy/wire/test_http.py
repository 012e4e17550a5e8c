"""HTTP CONNECT: heads whole and cut, and what is none."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import (
    Address,
    AddressType,
    Credentials,
    Fault,
    HttpRequest,
    HttpResponse,
    ProtocolError,
    read_http_request,
    read_http_response,
    write_http_connect,
    write_http_refusal,
    write_http_response,
)
from proxy.wire.http import HTTP_REQUEST_LIMIT_BYTES, HTTP_RESPONSE_LIMIT_BYTES
from tests.unit.proxy.wire.contract import Reader, check_any_bytes, check_message, clean_addresses

TARGET = Address.of("a.example", 443)
CONNECT = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"
LIMITS = HTTP_REQUEST_LIMIT_BYTES, HTTP_RESPONSE_LIMIT_BYTES
names = st.text("abcxyz0189._~!$&'()*+,;=-", min_size=1, max_size=255)
targets = st.one_of(
    clean_addresses.filter(lambda address: address.type is not AddressType.DOMAIN and address.port > 0),
    st.builds(Address.of, names, st.integers(1, 65535)),
)
credentials = st.builds(Credentials, st.binary().filter(lambda user: b":" not in user), st.binary())


def request(head: bytes) -> HttpRequest:
    found = read_http_request(bytearray(head))
    assert found is not None
    return found


def test_bytes_of_every_message() -> None:
    assert write_http_connect(TARGET) == CONNECT + b"\r\n"
    assert write_http_connect(Address.of("::1", 80), Credentials(b"anna", b"a:b")) == (
        b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic YW5uYTphOmI=\r\n\r\n"
    )
    assert write_http_response(HttpResponse(200)) == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert write_http_refusal(HTTPStatus.METHOD_NOT_ALLOWED, "why", ("Allow", "CONNECT")) == (
        b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 4\r\nConnection: close\r\n\r\nwhy\n"
    )


@given(targets, st.one_of(st.none(), credentials), st.binary(max_size=20))
def test_requests_whole_byte_by_byte_and_with_bytes_behind(
    target: Address, presented: Credentials | None, behind: bytes
) -> None:
    expected = HttpRequest("CONNECT", target, presented)
    check_message(read_http_request, write_http_connect(target, presented), expected, LIMITS[0], behind)


@given(st.sampled_from([100, 200, 403, 502]), st.binary(max_size=20))
def test_responses_whole_byte_by_byte_and_with_bytes_behind(status: int, behind: bytes) -> None:
    head = b"HTTP/1.1 %d Why\r\nProxy-Status: a; error=b\r\n\r\n" % status
    expected = HttpResponse(status, (("proxy-status", "a; error=b"),))
    check_message(read_http_response, head, expected, LIMITS[1], behind)


def test_a_body_stays_behind() -> None:
    buffer = bytearray(write_http_refusal(HTTPStatus.FORBIDDEN, "why"))
    response = read_http_response(buffer)
    assert response is not None
    assert (response.status, dict(response.fields)["content-length"], buffer) == (403, "4", b"why\n")


@given(
    st.sampled_from([(read_http_request, LIMITS[0]), (read_http_response, LIMITS[1])]),
    st.sampled_from(
        [b"", b"GET / HTTP/1.1\r\n", CONNECT, CONNECT + b"X: ", b"HTTP/1.1 200 OK\r\n", b"bad\r\nHost: a\n"]
    ),
    st.one_of(st.binary(max_size=60), st.text("\r\n\0 :aX", max_size=30).map(str.encode)),
    st.sampled_from([b"", b"\r\n\r\n"]),
)
def test_any_bytes_give_a_message_or_a_remote_error_and_cuts_do_not_matter(
    reader: tuple[Reader, int], front: bytes, rest: bytes, end: bytes
) -> None:
    read, limit_bytes = reader
    check_any_bytes(read, front + rest + end, limit_bytes, full=False)


@pytest.mark.parametrize(("read", "limit_bytes"), [(read_http_request, LIMITS[0]), (read_http_response, LIMITS[1])])
@pytest.mark.parametrize("line", [b"", b"X" * 9, b"CONNECT a:1 HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_no_head_is_longer_than_the_limit(read: Reader, limit_bytes: int, line: bytes) -> None:
    for rest in (b"x", b"X: y\r\n"):
        with pytest.raises(ProtocolError):
            read(bytearray(line + rest * limit_bytes)[:limit_bytes])


def test_a_head_of_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    filler = CONNECT + b"X: %b\r\n\r\n"
    size = HTTP_REQUEST_LIMIT_BYTES - len(filler % b"")
    assert request(filler % (b"x" * size)).target == TARGET
    buffer = bytearray(filler % (b"x" * (size + 1)))
    with pytest.raises(ProtocolError) as raised:
        read_http_request(buffer)
    assert raised.value.reply.startswith(b"HTTP/1.1 431 ")
    assert read_http_request(bytearray(buffer[: HTTP_REQUEST_LIMIT_BYTES - 1])) is None


@pytest.mark.parametrize(
    ("authority", "target"),
    [
        (b"192.0.2.1:1", Address.of("192.0.2.1", 1)),
        (b"[2001:DB8::1]:65535", Address.of("2001:db8::1", 65535)),
        (b"[::ffff:192.0.2.1]:80", Address.of("::ffff:192.0.2.1", 80)),
        (b"a_b.example.:00443", Address.of("a_b.example.", 443)),
        (b"x" * 255 + b":443", Address.of("x" * 255, 443)),
    ],
)
def test_targets(authority: bytes, target: Address) -> None:
    assert request(b"CONNECT " + authority + b" HTTP/1.1\r\nhost:\t \r\n\r\n") == HttpRequest("CONNECT", target)


@pytest.mark.parametrize(
    "authority",
    [
        b"a.example",
        b"a.example:",
        b":443",
        b"a.example:0",
        b"a.example:65536",
        b"a.example:4x",
        b"a.example:000443",
        b"::1:443",
        b"[::1]",
        b"[::zz]:443",
        b"[:.:]:443",
        b"[192.0.2.1]:443",
        b"[fe80::1%25eth0]:443",
        b"anna@a.example:443",
        b"a%41.example:443",
        "ä.example:443".encode(),
        b"http://a.example:443",
        b"http://a.example/",
        b"*",
        b"/",
        b"x" * 256 + b":443",
    ],
)
def test_what_is_no_target_of_connect(authority: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        request(b"CONNECT " + authority + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert raised.value.reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "connect", "M-SEARCH"])
def test_other_methods_are_requests_without_a_target(method: str) -> None:
    head = f"{method} http://a.example/?x=[] HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
    assert request(head.encode()) == HttpRequest(method, None)


def test_host_may_be_missing_before_1_1() -> None:
    assert request(b"CONNECT a.example:443 HTTP/1.0\r\n\r\n") == HttpRequest("CONNECT", TARGET, version="1.0")
    assert request(b"CONNECT a.example:443 HTTP/1.9\r\nHost: a\r\n\r\n").version == "1.9"


def test_a_length_of_0_is_no_body() -> None:
    assert request(CONNECT + b"Content-Length: 0\r\n\r\n").target == TARGET


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (CONNECT + b"Host: a.example:443\r\n\r\n", 400),
        (CONNECT + b" folded\r\n\r\n", 400),
        (CONNECT + b"\tfolded: yes\r\n\r\n", 400),
        (CONNECT + b"X : space before the colon\r\n\r\n", 400),
        (CONNECT + b": no name\r\n\r\n", 400),
        (CONNECT + b"no colon\r\n\r\n", 400),
        (CONNECT + b"X: \x01\r\n\r\n", 400),
        (CONNECT + b"X: a\rb\r\n\r\n", 400),
        (CONNECT + b"X: a\nY: b\r\n\r\n", 400),
        (CONNECT + b"X: \x00", 400),
        (CONNECT + b"Content-Length: 5\r\n\r\n", 400),
        (CONNECT + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
        (CONNECT + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (b"CONNECT a:1\r\n", 400),
        (b"CONNECT  a:1 HTTP/1.1\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1 \r\n", 400),
        (b"CONNECT a:1 HTTP/11\r\n", 400),
        (b"CONNECT a:1 http/1.1\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"\r\n", 400),
        (b"\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n", 505),
    ],
)
def test_what_is_no_request(head: bytes, status: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        read_http_request(bytearray(head))
    assert raised.value.reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in raised.value.reply
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Basic " + b64encode(b"anna:secret"), Credentials(b"anna", b"secret")),
        (b"bAsIc   " + b64encode("änna:a:b".encode()), Credentials("änna".encode(), b"a:b")),
        (b"Basic Og==", Credentials(b"", b"")),
        (b"Bearer token", None),
        (b"", None),
    ],
)
def test_credentials(value: bytes, expected: Credentials | None) -> None:
    assert request(CONNECT + b"proxy-authorization: " + value + b"\r\n\r\n").credentials == expected


@pytest.mark.parametrize(
    "fields",
    [
        b"Proxy-Authorization: Basic\r\n",
        b"Proxy-Authorization: Basic !!!!\r\n",
        b"Proxy-Authorization: Basic YW5u\r\n",
        b"Proxy-Authorization: Basic YW5uY\r\n",
        b"Proxy-Authorization: Basic \xe4\r\n",
        b"Proxy-Authorization: Basic Og==\r\nProxy-Authorization: Basic Og==\r\n",
    ],
)
def test_what_are_no_credentials(fields: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        request(CONNECT + fields + b"\r\n")
    assert raised.value.reply.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("line", [b"HTTP/1.0 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xe4", b"HTTP/1.1 200 OK ok"])
def test_status_lines(line: bytes) -> None:
    assert read_http_response(bytearray(line + b"\r\n\r\n")) == HttpResponse(200)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 099 Low\r\n",
        b"HTTP/1.1 600 High\r\n",
        b"HTTP/1.1 200OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\n",
    ],
)
def test_what_is_no_response_is_answered_with_nothing(head: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        read_http_response(bytearray(head))
    assert (raised.value.fault, raised.value.reply) == (Fault.REMOTE, b"")


@pytest.mark.parametrize(
    ("target", "presented"),
    [
        (Address(AddressType.DOMAIN, "a\r\nb", 1), None),
        (Address(AddressType.DOMAIN, "ä.example", 1), None),
        (Address(AddressType.DOMAIN, "", 1), None),
        (Address(AddressType.DOMAIN, "x" * 256, 1), None),
        (Address(AddressType.DOMAIN, "x", 65536), None),
        (Address(AddressType.DOMAIN, "x", -1), None),
        (TARGET, Credentials(b"a:b", b"")),
    ],
)
def test_what_http_cannot_carry_is_our_fault(target: Address, presented: Credentials | None) -> None:
    with pytest.raises(ProtocolError) as raised:
        write_http_connect(target, presented)
    assert raised.value.fault is Fault.LOCAL


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(HttpRequest("CONNECT", TARGET, Credentials(b"anna", b"secret")))
