"""censor/analyzers/dns.py"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from censor.analyzers.dns import AAAA, A, Query, forged, nxdomain, query

QUERY = dns.message.make_query("WWW.Messenger.example.", "A", use_edns=True).to_wire()


def asked(name: str, type_: str = "A") -> Query:
    found = query(dns.message.make_query(name, type_).to_wire())
    assert found is not None
    return found


def test_question_of_a_real_query() -> None:
    found = query(QUERY)
    assert found is not None
    assert (found.name, found.type) == ("www.messenger.example", A)
    assert asked("x.example", "AAAA").type == AAAA
    assert asked(".").name == ""


def test_bytes_that_are_not_ascii_are_escaped() -> None:
    found = query(QUERY.replace(b"WWW", b"W\xffW"))
    assert found is not None
    assert found.name == "w\\xffw.messenger.example"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        QUERY[:11],
        QUERY[:20],
        QUERY[:12],
        QUERY[:36],
        dns.message.make_response(dns.message.make_query("x.example", "A")).to_wire(),
        b"\0\0\x28\0" + QUERY[4:],  # UPDATE
        QUERY[:4] + b"\0\0" + QUERY[6:],  # no question
        QUERY[:12] + b"\xc0\x0c" + QUERY[12:],  # compressed
    ],
)
def test_what_is_not_a_query_is_none(payload: bytes) -> None:
    assert query(payload) is None


@given(st.binary(max_size=600) | st.binary(max_size=50).map(lambda tail: QUERY[:12] + tail))
@example(QUERY[:12] + b"\x3f")
def test_any_bytes_are_good_input(payload: bytes) -> None:
    found = query(payload)
    if found is not None:
        assert payload.startswith(found.question, 12)


@given(st.integers(0, len(QUERY)))
def test_cut_anywhere(length: int) -> None:
    assert (query(QUERY[:length]) is None) == (length < 12 + 23 + 4)


def test_nxdomain_is_a_response_to_the_query() -> None:
    message = dns.message.make_query("WWW.messenger.example", "A")
    found = query(message.to_wire())
    assert found is not None
    answer = dns.message.from_wire(nxdomain(found))
    assert message.is_response(answer)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.flags & dns.flags.RA
    assert answer.flags & dns.flags.RD


def test_forged_answer_has_the_addresses_of_the_questions_type() -> None:
    addresses = ("192.0.2.66", "192.0.2.67", "2001:db8:1::66")
    found = {
        type_: dns.message.from_wire(forged(asked("Messenger.example", type_), addresses, 60))
        for type_ in ("A", "AAAA", "HTTPS")
    }
    assert (
        found["A"].answer[0].to_text() == "Messenger.example. 60 IN A 192.0.2.66\nMessenger.example. 60 IN A 192.0.2.67"
    )
    assert found["AAAA"].answer[0].to_text() == "Messenger.example. 60 IN AAAA 2001:db8:1::66"
    assert not found["HTTPS"].answer
    assert found["HTTPS"].rcode() == dns.rcode.NOERROR
