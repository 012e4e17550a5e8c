"""censor/analyzers/tls.py"""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers.tls import ClientHello, Outcome, client_hello


def real_hello(name: str | None, alpn: list[str] | None = None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


VERSION_AND_RANDOM = b"\x03\x03" + bytes(32)
SESSION_SUITES_COMPRESSION = b"\0" + b"\0\x02\x13\x01" + b"\1\0"


def hello(
    *extensions: tuple[int, bytes], head: bytes = VERSION_AND_RANDOM, before: bytes = SESSION_SUITES_COMPRESSION
) -> bytes:
    """A ClientHello in one record."""
    listed = b"".join(struct.pack("!HH", type_, len(content)) + content for type_, content in extensions)
    body = head + before + struct.pack("!H", len(listed)) + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


def sni(name: bytes) -> tuple[int, bytes]:
    return 0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name


HELLO = real_hello("Messenger.example", ["h2", "http/1.1"])


def test_properties_of_a_real_hello() -> None:
    assert client_hello(HELLO) == ClientHello("messenger.example", ("h2", "http/1.1"), ech=False)
    assert client_hello(real_hello(None)) == ClientHello("", (), ech=False)


def test_bytes_behind_are_ignored() -> None:
    assert client_hello(HELLO + b"\x17\x03\x03" + bytes(100)) == client_hello(HELLO)


@given(st.integers(0, len(HELLO) - 1))
def test_every_beginning_needs_more(length: int) -> None:
    assert client_hello(HELLO[:length]) is Outcome.MORE


@given(st.lists(st.integers(1, 200), min_size=1, max_size=600))
def test_spread_over_records(sizes: list[int]) -> None:
    message, records = HELLO[5:], b""
    for size in [*sizes, 1 << 14]:
        if message:
            records += b"\x16\x03\x01" + struct.pack("!H", len(message[:size])) + message[:size]
            message = message[size:]
    assert client_hello(records) == client_hello(HELLO)
    assert client_hello(records[:-1]) is Outcome.MORE


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"\x17\x03\x03\0\x01x",
        b"\x16\x02",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\x01\x02",  # a ServerHello
        b"\x16\x03\x01\0\x01\x01\x17",  # another record in mid-message
        b"\x16\x03\x01\0\x04\x01\0\0\0",  # empty
        hello(before=b"\xff"),
        hello(before=b"\0\0\x02\x13\x01\xff"),
        hello(before=b"", head=b"\x03"),
        hello(before=b"\0\xff\xff\1\0"),
    ],
)
def test_something_else(data: bytes) -> None:
    assert client_hello(data) is Outcome.OTHER


def test_names() -> None:
    assert client_hello(hello(sni(b"A.Example."))) == ClientHello("a.example", (), ech=False)
    assert client_hello(hello(sni(b"\xff"))) == ClientHello("\\xff", (), ech=False)
    assert client_hello(hello((0, b"\0\4\1\0\1x"))) == ClientHello("", (), ech=False)  # not a host_name
    assert client_hello(hello((0, b"\0"))) == ClientHello("", (), ech=False)
    assert client_hello(hello((0xFE0D, b"x"), sni(b"outer.example"))) == ClientHello("outer.example", (), ech=True)


def test_extensions_up_to_the_one_cut_off() -> None:
    cut = hello(sni(b"a.example"), (16, b"\0\3\2h2"))
    shorter = cut[:3] + struct.pack("!H", len(cut) - 6) + b"\x01" + (len(cut) - 10).to_bytes(3, "big") + cut[9:-1]
    assert client_hello(shorter) == ClientHello("a.example", (), ech=False)


@given(st.binary(max_size=600) | st.binary(max_size=300).map(lambda tail: HELLO[:80] + tail))
def test_any_bytes_are_good_input(data: bytes) -> None:
    assert isinstance(client_hello(data), ClientHello | Outcome)


@given(st.lists(st.tuples(st.sampled_from([0, 16, 0xFE0D, 43]), st.binary(max_size=40)), max_size=6))
def test_any_extensions_make_a_hello(extensions: list[tuple[int, bytes]]) -> None:
    assert isinstance(client_hello(hello(*extensions)), ClientHello)
