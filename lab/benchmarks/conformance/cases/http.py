"""HTTP CONNECT (RFC 9110 section 9.3.6), on the port of SOCKS5.

Each case but the first asks first for what every server that offers it grants: else a fault would pass for a refusal.
"""

from __future__ import annotations

import time

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import expect_echo, expect_status, offered_http, read_head
from lab.benchmarks.conformance.messages import http_connect
from lab.benchmarks.conformance.stage import LOCALHOST, LOCALHOST6, Stage

_SECTION = "RFC 9110 section 9.3.6"
_GRANTED, _FAILED = range(200, 300), range(400, 600)


def _offered(stage: Stage) -> None:
    target = stage.listen()
    offered_http(stage, f"{target.host}:{target.port}")


def _flow(stage: Stage, host: str, authority: str) -> None:
    target, client = stage.listen(host), stage.connect()
    client.send(http_connect(f"{authority}:{target.port}"))
    expect_status(read_head(client), _GRANTED)
    expect_echo(client, target.accept())


@case("http-connect", _SECTION, sent="CONNECT 127.0.0.1:PORT", right="2xx, then a flow", optional=True)
def connect(stage: Stage) -> None:
    _offered(stage)
    _flow(stage, LOCALHOST, LOCALHOST)


@case("http-cut", _SECTION, sent="CONNECT in several segments, data behind it", right="the data first", optional=True)
def cut(stage: Stage) -> None:
    _offered(stage)
    target, client = stage.listen(), stage.connect()
    message = http_connect(f"{target.host}:{target.port}", "User-Agent: conformance") + b"early"
    for start in range(0, len(message), 7):
        client.send(message[start : start + 7])
        time.sleep(0.005)
    expect_status(read_head(client), _GRANTED)
    far = target.accept()
    far.expect(b"early", "early data at the target")
    expect_echo(client, far)


@case("http-joined", _SECTION, sent="CONNECT and data behind it in one segment", right="the data first", optional=True)
def joined(stage: Stage) -> None:
    _offered(stage)
    target, client = stage.listen(), stage.connect()
    client.send(http_connect(f"{target.host}:{target.port}") + b"early")
    expect_status(read_head(client), _GRANTED)
    target.accept().expect(b"early", "early data at the target")


@case("http-domain", _SECTION, sent="CONNECT localhost:PORT", right="2xx, then a flow", optional=True)
def domain(stage: Stage) -> None:
    _offered(stage)
    _flow(stage, LOCALHOST, "localhost")


@case("http-ipv6", "RFC 9110 section 9.3.6, RFC 3986", sent="CONNECT [::1]:PORT", right="2xx, a flow", optional=True)
def ipv6(stage: Stage) -> None:
    _offered(stage)
    _flow(stage, LOCALHOST6, f"[{LOCALHOST6}]")


@case(
    "http-refused",
    _SECTION,
    sent="CONNECT to a port that nobody listens on",
    right="a status that says so: 4xx or 5xx, never 2xx",
    optional=True,
)
def refused(stage: Stage) -> None:
    _offered(stage)
    client = stage.connect()
    client.send(http_connect(f"{LOCALHOST}:{stage.unused_port()}"))
    expect_status(read_head(client), _FAILED)


CASES = (connect, cut, joined, domain, ipv6, refused)
