"""SOCKS4 and SOCKS4a (the protocol descriptions of Ying-Da Lee), on the port of SOCKS5.

Each case asks first whether SOCKS4 is offered at all: else a fault would pass for a refusal.
"""

from __future__ import annotations

import time

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import expect_echo
from lab.benchmarks.conformance.messages import SOCKS4_GRANTED, SOCKS4_REPLY_BYTES, socks4_request
from lab.benchmarks.conformance.outcome import NotOffered, Wrong
from lab.benchmarks.conformance.stage import LOCALHOST, Connection, Stage

_SOCKS4, _SOCKS4A = "SOCKS4 (socks4.protocol)", "SOCKS4a (socks4a.protocol)"
_NAMED = "0.0.0.1"
"""The host that says: a domain is behind the user."""


def _offered(stage: Stage) -> None:
    """Raises NotOffered where nothing that is SOCKS4 comes back to a request that is granted where it is offered."""
    target, client = stage.listen(), stage.connect()
    client.send(socks4_request(target.host, target.port, user=b"anna"))
    if end := client.hang_up():
        raise NotOffered(f"SOCKS4: the connection was {end}")
    try:
        head = client.read(2, "SOCKS4 reply")
    except (Wrong, OSError) as error:
        raise NotOffered(str(error)) from None
    if head[0]:
        raise NotOffered(f"no reply of SOCKS4 came back: {head.hex(' ')}")


def _ask(stage: Stage, message: bytes) -> tuple[Connection, int]:
    """The client and the code of the reply."""
    client = stage.connect()
    client.send(message)
    return client, _read_code(client)


def _read_code(client: Connection) -> int:
    reply = client.read(SOCKS4_REPLY_BYTES, "SOCKS4 reply")
    if reply[0]:
        raise Wrong(f"SOCKS4 reply: version {reply[0]}, not 0")
    return reply[1]


def _expect_granted(code: int) -> None:
    if code != SOCKS4_GRANTED:
        raise Wrong(f"code {code}, not {SOCKS4_GRANTED}")


@case("socks4-connect", _SOCKS4, sent="CONNECT with a user name", right="00 5A and 6 bytes; a flow", optional=True)
def connect(stage: Stage) -> None:
    _offered(stage)
    target = stage.listen()
    client, code = _ask(stage, socks4_request(target.host, target.port, user=b"anna"))
    _expect_granted(code)
    expect_echo(client, target.accept())


@case("socks4-cut", _SOCKS4, sent="CONNECT byte by byte", right="as if it had come in one piece", optional=True)
def cut(stage: Stage) -> None:
    _offered(stage)
    target, client = stage.listen(), stage.connect()
    for byte in socks4_request(target.host, target.port, user=b"anna"):
        client.send(bytes([byte]))
        time.sleep(0.005)
    _expect_granted(_read_code(client))
    expect_echo(client, target.accept())


@case("socks4-joined", _SOCKS4, sent="CONNECT and data in one segment", right="a flow, the data first", optional=True)
def joined(stage: Stage) -> None:
    _offered(stage)
    target = stage.listen()
    _, code = _ask(stage, socks4_request(target.host, target.port) + b"early")
    _expect_granted(code)
    target.accept().expect(b"early", "early data at the target")


@case("socks4-refused", _SOCKS4, sent="CONNECT to a port that nobody listens on", right="00 5B, an end", optional=True)
def refused(stage: Stage) -> None:
    _offered(stage)
    client, code = _ask(stage, socks4_request(LOCALHOST, stage.unused_port()))
    if code != SOCKS4_GRANTED + 1:
        raise Wrong(f"code {code}, not {SOCKS4_GRANTED + 1}")
    client.expect_end("the rejection")


@case("socks4-domain", _SOCKS4A, sent='CONNECT to the domain "localhost"', right="00 5A; a flow", optional=True)
def domain(stage: Stage) -> None:
    _offered(stage)
    target = stage.listen()
    client, code = _ask(stage, socks4_request(_NAMED, target.port, domain=b"localhost"))
    if code == SOCKS4_GRANTED + 1:
        raise NotOffered(f"SOCKS4a: code {code}")
    _expect_granted(code)
    expect_echo(client, target.accept())


CASES = (connect, cut, joined, refused, domain)
