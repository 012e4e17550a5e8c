"""The greeting (RFC 1928 section 3), and messages cut or joined by TCP."""

from __future__ import annotations

import time

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import (
    enter,
    expect_choice,
    expect_echo,
    expect_success,
    read_choice,
    read_reply,
)
from lab.benchmarks.conformance.messages import CONNECT, NO_AUTH, NONE_ACCEPTABLE, greeting, request
from lab.benchmarks.conformance.outcome import Wrong
from lab.benchmarks.conformance.stage import Connection, Stage
from lab.benchmarks.conformance.transfer import BULK

_SECTION = "RFC 1928 section 3"
_STREAM = "RFC 9293 section 2: TCP carries a stream, not messages"
_PAUSE_SECONDS = 0.01
"""Long enough for the first part to arrive alone."""
_EARLY = BULK[:50_000]


@case(
    "greeting-cut",
    _STREAM,
    sent="greeting and request, each cut once; one connection for every place",
    right="as if each had come in one piece",
)
def cut(stage: Stage) -> None:
    target = stage.listen()
    hello, asked = greeting(NO_AUTH, 0x80), request(CONNECT, target.host, target.port)
    for place in range(1, len(asked)):
        client = stage.connect()
        _send_cut(client, hello, min(place, len(hello)))
        expect_choice(client, NO_AUTH)
        _send_cut(client, asked, place)
        expect_success(read_reply(client, f"reply to a request cut behind byte {place}"))
        expect_echo(client, target.accept())


def _send_cut(client: Connection, message: bytes, place: int) -> None:
    client.send(message[:place])
    time.sleep(_PAUSE_SECONDS)
    client.send(message[place:])


@case(
    "greeting-bytes",
    _STREAM,
    sent="greeting and request byte by byte, each in a segment of its own, no answer awaited",
    right="as if each had come in one piece",
)
def bytewise(stage: Stage) -> None:
    target, client = stage.listen(), stage.connect()
    for byte in greeting(NO_AUTH) + request(CONNECT, target.host, target.port):
        client.send(bytes([byte]))
        time.sleep(_PAUSE_SECONDS)
    expect_choice(client, NO_AUTH)
    expect_success(read_reply(client))
    expect_echo(client, target.accept())


@case(
    "greeting-joined",
    _STREAM,
    sent="greeting, request and the first bytes for the target in one segment",
    right="both answered; the bytes reach the target first, and once",
)
def joined(stage: Stage) -> None:
    target, client = stage.listen(), stage.connect()
    client.send(greeting(NO_AUTH) + request(CONNECT, target.host, target.port) + b"early")
    expect_choice(client, NO_AUTH)
    expect_success(read_reply(client))
    far = target.accept()
    far.expect(b"early", "early data at the target")
    expect_echo(client, far)


@case(
    "greeting-early",
    _STREAM,
    sent=f"{len(_EARLY):,} bytes for the target right behind the request, more after the reply",
    right="they reach the target first, whole and once",
)
def early(stage: Stage) -> None:
    target, client = stage.listen(), enter(stage)
    client.send(request(CONNECT, target.host, target.port) + _EARLY)
    expect_success(read_reply(client))
    client.send(b"later")
    far = target.accept()
    far.expect(_EARLY + b"later", "early data at the target, then the rest")
    far.expect_nothing("behind the early data", 0.1)


@case(
    "greeting-no-acceptable-method",
    _SECTION,
    sent="05 01 80: a private method only",
    right="05 FF, nothing else, and an end",
)
def no_acceptable_method(stage: Stage) -> None:
    client = stage.connect()
    client.send(greeting(0x80))
    expect_choice(client, NONE_ACCEPTABLE)
    client.expect_end("05 FF")


@case(
    "greeting-ff-is-final",
    _SECTION,
    sent="05 01 80 and a request behind it",
    right="05 FF at most; the request is not served",
)
def ff_is_final(stage: Stage) -> None:
    target, client = stage.listen(), stage.connect()
    client.send(greeting(0x80) + request(CONNECT, target.host, target.port))
    target.expect_nobody("a request behind an unacceptable method")
    data, _ = client.end(0.1)
    if data not in (b"", b"\5\xff"):
        raise Wrong(f"{data.hex(' ')} came, not 05 ff")


@case("greeting-no-methods", _SECTION, sent="05 00: no methods at all", right="05 FF, or an end; no method is chosen")
def no_methods(stage: Stage) -> None:
    client = stage.connect()
    client.send(greeting())
    if not client.hang_up() and (method := read_choice(client)) != NONE_ACCEPTABLE:
        raise Wrong(f"method {method:02X} was chosen, which nobody offered")


@case("greeting-255-methods", _SECTION, sent="255 methods, 00 the last", right="05 00")
def all_methods(stage: Stage) -> None:
    client = stage.connect()
    client.send(greeting(*[0x80] * 254, NO_AUTH))
    expect_choice(client, NO_AUTH)
    target = stage.listen()
    client.send(request(CONNECT, target.host, target.port))
    expect_success(read_reply(client))


@case("greeting-version", _SECTION, sent="06 01 00: another version", right="no method is chosen")
def version(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"\6\1\0")
    data, _ = client.end(0.5)
    if data and data[-1] != NONE_ACCEPTABLE:
        raise Wrong(f"{data[:12].hex(' ')} came")


CASES = (
    cut,
    bytewise,
    joined,
    early,
    no_acceptable_method,
    ff_is_final,
    no_methods,
    all_methods,
    version,
)
