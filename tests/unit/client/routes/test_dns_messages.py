from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from client.routes import DialError
from client.routes.dns_messages import PAD_BYTES, TTL_MOST_SECONDS, Answer, RecordType, make_query, read_answer

NAME = "messenger.example"


def response(
    *records: tuple[str, int, str, str], type_: RecordType = "A", rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> bytes:
    """An answer to `make_query(NAME, type_)`; records: name, TTL, type, text."""
    made = dns.message.make_response(make_query(NAME, type_))
    made.set_rcode(rcode)
    for name, ttl, kind, text in records:
        made.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, text))
    return made.to_wire()


def test_queries_have_no_id_and_one_length() -> None:
    wires = [make_query(name, "AAAA").to_wire() for name in (NAME, "a.example")]
    assert [wire[:2] for wire in wires] == [b"\0\0"] * 2
    assert {len(wire) for wire in wires} == {PAD_BYTES}


def test_answers() -> None:
    assert read_answer(make_query(NAME, "A"), response((NAME, 60, "A", "192.0.2.1"))) == Answer(["192.0.2.1"], 60)
    aliased = response(
        (NAME, 30, "CNAME", "other.example."), ("other.example", 60, "AAAA", "2001:db8::1"), type_="AAAA"
    )
    assert read_answer(make_query(NAME, "AAAA"), aliased) == Answer(["2001:db8::1"], 30)
    forever = response((NAME, 2**31 - 1, "A", "192.0.2.1"))
    assert read_answer(make_query(NAME, "A"), forever).ttl_seconds == TTL_MOST_SECONDS


def other_question() -> bytes:
    return dns.message.make_response(make_query("other.example", "A")).to_wire()


def no_response() -> bytes:
    return make_query(NAME, "A").to_wire()


def endless_aliases() -> bytes:
    return response((NAME, 30, "CNAME", f"{NAME}."))


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (response(), "dns_no_answer"),
        (response(rcode=dns.rcode.NXDOMAIN), "dns_nxdomain_error"),
        (response(rcode=dns.rcode.SERVFAIL), "dns_servfail_error"),
        (response(rcode=dns.rcode.REFUSED), "dns_refused_error"),
        (response(rcode=dns.rcode.NOTIMP), "unknown_failure: NOTIMP"),
        (b"<html>", "unknown_failure: no DNS message: "),
        (other_question(), "unknown_failure: the answer to another question"),
        (no_response(), "unknown_failure: the answer to another question"),
        (endless_aliases(), "unknown_failure: "),
    ],
)
def test_answers_without_addresses(data: bytes, failure: str) -> None:
    with pytest.raises(DialError) as caught:
        read_answer(make_query(NAME, "A"), data)
    assert caught.value.stage == "dns"
    assert caught.value.failure.startswith(failure)
