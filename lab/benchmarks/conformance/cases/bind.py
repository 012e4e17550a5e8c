"""BIND (RFC 1928 section 4): the server listens, a peer comes, two replies."""

from __future__ import annotations

import contextlib
import time

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import enter, expect_echo, expect_offer, expect_success, read_reply
from lab.benchmarks.conformance.messages import BIND, SUCCEEDED, Reply, request
from lab.benchmarks.conformance.outcome import Wrong
from lab.benchmarks.conformance.stage import ANSWER_SECONDS, LOCALHOST, Connection, Stage

_SECTION, _PEER = "RFC 1928 sections 4 and 6", "RFC 1928 section 6: DST.ADDR and DST.PORT are used to evaluate"
_OTHER_HOST = "127.0.0.2"


def _bind(stage: Stage, expected: str = LOCALHOST) -> tuple[Connection, tuple[str, int]]:
    """A client that waits for the peer `expected`, and where that peer has to connect to."""
    client = enter(stage)
    reply = expect_offer(client, request(BIND, expected, 0), "BIND")
    return client, _place(reply)


def _place(reply: Reply) -> tuple[str, int]:
    return (LOCALHOST if reply.host in ("0.0.0.0", "::", "") else reply.host), reply.port


@case(
    "bind-replies",
    _SECTION,
    sent="BIND for a peer on 127.0.0.1, which connects",
    right="REP 00 with where to connect to; REP 00 with the peer's address and port; a flow",
    optional=True,
)
def replies(stage: Stage) -> None:
    client, where = _bind(stage)
    if not where[1]:
        raise Wrong("the first reply has port 0")
    client.expect_nothing("a second reply before the peer came", 0.1)
    peer = stage.call(where)
    second = read_reply(client, "the second reply")
    expect_success(second, "the second reply")
    if (second.host, second.port) != peer.local:
        raise Wrong(f"the second reply says {second.host} {second.port}; the peer is {' '.join(map(str, peer.local))}")
    expect_echo(client, peer)


@case(
    "bind-address", _SECTION, sent="BIND", right="the first reply has an address that a peer can be told", optional=True
)
def address(stage: Stage) -> None:
    client = enter(stage)
    reply = expect_offer(client, request(BIND, LOCALHOST, 0), "BIND")
    if _place(reply) != (reply.host, reply.port):
        raise Wrong(f"BND.ADDR is {reply.host or 'empty'}")


@case(
    "bind-other-peer",
    _PEER,
    sent=f"BIND for a peer on {_OTHER_HOST}; one on 127.0.0.1 connects",
    right="it is not let in: no flow, no REP 00",
    optional=True,
)
def other_peer(stage: Stage) -> None:
    client, where = _bind(stage, _OTHER_HOST)
    try:
        stage.call(where, LOCALHOST)
    except ConnectionRefusedError:
        return
    except ConnectionResetError:
        pass  # The system had let it in, and the server sent it away before it was looked at.
    data, _ = client.end(0.4)
    if len(data) > 1 and data[1] == SUCCEEDED:
        raise Wrong("another host's connection was taken for the peer's")


@case(
    "bind-end",
    _SECTION,
    sent="BIND; the client leaves before a peer has come",
    right="nobody listens for the peer any more",
    optional=True,
)
def end(stage: Stage) -> None:
    client, where = _bind(stage)
    client.sock.close()
    until = time.monotonic() + ANSWER_SECONDS
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < until:
            if stage.call(where).hang_up():
                return
            time.sleep(0.1)
        raise Wrong(f"the port still accepted {ANSWER_SECONDS:g} s after the client had left")


CASES = (replies, address, other_peer, end)
