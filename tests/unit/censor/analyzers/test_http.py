"""censor/analyzers/http.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome, Wanted
from censor.analyzers.http import ANALYZER
from censor.properties import Properties
from tests.unit.censor.analyzers.streams import calls, damaged, read_growing

EVERYTHING: Wanted = frozenset(ANALYZER.properties)
GET = b"GET /a/B?c=d HTTP/1.1\r\nHost: WWW.Example.:8080\r\nAccept: */*\r\nUser-Agent: curl/8.5.0\r\n\r\n"


def read(data: bytes, wanted: Wanted = EVERYTHING) -> Finding | Outcome:
    assert ANALYZER.stream is not None
    return ANALYZER.stream(data, wanted)


def finding(data: bytes) -> Finding:
    found = read_growing(read, data, EVERYTHING)
    assert isinstance(found, Finding)
    return found


def properties(data: bytes) -> Properties:
    return finding(data).properties


def test_request() -> None:
    assert finding(GET) == Finding(
        {
            "http": True,
            "http.method": "GET",
            "http.host": "www.example",
            "http.host_header": "www.example",
            "http.path": "/a/B?c=d",
            "http.url": "www.example/a/B?c=d",
            "http.user_agent": "curl/8.5.0",
            "http.version": "1.1",
            "http.proxy": False,
        },
        len(GET),
    )
    assert properties(GET).keys() == EVERYTHING


def test_what_a_request_lacks_is_absent() -> None:
    found = properties(b"GET /x\n\n")
    assert [name for name, value in found.items() if value is None] == [
        "http.host",
        "http.host_header",
        "http.url",
        "http.user_agent",
        "http.version",
    ]


@pytest.mark.parametrize(
    ("target", "host", "path", "url"),
    [
        (b"http://User@A.Example:80/x?y", "a.example", "/x?y", "a.example/x?y"),
        (b"HTTP://a.example", "a.example", "/", "a.example/"),
        (b"http://a.example?x", "a.example", "/?x", "a.example/?x"),
        (b"http://[2001:DB8::1]:80/", "2001:db8::1", "/", "2001:db8::1/"),
    ],
)
def test_the_absolute_form_wins_over_the_header(target: bytes, host: str, path: str, url: str) -> None:
    found = properties(b"GET " + target + b" HTTP/1.1\r\nHost: header.example\r\n\r\n")
    assert (found["http.host"], found["http.path"], found["http.url"]) == (host, path, url)
    assert (found["http.host_header"], found["http.proxy"]) == ("header.example", True)


def test_connect() -> None:
    found = finding(b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\nContent-Length: 5\r\n\r\n")
    assert found.rest == 0  # what follows is the tunnel's
    wanted = "http.method", "http.host", "http.path", "http.url", "http.host_header", "http.proxy"
    assert [found.properties[name] for name in wanted] == ["CONNECT", "a.example", None, "a.example", "b.example", True]


def test_the_asterisk_form_is_no_part_of_the_url() -> None:
    found = properties(b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert (found["http.path"], found["http.url"], found["http.proxy"]) == ("*", "a.example", False)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: a.example\n\n",
        b"\r\n\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOsT: a.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost \t:\t a.example\t\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:a.example\n\r\n",
        b"GET / HTTP/1.1\r\nX-Host: b.example\r\nHost: a.example\r\nHost: c.example\r\n\r\n",
        b"GET\t/  http/1.0\r\nno header\r\nHost: a.example\r\n\r\n",
        b"GET /x y HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /x\r\nHost: a.example\r\n\r\n",
        b"BREW x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"VERSION-CONTROL / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ],
)
def test_middleboxes_are_lenient(data: bytes) -> None:
    assert properties(data)["http.host"] == "a.example"


def test_spaces_in_a_target_are_kept() -> None:
    assert properties(b"GET /x y HTTP/1.1\r\n\r\n")["http.path"] == "/x y"
    assert properties(b"GET /\xff HTTP/1.1\r\n\r\n")["http.path"] == "/\\xff"


@pytest.mark.parametrize(
    ("headers", "rest"),
    [
        (b"", 0),
        (b"Content-Length: 5\r\n", 5),
        (b"content-length:\t007 \r\n", 7),
        (b"Content-Length: -5\r\n", 0),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", 0),
        (b"Content-Length: 5\r\nTransfer-Encoding: gzip, Chunked\r\n", -1),
        (b"Transfer-Encoding: identity\r\n", 0),
    ],
)
def test_body(headers: bytes, rest: int) -> None:
    found = read(b"POST / HTTP/1.1\r\n" + headers + b"\r\n12345")
    assert isinstance(found, Finding)
    assert found.rest == rest
    assert found.consumed == 17 + len(headers) + 2


def test_requests_follow_one_another() -> None:
    stream = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345" + GET + b"\x81\x05hello"
    hosts = []
    while isinstance(found := read(stream), Finding):
        hosts.append(found.properties["http.host"])
        stream = stream[found.consumed + found.rest :]
    assert (hosts, found, stream) == (["a", "www.example"], Outcome.OTHER, b"\x81\x05hello")


@pytest.mark.parametrize(
    ("data", "decided_at"),
    [
        (b"\x16\x03\x01", 1),
        (b"\r\n\x00", 3),
        (b"get / HTTP/1.1", 1),
        (b"GO / HTTP/1.1", 3),
        (b"SSH-2.0-x", 6),
        (b"ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1", 21),
        (b"GET /\x00", 6),
        (b"GET\n", 4),
        (b"GET  \n", 6),
        (b"GET HTTP/1.1\n", 13),
        (b"EHLO mail.example\r\n", 19),
        (b"USER anonymous\r\n", 16),
        (b"GET / HTTP/1.1 \x7f", 16),
    ],
)
def test_something_else_as_soon_as_it_can_be_known(data: bytes, decided_at: int) -> None:
    assert read_growing(read, data, EVERYTHING) is Outcome.OTHER
    assert read(data[: decided_at - 1]) is Outcome.MORE
    assert read(data[:decided_at]) is Outcome.OTHER


@given(st.binary(max_size=300) | st.text("GET /HOSThost:\r\n", max_size=60).map(str.encode) | damaged(GET))
def test_any_bytes_in_any_pieces(data: bytes) -> None:
    read_growing(read, data, EVERYTHING)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" * 32000,
        b"GET /" + b"x" * 65000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b" x" * 32000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1" + b"\nHost:" * 10000 + b"\n\n",
        b"GET / HTTP/1.1" + b"\nHost" * 13000 + b"\n\n",
        b"GET / HTTP/1.1\nHost" + b" " * 65000 + b"\n\n",
    ],
)
def test_work_is_bounded_by_the_bytes(data: bytes) -> None:
    assert calls(read, data, EVERYTHING) < 100 + len(data)
