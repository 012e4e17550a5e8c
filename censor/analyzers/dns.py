"""Sans-IO: the question out of DNS messages over UDP and TCP, and forged answers to it (RFC 1035).

Only the header and the first question decide whether something is DNS: neither what follows them nor other questions.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from censor.analyzers import Analyzer, Finding, Outcome, Read, Wanted
from censor.properties import Properties, Type

A, AAAA = 1, 28
NXDOMAIN = 3

_OPT = 41
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
    35: "NAPTR", 39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3",
    52: "TLSA", 64: "SVCB", 65: "HTTPS", 99: "SPF", 251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
}  # fmt: skip

_header = struct.Struct("!HHHHHH")  # id, flags, numbers of questions, answers, authority and additional records
_number = struct.Struct("!H")
_record = struct.Struct("!HHIH")  # type, class, time to live, length
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0100, 0x0080
_OPCODE = 0x7800
_NAME_BYTES_MAX = 255
_LABEL_BYTES_MAX = 63
_NAME_POINTER = b"\xc0\x0c"  # to the question's name, which always stands behind the header


@dataclass(frozen=True, slots=True)
class Query:
    """The first question of a query. `name`: lower case, no trailing dot, bytes that are not ASCII as `\\xNN`."""

    id: int
    flags: int
    name: str
    type: int
    question: bytes
    """As it stood on the wire, so that an answer repeats its letter case (0x20 encoding)."""


def query(payload: bytes) -> Query | None:
    """The query in a UDP payload; None for whatever is not one (responses, other opcodes, malformed names)."""
    message = _message(payload)
    return None if isinstance(message, Outcome) or message.flags & _RESPONSE else message


def _message(payload: bytes) -> Query | Outcome:
    """The first question of a query or of a response; MORE if it is cut off."""
    if len(payload) < _header.size:
        return Outcome.MORE
    id_, flags, questions, *_ = _header.unpack_from(payload)
    if flags & _OPCODE or not questions:
        return Outcome.OTHER
    labels = []
    position = _header.size
    while True:
        if position >= len(payload):
            return Outcome.MORE
        length = payload[position]
        position += 1
        if not length:
            break
        labels.append(payload[position : position + length])
        position += length
        # A compressed question is never sent by a real client.
        if length > _LABEL_BYTES_MAX or position >= _header.size + _NAME_BYTES_MAX:
            return Outcome.OTHER
    position += 4
    if position > len(payload):
        return Outcome.MORE
    name = b".".join(labels).decode("ascii", "backslashreplace").lower()
    return Query(id_, flags, name, payload[position - 4] << 8 | payload[position - 3], payload[_header.size : position])


def _read_datagram(payload: bytes, wanted: Wanted) -> Finding | Outcome:
    message = _message(payload)
    return Outcome.OTHER if isinstance(message, Outcome) else _finding(message, payload, wanted, tcp=False)


def _datagrams() -> Read:
    return _read_datagram  # each stands for itself: there is nothing to keep of a flow


def _read_stream(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """The first message behind its 2-byte length (RFC 1035, section 4.2.2)."""
    if len(data) < 2:
        return Outcome.MORE
    end = 2 + (data[0] << 8 | data[1])
    payload = data[2:end]
    message = _message(payload)
    if message is Outcome.OTHER:  # what cannot be a message is not waited for
        return Outcome.OTHER
    if len(data) < end:
        return Outcome.MORE
    return Outcome.OTHER if isinstance(message, Outcome) else _finding(message, payload, wanted, tcp=True)


def _finding(message: Query, payload: bytes, wanted: Wanted, *, tcp: bool) -> Finding:
    response = message.flags & _RESPONSE != 0
    properties: Properties = {
        "dns": True,
        "dns.name": message.name,
        "dns.type": _TYPES.get(message.type) or f"TYPE{message.type}",
        "dns.id": message.id,
        "dns.questions": payload[4] << 8 | payload[5],
        "dns.response": response,
        "dns.tcp": tcp,
    }
    if "dns.edns" in wanted:
        properties["dns.edns"] = _has_opt(payload)
    return Finding(properties, 2 + len(payload) if tcp else 0, message=None if response else message)


def _has_opt(payload: bytes) -> bool:
    """Whether there is an OPT record (RFC 6891); none behind whatever is malformed."""
    _, _, questions, *records = _header.unpack_from(payload)
    position = _header.size
    try:
        for _ in range(questions):
            position = _behind_name(payload, position) + 4
        for _ in range(sum(records)):
            position = _behind_name(payload, position)
            type_, _, _, length = _record.unpack_from(payload, position)
            if type_ == _OPT:
                return True
            position += _record.size + length
    except (IndexError, struct.error):
        pass
    return False


def _behind_name(payload: bytes, position: int) -> int:
    """The position behind a name that may end in a pointer. Raises IndexError if it is cut off."""
    while length := payload[position]:
        if length > _LABEL_BYTES_MAX:
            return position + 2
        position += 1 + length
    return position + 1


def forge(
    query: Query, *, addresses: Iterable[bytes] = (), rcode: int = 0, ttl_seconds: int = 60, tcp: bool = False
) -> bytes:
    """An answer with those of `addresses` (4 or 16 bytes) that are of the question's type; none: "no such record".

    tcp: with the length in front that streams need.
    """
    records = [
        _NAME_POINTER + _record.pack(query.type, 1, ttl_seconds, len(address)) + address
        for address in addresses
        if query.type == (A if len(address) == 4 else AAAA)
    ]
    flags = _RESPONSE | query.flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | rcode
    answer = _header.pack(query.id, flags, 1, len(records), 0, 0) + query.question + b"".join(records)
    return _number.pack(len(answer)) + answer if tcp else answer


def nxdomain(query: Query) -> bytes:
    """The answer "no such name"."""
    return forge(query, rcode=NXDOMAIN)


def forged(query: Query, addresses: Iterable[str], ttl_seconds: int) -> bytes:
    """An answer with those of `addresses` that are of the question's type; none of them is "no such record"."""
    packed = [ipaddress.ip_address(text).packed for text in addresses]
    return forge(query, addresses=packed, ttl_seconds=ttl_seconds)


ANALYZER = Analyzer(
    "dns",
    properties={
        "dns": Type.BOOLEAN,
        "dns.name": Type.NAME,  # of the first question, as the following are
        "dns.type": Type.TEXT,  # A, AAAA, HTTPS, ...; TYPE65280 where there is no name for it
        "dns.id": Type.INTEGER,
        "dns.edns": Type.BOOLEAN,
        "dns.questions": Type.INTEGER,
        "dns.response": Type.BOOLEAN,
        "dns.tcp": Type.BOOLEAN,
    },
    stream=_read_stream,
    datagram=_datagrams,
    repeats=True,
    limit_bytes=2 + 65535,
    ports=(53,),
)
