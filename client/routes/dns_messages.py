"""Questions for addresses and their answers as DNS messages (RFC 1035), as DNS over HTTPS carries them. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from client.routes import DialError

RecordType = Literal["A", "AAAA"]

PAD_BYTES = 128
"""Queries are padded to a multiple of this, so that their length says little about the name (RFC 8467 section 4.1)."""
TTL_MOST_SECONDS = 3600
"""Answers are not kept for longer, whatever they say."""
_FAILURES = {
    dns.rcode.NXDOMAIN: "dns_nxdomain_error",
    dns.rcode.SERVFAIL: "dns_servfail_error",
    dns.rcode.REFUSED: "dns_refused_error",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses of one family, and for how long they are good."""

    addresses: list[str]
    ttl_seconds: int


def make_query(name: str, type_: RecordType) -> dns.message.QueryMessage:
    """A question with the id 0, so that the answers to all of its kind are alike (RFC 8484 section 4.1)."""
    return dns.message.make_query(name, type_, use_edns=0, pad=PAD_BYTES, id=0)


def read_answer(query: dns.message.QueryMessage, data: bytes) -> Answer:
    """The addresses at the end of the aliases. Raises DialError of the stage `dns`."""
    try:
        response = dns.message.from_wire(data)
    except dns.exception.DNSException as error:
        raise DialError("dns", f"unknown_failure: no DNS message: {error}") from error
    if not query.is_response(response) or not isinstance(response, dns.message.QueryMessage):
        raise DialError("dns", "unknown_failure: the answer to another question")
    if response.rcode() != dns.rcode.NOERROR:
        code = response.rcode()
        raise DialError("dns", _FAILURES.get(code, f"unknown_failure: {dns.rcode.to_text(code)}"))
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:
        raise DialError("dns", f"unknown_failure: {error}") from error
    if chain.answer is None:
        raise DialError("dns", "dns_no_answer")
    return Answer([record.address for record in chain.answer], min(chain.minimum_ttl, TTL_MOST_SECONDS))
