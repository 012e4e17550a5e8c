"""What a flow carries, and how it ends."""

from __future__ import annotations

import select
import socket
import time

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import through
from lab.benchmarks.conformance.outcome import Wrong
from lab.benchmarks.conformance.stage import Connection, Stage
from lab.benchmarks.conformance.transfer import BULK, Transfer, carry

_HALF_CLOSE = "RFC 9293 section 3.6 (half-close)"
_RESET = "RFC 9293 section 3.10.7 (a reset says that the rest is missing)"
_MEGABYTES = len(BULK) >> 20
_UNBOUNDED_BYTES = 64 << 20
"""A server that takes so much for a client who reads nothing has no bound."""


@case(
    "flow-both-ways",
    "RFC 1928 section 6: data is passed on",
    sent=f"{_MEGABYTES} MiB in each direction at once",
    right="every byte, in order",
)
def both_ways(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    up = Transfer(client, far, "to the target", finish=False)
    carry(stage.clock, up, Transfer(far, client, "to the client", finish=False))


@case(
    "flow-half-close-by-client",
    _HALF_CLOSE,
    sent=f"a few bytes and a FIN by the client; once it has come, {_MEGABYTES} MiB by the target",
    right="all of them reach the client",
)
def half_close_by_client(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    carry(stage.clock, Transfer(client, far, "to the target", b"question"))
    carry(stage.clock, Transfer(far, client, "to the client, which has sent a FIN"))


@case(
    "flow-half-close-by-target",
    _HALF_CLOSE,
    sent=f"a few bytes and a FIN by the target; once it has come, {_MEGABYTES} MiB by the client",
    right="all of them reach the target",
)
def half_close_by_target(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    carry(stage.clock, Transfer(far, client, "to the client", b"answer"))
    carry(stage.clock, Transfer(client, far, "to the target, which has sent a FIN"))


@case(
    "flow-last-bytes",
    "RFC 9293 section 3.6: a close delivers what was sent before",
    sent=f"{_MEGABYTES} MiB by the target, which closes; the client begins to read later",
    right="all of them reach the client, then the end",
)
def last_bytes(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(BULK))
    data = BULK[: _fill(far.sock, BULK)]
    far.sock.close()
    time.sleep(0.1)
    got, end = client.end()
    if (got, end) != (data, "closed"):
        raise Wrong(f"{len(got)} of {len(data)} bytes came, then: {end}")


def _fill(sock: socket.socket, data: bytes) -> int:
    """How many bytes of `data` the socket takes without waiting longer than a moment."""
    sock.setblocking(False)
    sent = 0
    while sent < len(data) and select.select([], [sock], [], 0.2)[1]:
        sent += sock.send(data[sent : sent + (1 << 18)])
    return sent


def _expect_reset(one: Connection, other: Connection, who: str) -> None:
    one.send(b"x")
    other.expect(b"x", "the flow")
    one.reset()
    if (end := other.end()[1]) != "reset":
        raise Wrong(f"the {who}'s reset: the connection was {'left open' if end == 'open' else end}")


@case("flow-reset-by-target", _RESET, sent="a reset by the target", right="the client's connection is reset")
def reset_by_target(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    _expect_reset(far, client, "target")


@case("flow-reset-by-client", _RESET, sent="a reset by the client", right="the target's connection is reset")
def reset_by_client(stage: Stage) -> None:
    client, far = through(stage, stage.listen())
    _expect_reset(client, far, "client")


@case(
    "flow-slow-reader",
    "RFC 9293 section 3.8 (flow control)",
    sent=f"up to {_UNBOUNDED_BYTES >> 20} MiB by the target while the client reads nothing",
    right="the target is slowed down: the server does not store without bound",
)
def slow_reader(stage: Stage) -> None:
    _, far = through(stage, stage.listen())
    far.sock.setblocking(False)
    taken = 0
    while taken < _UNBOUNDED_BYTES and select.select([], [far.sock], [], 0.3)[1]:
        taken += far.sock.send(BULK[: 1 << 20])
    if taken >= _UNBOUNDED_BYTES:
        raise Wrong(f"{taken >> 20} MiB were taken")


CASES = (
    both_ways,
    half_close_by_client,
    half_close_by_target,
    last_bytes,
    reset_by_target,
    reset_by_client,
    slow_reader,
)
