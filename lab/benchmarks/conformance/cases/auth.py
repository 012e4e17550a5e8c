"""User and password (RFC 1929)."""

from __future__ import annotations

import base64
import time

from lab.benchmarks.conformance.case import Needs, case
from lab.benchmarks.conformance.dialogue import (
    enter,
    expect_choice,
    expect_echo,
    expect_status,
    expect_success,
    offered_http,
    read_head,
    read_reply,
    read_verdict,
    through,
)
from lab.benchmarks.conformance.messages import (
    CONNECT,
    NO_AUTH,
    NONE_ACCEPTABLE,
    USER_PASSWORD,
    credentials,
    greeting,
    http_connect,
    request,
    socks4_request,
)
from lab.benchmarks.conformance.outcome import Wrong
from lab.benchmarks.conformance.stage import Connection, Stage

_SECTION = "RFC 1929 section 2"
_GRANTED, _NO_LOGIN = range(200, 300), range(407, 408)
"""Statuses of HTTP."""


def _presented(stage: Stage, message: bytes) -> Connection:
    """A client who has sent these credentials."""
    client = stage.connect()
    client.send(greeting(USER_PASSWORD))
    expect_choice(client, USER_PASSWORD)
    client.send(message)
    return client


def _right(stage: Stage) -> tuple[bytes, bytes]:
    assert stage.login, "these cases need a user"
    return stage.login.user.encode(), stage.login.password.encode()


def _expect_rejection(client: Connection, what: str, *, silently: bool = False) -> None:
    """`silently`: an end without a verdict will do."""
    if silently and client.hang_up():
        return
    if read_verdict(client) == 0:
        raise Wrong(f"{what}: was let in")
    client.expect_end(f"the rejection of {what}")


@case("auth-right", _SECTION, sent="the right user and password", right="05 02, 01 00, and a flow", needs=Needs.USER)
def right(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    expect_echo(client, far)


@case("auth-wrong", _SECTION, sent="a wrong password", right="01 and a status other than 00; an end", needs=Needs.USER)
def wrong(stage: Stage) -> None:
    user, password = _right(stage)
    _expect_rejection(_presented(stage, credentials(user, password + b"x")), "a wrong password")
    _expect_rejection(_presented(stage, credentials(user, password[:-1])), "the beginning of the password")


@case(
    "auth-wrong-joined",
    _SECTION,
    sent="greeting, a wrong password and a request in one segment",
    right="no connection to the target",
    needs=Needs.USER,
)
def wrong_joined(stage: Stage) -> None:
    user, _ = _right(stage)
    target, client = stage.listen(), stage.connect()
    asked = request(CONNECT, target.host, target.port)
    client.send(greeting(USER_PASSWORD) + credentials(user, b"wrong") + asked)
    expect_choice(client, USER_PASSWORD)
    target.expect_nobody("a request behind a wrong password")


@case(
    "auth-joined",
    "RFC 9293 section 2",
    sent="greeting, the right password, request and early data in one segment",
    right="all answered, the flow stands",
    needs=Needs.USER,
)
def joined(stage: Stage) -> None:
    target, client = stage.listen(), stage.connect()
    asked = request(CONNECT, target.host, target.port)
    client.send(greeting(USER_PASSWORD) + credentials(*_right(stage)) + asked + b"early")
    expect_choice(client, USER_PASSWORD)
    if status := read_verdict(client):
        raise Wrong(f"the right password: status {status}")
    expect_success(read_reply(client))
    target.accept().expect(b"early", "early data at the target")


@case(
    "auth-bytes",
    "RFC 9293 section 2",
    sent="the right user and password byte by byte",
    right="01 00",
    needs=Needs.USER,
)
def bytewise(stage: Stage) -> None:
    client = _presented(stage, b"")
    for byte in credentials(*_right(stage)):
        client.send(bytes([byte]))
        time.sleep(0.005)
    if status := read_verdict(client):
        raise Wrong(f"the right password: status {status}")


@case(
    "auth-required",
    "RFC 1928 section 3",
    sent="05 01 00: no authentication, where there are users; after another client of this address got in with one",
    right="05 FF",
    needs=Needs.USER,
)
def required(stage: Stage) -> None:
    enter(stage)
    client = stage.connect()
    client.send(greeting(NO_AUTH))
    expect_choice(client, NONE_ACCEPTABLE)


@case(
    "auth-skipped",
    "RFC 1928 section 3",
    sent="05 01 02, then a request instead of user and password",
    right="it is not served",
    needs=Needs.USER,
)
def skipped(stage: Stage) -> None:
    target = stage.listen()
    client = _presented(stage, request(CONNECT, target.host, target.port) + b"\0" * 8)
    target.expect_nobody("a request without user and password")
    data, _ = client.end(0.05)
    if data[1:2] == b"\0":
        raise Wrong(f"{data[:12].hex(' ')} came")


@case(
    "auth-version",
    _SECTION,
    sent="the right user and password, but version 05 for 01",
    right="rejected",
    needs=Needs.USER,
)
def version(stage: Stage) -> None:
    client = _presented(stage, credentials(*_right(stage), version=5))
    _expect_rejection(client, "version 5", silently=True)


@case(
    "auth-empty",
    _SECTION,
    sent="an empty user; the right user with an empty password; both empty",
    right="rejected, with a status or at least an end; not left waiting",
    needs=Needs.USER,
)
def empty(stage: Stage) -> None:
    user, password = _right(stage)
    for pair in ((b"", password), (user, b""), (b"", b"")):
        _expect_rejection(_presented(stage, credentials(*pair)), "an empty user or password", silently=True)


@case(
    "auth-255-wrong",
    _SECTION,
    sent="a wrong user and password of 255 bytes each",
    right="rejected, with a status or at least an end",
    needs=Needs.USER,
)
def longest_wrong(stage: Stage) -> None:
    _expect_rejection(
        _presented(stage, credentials(b"u" * 255, b"p" * 255)), "a wrong user of 255 bytes", silently=True
    )


@case(
    "auth-255",
    _SECTION,
    sent="the right user and password, 255 bytes each; and but for the last byte",
    right="01 00; rejected",
    needs=Needs.LONGEST_USER,
)
def longest(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    expect_echo(client, far)
    user, password = _right(stage)
    _expect_rejection(
        _presented(stage, credentials(user, password[:-1] + b"?")), "254 right bytes of 255", silently=True
    )


@case(
    "auth-other-doors",
    "practice: no way around the users (RFC 9110 section 11.7)",
    sent="SOCKS4 and HTTP CONNECT without a password, where there are users; after another client got in with one",
    right="no connection to the target",
    needs=Needs.USER,
)
def other_doors(stage: Stage) -> None:
    enter(stage)
    target = stage.listen()
    for message in (
        socks4_request(target.host, target.port),
        socks4_request(target.host, target.port, user=_right(stage)[0]),
        http_connect(f"{target.host}:{target.port}"),
    ):
        stage.connect().send(message)
    target.expect_nobody("a client without user and password")


@case(
    "auth-http",
    "RFC 7617, RFC 9110 section 11.7",
    sent="HTTP CONNECT without, with a wrong and with the right Proxy-Authorization",
    right="407 with Proxy-Authenticate, 407, 200 and a flow",
    needs=Needs.USER,
    optional=True,
)
def http(stage: Stage) -> None:
    user, password = _right(stage)
    target = stage.listen()
    where = f"{target.host}:{target.port}"
    expect_status(offered_http(stage, where), _NO_LOGIN)
    for words, statuses in ((user + b":wrong", _NO_LOGIN), (user + b":" + password, _GRANTED)):
        client = stage.connect()
        client.send(http_connect(where, f"Proxy-Authorization: Basic {base64.b64encode(words).decode()}"))
        head = read_head(client)
        expect_status(head, statuses)
        if statuses is _NO_LOGIN and b"\nproxy-authenticate:" not in head.lower():
            raise Wrong("407 without Proxy-Authenticate")
    expect_echo(client, target.accept())


CASES = (
    right,
    wrong,
    wrong_joined,
    joined,
    bytewise,
    required,
    skipped,
    version,
    empty,
    longest_wrong,
    longest,
    other_doors,
    http,
)
