"""The lab's name server: what it answers, and that no bytes upset it."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.roles.dns import TTL_SECONDS, answer

NAMES = {"messenger.example": ("203.0.113.10", "2001:db8:2::10"), "four.example": ("198.18.0.80",)}


def ask(name: str, rdtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    wire = answer(NAMES, query.to_wire())
    assert wire is not None
    reply = dns.message.from_wire(wire)
    assert query.is_response(reply)
    assert reply.flags & dns.flags.AA
    return reply


@pytest.mark.parametrize(
    ("name", "rdtype", "expected"),
    [
        ("messenger.example", "A", "203.0.113.10"),
        ("messenger.example", "AAAA", "2001:db8:2::10"),
        ("MESSENGER.Example.", "A", "203.0.113.10"),
        ("four.example", "A", "198.18.0.80"),
    ],
)
def test_an_address(name: str, rdtype: str, expected: str) -> None:
    (rrset,) = ask(name, rdtype).answer
    assert rrset.ttl == TTL_SECONDS
    assert rrset.rdtype == dns.rdatatype.from_text(rdtype)
    assert [str(rdata) for rdata in rrset] == [expected]


@pytest.mark.parametrize(
    ("name", "rdtype"), [("four.example", "AAAA"), ("four.example", "TXT"), ("four.example", "ANY")]
)
def test_a_name_without_such_a_record_is_no_error(name: str, rdtype: str) -> None:
    reply = ask(name, rdtype)
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize("name", ["nosuch.example", "sub.messenger.example", "."])
def test_other_names_are_nxdomain(name: str) -> None:
    reply = ask(name, "A")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NXDOMAIN, [])


def test_the_id_and_edns_come_back() -> None:
    query = dns.message.make_query("four.example", "A", use_edns=0, payload=1232)
    wire = answer(NAMES, query.to_wire())
    assert wire is not None
    reply = dns.message.from_wire(wire)
    assert (reply.id, reply.edns) == (query.id, 0)


def test_a_response_is_not_answered() -> None:
    query = dns.message.make_query("four.example", "A")
    assert answer(NAMES, dns.message.make_response(query).to_wire()) is None


def many_questions(payload: int) -> bytes:
    """A query of more questions than a reply of `payload` bytes can repeat."""
    header = (7).to_bytes(2) + b"\x01\x00" + (40).to_bytes(2) + bytes(4) + (1).to_bytes(2)
    questions = b"".join(b"\x0fabcdefghijklm%02d\x00\x00\x01\x00\x01" % number for number in range(40))
    return header + questions + b"\x00\x00\x29" + payload.to_bytes(2) + bytes(6)


@pytest.mark.parametrize("wire", [b"", b"\x00", bytes(12), many_questions(512)], ids=["none", "one", "empty", "many"])
def test_what_is_no_query_is_not_answered(wire: bytes) -> None:
    assert answer(NAMES, wire) is None


HEADERS = st.builds(
    lambda flags, counts: b"\x00\x01" + flags.to_bytes(2) + b"".join(count.to_bytes(2) for count in counts),
    st.integers(0, 0x7FFF),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
QUESTION = b"\x04four\x07example\x00\x00\x01\x00\x01"
PIECES = st.sampled_from(
    [QUESTION, b"\xc0\x0c", b"\x00\x00\x29\x02\x00\x00\x00\x00\x00\x00\x00", b"\x00\x00\xfa\x00\xff"]
)


@given(
    st.one_of(
        st.binary(max_size=80),
        st.builds(lambda h, p: h + b"".join(p), HEADERS, st.lists(PIECES | st.binary(max_size=20), max_size=5)),
    )
)
@example(dns.message.make_query("four.example", "A").to_wire())
@example(dns.message.QueryMessage().to_wire())
@example(b"\x00\x01" + (dns.opcode.UPDATE << 11).to_bytes(2) + b"\x00\x01" + bytes(6) + QUESTION)
@example(b"\x00\x01" + (dns.opcode.NOTIFY << 11).to_bytes(2) + b"\x00\x01" + bytes(6) + QUESTION)
def test_no_bytes_raise(wire: bytes) -> None:
    reply = answer(NAMES, wire)
    assert reply is None or dns.message.from_wire(reply, ignore_trailing=True).flags & dns.flags.QR
