from __future__ import annotations

import pytest

from client.routes.http_messages import ConnectRefused, check_reply, connect_request


def test_requests() -> None:
    assert connect_request("messenger.example", 443) == (
        b"CONNECT messenger.example:443 HTTP/1.1\r\nHost: messenger.example:443\r\n\r\n"
    )
    # RFC 7617 section 2's own example, and section 2.1's for UTF-8.
    assert b"\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n" in connect_request(
        "2001:db8::1", 443, "Aladdin", "open sesame"
    )
    assert b"Basic dGVzdDoxMjPCow==" in connect_request("h", 1, "test", "123£")
    assert connect_request("2001:db8::1", 443).startswith(b"CONNECT [2001:db8::1]:443 ")
    assert connect_request("bücher.example", 443).startswith(b"CONNECT xn--bcher-kva.example:443 ")


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nVia: x\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"]
)
def test_tunnels(head: bytes) -> None:
    check_reply(head)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nA: b\r\n\r\n",
            "^HTTP status 407 Proxy Authentication Required$",
        ),
        (b"HTTP/1.1 502\r\n\r\n", "^HTTP status 502$"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP: 'SSH-2.0-OpenSSH'"),
    ],
)
def test_refusals(head: bytes, message: str) -> None:
    with pytest.raises(ConnectRefused, match=message):
        check_reply(head)
