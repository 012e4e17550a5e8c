"""Whole conversations of all protocols, changed at random: whatever comes, a handshake says something or waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake import CredentialsPresented, Handshake, Refused, Requested
from tests.unit.proxy.handshake.driver import drive

ADDRESSES = (
    b"\x01\x7f\x00\x00\x01\x00\x50",
    b"\x03\x0cproxy.testing\x00\x50",
    b"\x03\x09127.0.0.1\x00\x50",
    b"\x04" + bytes(15) + b"\x01\x00\x50",
)
GREETINGS = (b"\x05\x01\x00", b"\x05\x01\x02\x01\x04anna\x06secret", b"\x05\x02\x00\x02\x01\x04anna\x03bad")
HTTP_FIELDS = (b"", b"Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n", b"Content-Length: 5\r\n")
VALID = (
    *(
        greeting + bytes((5, command, 0)) + address
        for greeting in GREETINGS
        for command in (1, 2, 3)
        for address in ADDRESSES
    ),
    *(bytes((4, command)) + b"\x00\x50\x7f\x00\x00\x01anna\x00" for command in (1, 2)),
    b"\x04\x01\x00\x50\x00\x00\x00\x01\x00proxy.testing\x00",
    *(b"CONNECT proxy.testing:80 HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n" for fields in HTTP_FIELDS),
    b"GET http://proxy.testing/ HTTP/1.1\r\nHost: x\r\n\r\n",
)
MOST_INPUT_BYTES = 16384


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """A valid one with up to four changes, and something behind it."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 8))
        data[at : at + size] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[at : at + 4 * size]))))
    return bytes(data) + draw(st.one_of(st.just(b""), st.binary(max_size=300), st.just(b"a" * MOST_INPUT_BYTES)))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in at)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(conversations(), st.lists(st.integers(0, 20000), max_size=8), st.booleans())
def test_cuts_change_nothing_and_nothing_is_raised(data: bytes, at: list[int], authenticate: bool) -> None:
    whole = drive([data], authenticate=authenticate)
    assert drive(cut(data, at), authenticate=authenticate) == whole


@given(conversations(), st.booleans())
def test_there_is_one_end_and_nobody_gets_in_unasked(data: bytes, authenticate: bool) -> None:
    """With users, a request comes behind a right password only; a refusal or a request is the last event."""
    events, sent, early = drive([data], authenticate=authenticate)
    ends = [event for event in events if isinstance(event, Refused | Requested)]
    assert len(ends) <= 1
    assert events[-len(ends) :] == ends or not ends
    if authenticate and any(isinstance(event, Requested) for event in events):
        presented = events[0]
        assert isinstance(presented, CredentialsPresented)
        assert presented.password == b"secret"
    assert len(sent) < 1024, "no answer is longer than what a socket takes at once"
    assert data.endswith(early)


@given(conversations(), st.booleans())
def test_one_that_waits_has_little_to_wait_for(data: bytes, authenticate: bool) -> None:
    """No message may go on for ever: 16 KiB later there is an event, or there was one."""
    handshake = Handshake(authenticate=authenticate)
    handshake.receive(data)
    if handshake.next_event() is None:
        handshake.receive(b"a" * MOST_INPUT_BYTES)
        assert handshake.next_event() is not None
