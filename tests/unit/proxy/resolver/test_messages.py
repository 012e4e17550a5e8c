from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.resolver.answers import Answer, RecordType, Status
from proxy.resolver.messages import Question, read_answer, write_query

QUESTION = Question("a.example", RecordType.A, 4711)
V6_QUESTION = Question("a.example", RecordType.AAAA, 4711)
SOA = "example. 600 IN SOA ns.example. root.example. 1 2 3 4 300"


def response(*answer: str, question: Question = QUESTION, rcode: int = 0, authority: str = "") -> dns.message.Message:
    message = dns.message.make_response(dns.message.from_wire(write_query(question)))
    message.set_rcode(dns.rcode.Rcode(rcode))
    for section, lines in ((message.answer, answer), (message.authority, filter(None, [authority]))):
        for line in lines:
            name, ttl, class_, type_, data = line.split(" ", 4)
            section.append(dns.rrset.from_text(name, int(ttl), class_, type_, data))
    return message


def read(message: dns.message.Message, question: Question = QUESTION) -> Answer | None:
    return read_answer(message.to_wire(), question)


def test_the_query() -> None:
    query = dns.message.from_wire(write_query(V6_QUESTION))
    assert (query.id, query.edns, query.payload, query.flags) == (4711, 0, 1232, dns.flags.RD)
    [asked] = query.question
    assert (asked.name.to_text(), asked.rdtype) == ("a.example.", dns.rdatatype.AAAA)


def test_addresses() -> None:
    assert read(response("a.example. 60 IN A 192.0.2.1")) == Answer(Status.FOUND, ("192.0.2.1",), 60)
    v6 = response("a.example. 60 IN AAAA 2001:db8::1", question=V6_QUESTION)
    assert read(v6, V6_QUESTION) == Answer(Status.FOUND, ("2001:db8::1",), 60)


def test_a_chain_of_cnames_holds_as_long_as_its_weakest_link() -> None:
    message = response(
        "b.example. 60 IN A 192.0.2.1",
        "c.example. 60 IN A 192.0.2.9",  # nobody asked for this one
        "a.example. 5 IN CNAME b.example.",
    )
    assert read(message) == Answer(Status.FOUND, ("192.0.2.1",), 5)


def test_a_chain_that_leads_nowhere() -> None:
    answer = read(response("a.example. 60 IN CNAME b.example.", authority=SOA))
    assert answer == Answer(Status.NO_ADDRESS, ttl_seconds=60)


def test_a_chain_in_a_circle() -> None:
    answer = read(response("a.example. 60 IN CNAME b.example.", "b.example. 60 IN CNAME a.example."))
    assert answer == Answer(Status.FAILED, error="ChainTooLong")


@pytest.mark.parametrize(("rcode", "status"), [(0, Status.NO_ADDRESS), (3, Status.NO_NAME)])
def test_a_no_holds_as_long_as_the_soa_says(rcode: int, status: Status) -> None:
    assert read(response(rcode=rcode, authority=SOA)) == Answer(status, ttl_seconds=300)
    assert read(response(rcode=rcode, authority=SOA.replace("600", "200"))) == Answer(status, ttl_seconds=200)
    assert read(response(rcode=rcode)) == Answer(status, ttl_seconds=0)


def test_addresses_for_a_name_that_does_not_exist() -> None:
    assert read(response("a.example. 60 IN A 192.0.2.1", rcode=3)) == Answer(Status.FAILED, error="AnswerForNXDOMAIN")


@pytest.mark.parametrize(("rcode", "error"), [(2, "SERVFAIL"), (5, "REFUSED"), (1, "FORMERR"), (16, "BADVERS")])
def test_servers_that_cannot_or_will_not(rcode: int, error: str) -> None:
    assert read(response(rcode=rcode)) == Answer(Status.FAILED, error=error)


def test_truncation_even_in_the_middle_of_a_record() -> None:
    message = response("a.example. 60 IN A 192.0.2.1")
    message.use_edns(False)
    message.flags |= dns.flags.TC
    wire = message.to_wire()
    assert read_answer(wire, QUESTION) == Answer(Status.TRUNCATED)
    assert read_answer(wire[:-3], QUESTION) == Answer(Status.TRUNCATED)
    message.id += 1
    assert read(message) is None


def test_what_is_no_answer_to_the_question() -> None:
    right = response("a.example. 60 IN A 192.0.2.1")
    other_id, no_response, update = (dns.message.from_wire(right.to_wire()) for _ in range(3))
    other_id.id += 1
    no_response.flags &= ~dns.flags.QR
    update.set_opcode(dns.opcode.UPDATE)
    assert [read(message) for message in (other_id, no_response, update)] == [None] * 3
    assert read(response(question=Question("b.example", RecordType.A, 4711))) is None
    assert read(response(question=V6_QUESTION)) is None
    assert read_answer(right.to_wire()[:-1], QUESTION) is None
    assert read_answer(b"", QUESTION) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything(data: bytes) -> None:
    head = write_query(QUESTION)
    assert read_answer(data, QUESTION) is None
    read_answer(head[:2] + b"\x81\x80" + head[4:12] + data, QUESTION)
