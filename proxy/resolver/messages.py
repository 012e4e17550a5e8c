"""DNS messages (RFC 1035): questions to bytes, bytes to answers. Sans-IO; the bytes themselves are dnspython's.

What comes off the network is judged in one place, `read_answer`: whatever is no answer to this very question is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from proxy.resolver.answers import Answer, RecordType, Status

PAYLOAD_BYTES = 1232
"""The longest UDP answer that is asked for (EDNS, RFC 6891): not fragmented on any path (DNS flag day 2020)."""
MESSAGE_LIMIT_BYTES = 65535
"""The longest answer over TCP (RFC 1035 section 4.2.2) and HTTPS (RFC 8484 section 6)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: `name` as `names.query_name` gives it; `number` is the id that its answer has to repeat."""

    name: str
    type: RecordType
    number: int


def write_query(question: Question) -> bytes:
    """The query: one question, recursion desired, EDNS."""
    return _query(question).to_wire()


def read_answer(data: bytes, question: Question) -> Answer | None:
    """What the message `data` says to `question`; None: it is no answer to it, or no message at all.

    CNAMEs are followed inside the message (RFC 1034 section 3.6.2): the server's recursion has put the whole chain
    there.
    """
    query = _query(question)
    try:
        message = dns.message.from_wire(data, raise_on_truncation=True)
    except dns.message.Truncated as truncated:
        return Answer(Status.TRUNCATED) if query.is_response(truncated.kwargs["message"]) else None
    except (dns.exception.DNSException, ValueError):
        return None
    if not query.is_response(message) or not isinstance(message, dns.message.QueryMessage):
        return None
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer(Status.FAILED, error=dns.rcode.to_text(rcode))
    try:
        result = message.resolve_chaining()
    except dns.exception.DNSException as error:  # a CNAME loop; addresses for a name that does not exist
        return Answer(Status.FAILED, error=type(error).__name__)
    if result.answer is not None:
        addresses = tuple(record.address for record in result.answer)
        return Answer(Status.FOUND, addresses, float(result.minimum_ttl))
    # Without a SOA nobody said how long the "no" holds, and it is not to be kept (RFC 2308 section 5).
    dated = any(records.rdtype == dns.rdatatype.SOA for records in message.authority)
    return Answer(
        Status.NO_NAME if rcode == dns.rcode.NXDOMAIN else Status.NO_ADDRESS,
        ttl_seconds=float(result.minimum_ttl) if dated else 0.0,
    )


def _query(question: Question) -> dns.message.QueryMessage:
    # Not from text, in which a backslash would have a meaning.
    name = dns.name.Name([*(label.encode() for label in question.name.split(".")), b""])
    return dns.message.make_query(
        name, dns.rdatatype.RdataType(question.type), use_edns=0, payload=PAYLOAD_BYTES, id=question.number
    )
