"""The bytes that the judge writes and reads."""

from __future__ import annotations

import pytest

from lab.benchmarks.conformance import messages
from lab.benchmarks.conformance.messages import Datagram, Reply


def test_what_clients_send() -> None:
    assert messages.greeting(0, 2) == b"\5\2\0\2"
    assert messages.credentials(b"anna", b"pw") == b"\1\4anna\2pw"
    assert messages.credentials(b"", b"", version=5) == b"\5\0\0"
    assert messages.request(1, "127.0.0.1", 80) == b"\5\1\0\1\x7f\0\0\1\0\x50"
    assert messages.request(2, "::1", 258) == b"\5\2\0\4" + bytes(15) + b"\1\1\2"
    assert messages.request(3, b"a.b", 1, version=4) == b"\4\3\0\3\3a.b\0\1"
    assert messages.datagram("127.0.0.1", 1, b"x", fragment=0x82) == b"\0\0\x82\1\x7f\0\0\1\0\1x"


def test_what_clients_of_other_protocols_send() -> None:
    assert messages.socks4_request("127.0.0.1", 80, user=b"anna") == b"\4\1\0\x50\x7f\0\0\1anna\0"
    assert messages.socks4_request("0.0.0.1", 80, domain=b"a.b") == b"\4\1\0\x50\0\0\0\1\0a.b\0"
    assert messages.http_connect("a.b:1", "X: y") == b"CONNECT a.b:1 HTTP/1.1\r\nHost: a.b:1\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("rest", "reply"),
    [
        (b"\1\x7f\0\0\1\0\x50", Reply(5, 1, "127.0.0.1", 80)),
        (b"\4" + bytes(15) + b"\1\1\2", Reply(5, 4, "::1", 258)),
        (b"\3\3a.b\0\1", Reply(5, 3, "a.b", 1)),
    ],
)
def test_replies(rest: bytes, reply: Reply) -> None:
    assert messages.parse_reply(b"\5\5\0" + rest[:1], rest[1:]) == reply


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", b"localhost"])
def test_datagrams_are_read_as_they_were_written_and_not_when_they_are_cut(host: str | bytes) -> None:
    data = messages.datagram(host, 80, b"payload", fragment=3)
    name = host if isinstance(host, str) else host.decode()
    assert messages.parse_datagram(data) == Datagram(3, name, 80, b"payload")
    header = data[: -len(b"payload")]
    assert messages.parse_datagram(header) == Datagram(3, name, 80, b"")
    assert {messages.parse_datagram(header[:size]) for size in range(len(header))} == {None}


@pytest.mark.parametrize("data", [b"\1\0\0\1\x7f\0\0\1\0\1", b"\0\0\0\2\x7f\0\0\1\0\1"], ids=["RSV", "ATYP"])
def test_what_is_no_datagram(data: bytes) -> None:
    assert messages.parse_datagram(data) is None


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 407\r\n", 407),
        (b"\5\xff", None),
        (b"HTTP/1.1 x", None),
        (b"", None),
    ],
)
def test_the_status_of_a_response(head: bytes, status: int | None) -> None:
    assert messages.http_status(head) == status
