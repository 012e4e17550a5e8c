"""The races that an injecting censor runs against the server that it forges, seen by the client.

    race dns-server                    answer every question with ANSWER, until standard input ends
    race dns TRIES                     ask for FORGED_NAME, one question after the other
    race rst TRIES HELLO               open connections, AT_ONCE at a time, and send HELLO

The client prints a line of JSON (`Outcome`). A DNS race is won by the censor when its answer is the first to come; an
RST's when the connection is reset before the server's answer is read.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import time
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import msgspec

from lab.benchmarks.censor.network import SERVER
from lab.benchmarks.censor.subjects import FORGED_ADDRESS, FORGED_NAME

ANSWER = "203.0.113.77"
AT_ONCE = 50
_TRY_SECONDS = 3.0
_DATAGRAM_BYTES = 4096


class Outcome(msgspec.Struct, frozen=True):
    """won: by the censor; lost: by it; silent: nothing came. p50_seconds: until it was decided."""

    won: int
    lost: int
    silent: int
    p50_seconds: float


def outcome(winners: list[tuple[bool | None, float]]) -> Outcome:
    """Of tries: whether the censor was first (None: nothing came), and after how many seconds."""
    taken = sorted(seconds for _, seconds in winners)
    who = [won for won, _ in winners]
    return Outcome(who.count(True), who.count(False), who.count(None), taken[len(taken) // 2])


def answer_to(query: bytes) -> bytes:
    """The server's answer to a question, which is for an A record."""
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.flags |= dns.flags.RA
    answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", ANSWER))
    return answer.to_wire()


def is_forged(answer: bytes) -> bool:
    """Whether an answer carries the censor's address."""
    return any(FORGED_ADDRESS in str(rrset) for rrset in dns.message.from_wire(answer).answer)


def serve_dns() -> None:
    """Answer until standard input ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((SERVER, 53))
        print("listening", flush=True)
        while server.fileno() in select.select([server.fileno(), 0], [], [])[0]:
            query, client = server.recvfrom(_DATAGRAM_BYTES)
            server.sendto(answer_to(query), client)


def ask(tries: int) -> list[tuple[bool | None, float]]:
    """Each try has a socket, and so a port, of its own."""
    found: list[tuple[bool | None, float]] = []
    for _ in range(tries):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(_TRY_SECONDS)
            client.connect((SERVER, 53))
            started, won = time.monotonic(), None
            client.send(dns.message.make_query(FORGED_NAME, "A").to_wire())
            try:
                won = is_forged(client.recv(_DATAGRAM_BYTES))
            except TimeoutError:
                pass
            found.append((won, time.monotonic() - started))
    return found


async def open_connections(tries: int, hello: bytes) -> list[tuple[bool | None, float]]:
    """All of them, at most AT_ONCE at a time."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_open(gate, hello), name=f"try {number}") for number in range(tries)]
    return [task.result() for task in running]


async def _open(gate: asyncio.Semaphore, hello: bytes) -> tuple[bool | None, float]:
    async with gate:
        started, won = time.monotonic(), None
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                reader, writer = await asyncio.open_connection(SERVER, 443)
                try:
                    started = time.monotonic()
                    writer.write(hello)
                    won = not await reader.readexactly(1)
                finally:
                    writer.close()
        except ConnectionResetError:
            won = True
        except TimeoutError:
            pass
        return won, time.monotonic() - started


def main(kind: str, tries: str = "0", hello: str = "") -> None:
    """One of the three programs above."""
    if kind == "dns-server":
        serve_dns()
        return
    number = int(tries)
    winners = ask(number) if kind == "dns" else asyncio.run(open_connections(number, Path(hello).read_bytes()))
    print(msgspec.json.encode(outcome(winners)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
