from __future__ import annotations

import pytest

from proxy.http_head import RESPONSE_LIMIT_BYTES, HttpResponse, read_http_response, write_http_connect
from proxy.wire import Address, AddressType, Credentials, Fault, ProtocolError

RESPONSES = [
    (b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", 200),
    (b"HTTP/1.0 403 Forbidden\r\n\r\n", 403),
    (b"HTTP/1.1 502 \r\n\r\n", 502),
    (b"HTTP/1.1 200\r\n\r\n", 200),
    (b"HTTP/1.1 200 OK\n\n", 200),
    (b"HTTP/1.1 200 OK\r\nX: y\n\r\n", 200),
]


def test_the_request() -> None:
    assert write_http_connect(Address.of("a.example", 443)) == (
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
    )
    assert write_http_connect(Address.of("2001:db8::1", 443), Credentials(b"anna", b"secret")) == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("host", "user"), [("a.example\r\nX: y", ""), ("a b", ""), ("a\x00b", ""), ("a.example", "an:na")]
)
def test_what_http_cannot_carry(host: str, user: str) -> None:
    with pytest.raises(ProtocolError) as error:
        write_http_connect(Address(AddressType.DOMAIN, host, 80), Credentials(user.encode(), b"secret"))
    assert error.value.fault is Fault.LOCAL
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("head", "status"), RESPONSES)
def test_a_response_whole_byte_by_byte_and_with_bytes_behind_it(head: bytes, status: int) -> None:
    buffer = bytearray(head + b"behind\r\n\r\n")
    assert read_http_response(buffer) == HttpResponse(status)
    assert buffer == b"behind\r\n\r\n"
    for size in range(len(head)):
        buffer = bytearray(head[:size])
        assert read_http_response(buffer) is None
        assert buffer == head[:size]
    assert read_http_response(bytearray(head)) == HttpResponse(status)


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x00",
        b"SSH-2.0-x",
        b"HTTP/2",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n".ljust(RESPONSE_LIMIT_BYTES, b"x"),
        b"HTTP/1.1 200 OK\r\n".ljust(RESPONSE_LIMIT_BYTES - 1, b"x") + b"\r\n\r\n",
    ],
)
def test_what_is_no_response(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_http_response(bytearray(data))
