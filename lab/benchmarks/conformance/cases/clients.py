"""Many clients, and those who say nothing."""

from __future__ import annotations

import time

from lab.benchmarks.conformance.case import Needs, case
from lab.benchmarks.conformance.dialogue import enter, expect_choice, expect_echo, expect_success, read_reply, through
from lab.benchmarks.conformance.messages import CONNECT, NO_AUTH, UNRESOLVABLE, greeting, request
from lab.benchmarks.conformance.outcome import NotTested, Wrong
from lab.benchmarks.conformance.stage import HANDSHAKE_SECONDS, LOCALHOST, Connection, Stage

_SILENT, _MANY, _RESETS = 50, 200, 12
_PAUSE_SECONDS = 0.005
_DROPPED_SECONDS = 2.5 * HANDSHAKE_SECONDS
_SOURCE = "practice; CWE-400 (no bound on what one client takes)"


@case(
    "clients-silent-dropped",
    _SOURCE,
    sent="nothing; half a greeting; a greeting and half a request",
    right=f"dropped within {_DROPPED_SECONDS:g} s, where the deadline of handshakes can be set to "
    f"{HANDSHAKE_SECONDS:g} s",
    needs=Needs.SHORT_DEADLINE,
)
def silent_dropped(stage: Stage) -> None:
    clients = {"nothing": stage.connect(), "half a greeting": stage.connect(), "half a request": stage.connect()}
    clients["half a greeting"].send(b"\5")
    clients["half a request"].send(greeting(NO_AUTH))
    expect_choice(clients["half a request"], NO_AUTH)
    clients["half a request"].send(b"\5\1\0")
    for number, (what, client) in enumerate(clients.items()):
        if client.end(_DROPPED_SECONDS if not number else 0.2)[1] == "open":
            problem = f"who sent {what} was still connected after {_DROPPED_SECONDS:g} s"
            raise Wrong(problem) if stage.deadline_set else NotTested(f"{problem}; its deadline cannot be set")


@case(
    "clients-silent-beside",
    _SOURCE,
    sent=f"{_SILENT} clients who say nothing or half a greeting, then one who speaks",
    right="who speaks is served at once",
)
def silent_beside(stage: Stage) -> None:
    for number in range(_SILENT):
        client = stage.connect()
        if number % 2:
            client.send(b"\5")
    expect_echo(*through(stage, stage.listen()))


@case(
    "clients-waiting-beside",
    _SOURCE,
    sent="5 clients whose target does not answer, then one whose target does",
    right="the latter is served at once",
)
def waiting_beside(stage: Stage) -> None:
    full = stage.listen(backlog=0)
    stage.call((full.host, full.port))
    for _ in range(5):
        enter(stage).send(request(CONNECT, full.host, full.port))
    expect_echo(*through(stage, stage.listen()))


@case(
    "clients-many",
    _SOURCE,
    sent=f"{_MANY} clients at once, each with a flow of its own",
    right="all are served, no two flows are mixed",
)
def many(stage: Stage) -> None:
    target = stage.listen()
    clients = [stage.connect() for _ in range(_MANY)]
    for client in clients:
        client.send(greeting(NO_AUTH))
    for number, client in enumerate(clients):
        expect_choice(client, NO_AUTH)
        client.send(request(CONNECT, target.host, target.port))
        expect_success(read_reply(client, f"reply to client {number + 1} of {_MANY}"))
        client.send(_name(number))
    seen: dict[bytes, Connection] = {}
    for _ in clients:
        far = target.accept()
        seen[far.read(4, "a flow to the target")] = far
    for number, client in enumerate(clients):
        if _name(number) not in seen:
            raise Wrong(f"the bytes of client {number + 1} of {_MANY} did not come")
        seen[_name(number)].send(_name(number))
        client.expect(_name(number), "a flow to the client")


@case(
    "clients-reset",
    _SOURCE,
    sent=f"{_RESETS} times: a reset behind the greeting, behind a request for a name that does not resolve, behind one "
    "for a target that does not answer, behind one that is refused",
    right="the next client is served",
)
def reset(stage: Stage) -> None:
    full = stage.listen(backlog=0)
    stage.call((full.host, full.port))
    messages = [
        b"",
        request(CONNECT, UNRESOLVABLE, 9),
        request(CONNECT, full.host, full.port),
        request(CONNECT, LOCALHOST, stage.unused_port()),
    ]
    for number in range(_RESETS * len(messages)):
        client = stage.connect()
        client.send(greeting(NO_AUTH) + messages[number % len(messages)])
        expect_choice(client, NO_AUTH)  # by now the server has read the request, too
        time.sleep(_PAUSE_SECONDS * (number % 3))  # at once: before it has an answer
        client.reset()
    expect_echo(*through(stage, stage.listen()))


def _name(number: int) -> bytes:
    return number.to_bytes(4, "big")


CASES = (silent_dropped, silent_beside, waiting_beside, many, reset)
