"""censor/analyzers/signature.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.signature import ANALYZER, read
from tests.unit.censor.traffic import HELLO, over_tcp, query

NOTHING: frozenset[str] = frozenset()
GET = b"GET / HTTP/1.1\r\n"


def begins(data: bytes) -> str | Outcome:
    """What the bytes begin like."""
    found = read(data, NOTHING)
    if isinstance(found, Outcome):
        return found
    assert found.properties["signature"] is True
    return " ".join(name for name in ("tls", "http", "dns") if found.properties[f"signature.{name}"])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (HELLO[:5], "tls"),
        (HELLO[:4], Outcome.MORE),
        (b"\x16\x03\x05\x00\x10", Outcome.OTHER),
        (b"\x16\x03\x01\x00\x00" + bytes(9), Outcome.OTHER),
        (b"\x16\x03\x01\x41\x00", "tls"),
        (b"\x16\x03\x01\x41\x01" + bytes(9), Outcome.OTHER),
        (b"\x17\x03\x03\x00\x10" + bytes(9), Outcome.OTHER),
        (b"\x16\x02" + bytes(12), Outcome.OTHER),
        (GET, "http"),
        (GET[:8], "http"),
        (GET[:7], Outcome.MORE),
        (b"OPTIONS ", "http"),
        (b"OPTIONS", Outcome.MORE),
        (b"PATCH / HTTP", "http"),
        (b"GOT / HTTP/1.1", Outcome.OTHER),
        (over_tcp(query("a.example")), "dns"),
        (over_tcp(query("a.example"))[:14], "dns"),
        (over_tcp(query("a.example"))[:13], Outcome.MORE),
        (over_tcp(b"\0\7\x80\0\0\1" + bytes(12)), Outcome.OTHER),  # a response
        (b"\0\x10\0\7\1\0\0\1" + bytes(6), Outcome.OTHER),  # too short for a question
        (over_tcp(b"\0\7\1\0\0\2" + bytes(12)), Outcome.OTHER),
        (b"\0\x20\0\7\x80", Outcome.OTHER),
        (b"", Outcome.MORE),
        (b"SSH-2.0-OpenSSH", Outcome.OTHER),
    ],
)
def test_beginnings(data: bytes, found: str | Outcome) -> None:
    assert begins(data) == found


@pytest.mark.parametrize("data", [HELLO[:20], GET, over_tcp(query("a.example"))])
def test_byte_by_byte(data: bytes) -> None:
    found = [begins(data[:end]) for end in range(len(data) + 1)]
    assert found == sorted(found, key=lambda one: one is not Outcome.MORE)
    assert found[-1] is not Outcome.MORE


@given(st.binary(max_size=80))
def test_never_more_beyond_its_limit(data: bytes) -> None:
    found = read(data.ljust(ANALYZER.limit_bytes, b"x"), NOTHING)
    assert isinstance(found, Finding) or found is Outcome.OTHER
