"""Flows from the client, and what becomes of each. What they say to each other: `server`."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import dns.exception
import dns.message
import dns.rdatatype

ANSWER = b"answer\n"
"""What the server says to whatever comes first."""
MORE = b"more\n"
"""Asks it for the BULK."""
BULK = bytes(100_000)
"""What a flow cannot get within HIT_SECONDS that is policed to 140 kbit/s."""
ADDRESSES = {"A": "203.0.113.80", "AAAA": "2001:db8:2::80", "TXT": '"real"'}
"""What the server's resolver answers to all names."""
HIT_SECONDS = 2.5
"""Silence for so long is no delay of a machine with much to do: what was to be hit was hit."""
INNOCENT_SECONDS = 20.0
"""An innocent flow is waited for so long, at every step."""
_DATAGRAM = bytes(1000)
_READ_BYTES = 65536


class Fate(StrEnum):
    """What became of a flow.

    PASSED: all came that was asked for. DROPPED: no connection, or no answer to the first payload. STALLED: an answer
    to it, and after a while nothing any more. SLOWED: not all came in time, but some still came. RESET: an RST, or
    ICMP. FORGED: an answer that is not the server's. CLOSED: an end that nobody was to make.
    """

    PASSED = "passed"
    DROPPED = "dropped"
    STALLED = "stalled"
    SLOWED = "slowed"
    RESET = "reset"
    FORGED = "forged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Whose it is, and what the client says first; behind the answer to it, and a pause, it asks for more.

    rounds: how many datagrams it sends then, one for each answer. before: another connection, which opens with that, is
    made first, from another port of the same address; whatever becomes of it.
    """

    kind: Literal["tcp", "udp", "dns"]
    client: tuple[str, int]
    server: tuple[str, int]
    payload: bytes
    pause_seconds: float = 0.0
    rounds: int = 2
    before: bytes | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A flow's fate, and how many bytes came behind the first answer."""

    fate: Fate
    received_bytes: int = 0


async def run(flow: Flow, patience_seconds: float) -> Seen:
    """Have the flow happen. patience_seconds: of each step. Raises OSError (a mistake of the lab's)."""
    if flow.kind == "tcp":
        if flow.before is not None:
            await _tcp(_former(flow), flow.before, HIT_SECONDS)
        return await _tcp(flow, flow.payload, patience_seconds)
    if flow.kind == "udp":
        return await _udp(flow, patience_seconds)
    return await _dns(flow, patience_seconds)


def _former(flow: Flow) -> Flow:
    address, port = flow.client
    return Flow(kind="tcp", client=(address, port - 1), server=flow.server, payload=flow.payload)


def _socket(flow: Flow, kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    opened.bind(flow.client)
    return opened


async def _tcp(flow: Flow, payload: bytes, patience_seconds: float) -> Seen:
    loop = asyncio.get_running_loop()
    with _socket(flow, socket.SOCK_STREAM) as connection:
        try:
            async with asyncio.timeout(patience_seconds):
                await loop.sock_connect(connection, flow.server)
                await loop.sock_sendall(connection, payload)
                answer = await loop.sock_recv(connection, _READ_BYTES)
        except TimeoutError:
            return Seen(Fate.DROPPED)
        except ConnectionError:
            return Seen(Fate.RESET)
        if not answer.startswith(ANSWER):
            return Seen(Fate.FORGED if answer else Fate.CLOSED)
        await asyncio.sleep(flow.pause_seconds)
        return await _bulk(connection, patience_seconds)


async def _bulk(connection: socket.socket, patience_seconds: float) -> Seen:
    loop = asyncio.get_running_loop()
    received, last = 0, 0.0
    started = loop.time()
    try:
        async with asyncio.timeout(patience_seconds):
            await loop.sock_sendall(connection, MORE)
            while received < len(BULK):
                data = await loop.sock_recv(connection, _READ_BYTES)
                if not data:
                    return Seen(Fate.CLOSED, received)
                received, last = received + len(data), loop.time()
    except TimeoutError:
        going_on = last > started + patience_seconds / 2
        return Seen(Fate.SLOWED if going_on else Fate.STALLED, received)
    except ConnectionError:
        return Seen(Fate.RESET, received)
    return Seen(Fate.PASSED, received)


async def _udp(flow: Flow, patience_seconds: float) -> Seen:
    received = 0
    with _socket(flow, socket.SOCK_DGRAM) as connection:
        connection.connect(flow.server)
        for number, payload in enumerate([flow.payload] + [_DATAGRAM] * flow.rounds):
            if number == 1:
                await asyncio.sleep(flow.pause_seconds)
            try:
                received += len(await _exchange(connection, payload, patience_seconds))
            except TimeoutError:
                return Seen(Fate.STALLED if number else Fate.DROPPED, received)
            except ConnectionError:
                return Seen(Fate.RESET, received)
    return Seen(Fate.PASSED, received)


async def _dns(flow: Flow, patience_seconds: float) -> Seen:
    with _socket(flow, socket.SOCK_DGRAM) as connection:
        connection.connect(flow.server)
        try:
            data = await _exchange(connection, flow.payload, patience_seconds)
            return Seen(Fate.PASSED if _is_real(data) else Fate.FORGED, len(data))
        except TimeoutError:
            return Seen(Fate.DROPPED)


async def _exchange(connection: socket.socket, payload: bytes, patience_seconds: float) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(patience_seconds):
        await loop.sock_sendall(connection, payload)
        return await loop.sock_recv(connection, _READ_BYTES)


def _is_real(data: bytes) -> bool:
    """Whether a DNS message says what the server says."""
    try:
        answer = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return False
    asked = dns.rdatatype.to_text(answer.question[0].rdtype)
    return [record.to_text() for records in answer.answer for record in records] == [ADDRESSES[asked]]
