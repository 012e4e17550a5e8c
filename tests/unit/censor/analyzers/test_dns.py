"""censor/analyzers/dns.py"""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome, Wanted
from censor.analyzers.dns import AAAA, ANALYZER, A, Query, forge, forged, nxdomain, query
from tests.unit.censor.analyzers.streams import calls, damaged, read_growing

QUERY = dns.message.make_query("WWW.Messenger.example.", "A", use_edns=True).to_wire()
QUESTION_END = 12 + 23 + 4
EVERYTHING: Wanted = frozenset(ANALYZER.properties)


def asked(name: str, type_: str = "A") -> Query:
    found = query(dns.message.make_query(name, type_).to_wire())
    assert found is not None
    return found


def read_datagram(payload: bytes, wanted: Wanted = EVERYTHING) -> Finding | Outcome:
    assert ANALYZER.datagram is not None
    return ANALYZER.datagram()(payload, wanted)


def read_stream(data: bytes, wanted: Wanted = EVERYTHING) -> Finding | Outcome:
    assert ANALYZER.stream is not None
    return ANALYZER.stream(data, wanted)


def framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


def answered() -> bytes:
    """A response with a compressed name and EDNS."""
    response = dns.message.make_response(dns.message.from_wire(QUERY))
    response.answer.append(dns.rrset.from_text("www.messenger.example.", 60, "IN", "A", "192.0.2.1"))
    return response.to_wire()


NOT_DNS = [
    b"",
    QUERY[:11],
    QUERY[:20],
    QUERY[:12],
    QUERY[:36],
    b"\0\0\x28\0" + QUERY[4:],  # UPDATE
    QUERY[:4] + b"\0\0" + QUERY[6:],  # no question
    QUERY[:12] + b"\xc0\x0c" + QUERY[12:],  # compressed
    QUERY[:12] + b"\x40" + b"x" * 64 + QUERY[12:],  # no label is so long
]


def test_question_of_a_real_query() -> None:
    found = query(QUERY)
    assert found is not None
    assert (found.name, found.type) == ("www.messenger.example", A)
    assert asked("x.example", "AAAA").type == AAAA
    assert asked(".").name == ""


def test_properties_of_a_real_query() -> None:
    found = read_datagram(QUERY)
    assert isinstance(found, Finding)
    assert (found.message, found.consumed) == (query(QUERY), 0)
    assert found.properties == {
        "dns": True,
        "dns.name": "www.messenger.example",
        "dns.type": "A",
        "dns.id": int.from_bytes(QUERY[:2], "big"),
        "dns.edns": True,
        "dns.questions": 1,
        "dns.response": False,
        "dns.tcp": False,
    }
    assert found.properties.keys() == EVERYTHING


def test_responses_have_no_message_to_answer() -> None:
    for edns, message in (True, answered()), (False, answered()[:-5]):
        found = read_datagram(message)
        assert isinstance(found, Finding)
        assert found.message is None
        assert found.properties["dns.response"] is True
        assert found.properties["dns.name"] == "www.messenger.example"
        assert found.properties["dns.edns"] is edns
    assert query(answered()) is None


@pytest.mark.parametrize(
    ("type_", "text"), [("HTTPS", "HTTPS"), ("SVCB", "SVCB"), ("ANY", "ANY"), ("TYPE65280", "TYPE65280")]
)
def test_types_have_names(type_: str, text: str) -> None:
    found = read_datagram(dns.message.make_query("x.example", type_).to_wire())
    assert isinstance(found, Finding)
    assert found.properties["dns.type"] == text


def test_edns_is_looked_for_only_when_wanted() -> None:
    found = read_datagram(QUERY, frozenset({"dns.name"}))
    assert isinstance(found, Finding)
    assert found.properties.keys() == EVERYTHING - {"dns.edns"}


@pytest.mark.parametrize(
    ("message", "edns"),
    [
        (dns.message.make_query("x.example", "A", use_edns=False).to_wire(), False),
        (QUERY[:QUESTION_END], False),
        (QUERY[: QUESTION_END + 3], False),
        (QUERY[:5] + b"\2" + QUERY[6:QUESTION_END] + b"\1y\xc0\x0c\0\1\0\1" + QUERY[QUESTION_END:], True),
    ],
)
def test_edns_behind_any_number_of_questions(message: bytes, edns: bool) -> None:
    found = read_datagram(message)
    assert isinstance(found, Finding)
    assert found.properties["dns.edns"] is edns
    assert found.properties["dns.questions"] == message[5]


def test_bytes_that_are_not_ascii_are_escaped() -> None:
    found = query(QUERY.replace(b"WWW", b"W\xffW"))
    assert found is not None
    assert found.name == "w\\xffw.messenger.example"


def test_longest_name() -> None:
    label = b"\x3f" + b"x" * 63
    name = label * 3 + b"\x3d" + b"y" * 61 + b"\0"
    assert len(name) == 255
    found = query(QUERY[:12] + name + b"\0\1\0\1")
    assert found is not None
    assert query(QUERY[:12] + b"\x3e" + b"z" * 62 + name[64:] + b"\0\1\0\1") is not None
    assert query(QUERY[:12] + label * 3 + b"\x3e" + b"y" * 62 + b"\0\0\1\0\1") is None


@pytest.mark.parametrize("payload", NOT_DNS)
def test_something_else(payload: bytes) -> None:
    assert query(payload) is None
    assert read_datagram(payload) is Outcome.OTHER
    assert read_growing(read_stream, framed(payload), EVERYTHING) is Outcome.OTHER


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\x9f" * 32],
)
def test_another_protocols_stream_is_not_waited_for(data: bytes) -> None:
    assert read_stream(data) is Outcome.OTHER


@given(st.binary(max_size=600) | st.binary(max_size=50).map(lambda tail: QUERY[:12] + tail) | damaged(answered()))
@example(QUERY[:12] + b"\x3f")
def test_any_bytes_are_good_input(payload: bytes) -> None:
    found = query(payload)
    if found is not None:
        assert payload.startswith(found.question, 12)
    read_datagram(payload)


@given(st.integers(0, len(QUERY)))
def test_cut_anywhere(length: int) -> None:
    assert (query(QUERY[:length]) is None) == (length < QUESTION_END)


def test_messages_follow_one_another_on_a_stream() -> None:
    stream = framed(QUERY) + framed(answered()) + framed(QUERY)
    for message in QUERY, answered(), QUERY:
        datagram, found = read_datagram(message), read_stream(stream)
        assert isinstance(datagram, Finding)
        assert found == Finding({**datagram.properties, "dns.tcp": True}, 2 + len(message), message=datagram.message)
        stream = stream[found.consumed :]
    assert read_stream(stream) is Outcome.MORE


@given(st.binary(max_size=300) | damaged(framed(QUERY)) | damaged(framed(answered())))
def test_any_bytes_in_any_pieces(data: bytes) -> None:
    read_growing(read_stream, data, EVERYTHING)


HEADER = struct.Struct("!HHHHHH")


@pytest.mark.parametrize(
    "message",
    [
        HEADER.pack(1, 0, 1, 0, 0, 0) + b"\1x" * 32000,
        HEADER.pack(1, 0, 65535, 0, 0, 0) + bytes(65000),
        HEADER.pack(1, 0, 65535, 0, 0, 0) + bytes(5) + b"\1x" * 32000,
        HEADER.pack(1, 0, 1, 65535, 65535, 65535) + bytes(65000),
        HEADER.pack(1, 0, 1, 65535, 65535, 65535) + bytes(5) + (b"\xc0\x0c" + bytes(10)) * 5000,
    ],
)
def test_work_is_bounded_by_the_bytes(message: bytes) -> None:
    assert calls(read_stream, framed(message), EVERYTHING) < 100 + len(message)


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


def test_forged_answer_on_a_stream() -> None:
    on_stream = forge(asked("x.example"), addresses=[bytes([192, 0, 2, 66])], ttl_seconds=300, tcp=True)
    assert struct.unpack_from("!H", on_stream) == (len(on_stream) - 2,)
    answer = dns.message.from_wire(on_stream[2:])
    assert answer.answer[0].to_text() == "x.example. 300 IN A 192.0.2.66"


def test_forged_refusal() -> None:
    assert dns.message.from_wire(forge(asked("x.example"), rcode=5)).rcode() == dns.rcode.REFUSED
