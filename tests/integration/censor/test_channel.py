"""The channel between a censor and a worker: nothing is lost, nobody hangs, and the end is noticed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from censor.lines.channel import Channel
from censor.lines.messages import Event, Stage, encode, order, report
from censor.rules import RuleSet

LARGE = encode(Stage(RuleSet(), {"blocked": b"x" * 10_000_000}))
SECONDS = 10.0


class End:
    """One end, and what came there."""

    def __init__(self, connection: socket.socket, *, limit_bytes: int | None = None) -> None:
        self.bodies: list[bytes] = []
        self.ends = 0
        self._changed = asyncio.Event()
        self.channel = Channel(connection, self._on_body, self._on_end, limit_bytes=limit_bytes)

    def _on_body(self, body: bytes) -> None:
        self.bodies.append(body)
        self._changed.set()

    def _on_end(self) -> None:
        self.ends += 1
        self._changed.set()

    async def until(self, *, bodies: int = 0, ends: int = 0) -> None:
        async with asyncio.timeout(SECONDS):
            while len(self.bodies) < bodies or self.ends < ends:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


async def test_large_messages_cross_without_waiting_for_each_other(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = map(End, pair)
    for end in (one, other):
        end.channel.attach()
        end.channel.send(LARGE)
        end.channel.send(encode(Event("censor_ready", {})))
        assert end.channel.waiting
    for end in (one, other):
        await end.until(bodies=2)
        large, small = end.bodies
        assert order(large) == Stage(RuleSet(), {"blocked": b"x" * 10_000_000})
        assert report(small) == Event("censor_ready", {})
        assert not end.channel.waiting
        assert end.ends == 0
        end.channel.close()


async def test_whoever_says_too_much_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    """That `send` comes back at all shows that it has waited for the reader, and no longer than that."""
    one = End(pair[0], limit_bytes=1000)
    one.channel.attach()
    read = bytearray()

    def reader() -> None:
        while len(read) < len(LARGE):
            read.extend(pair[1].recv(1 << 20))

    thread = threading.Thread(target=reader)
    thread.start()
    one.channel.send(LARGE)
    assert len(LARGE) - len(read) < 1000 + 2 * pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) + (1 << 20)
    async with asyncio.timeout(SECONDS):
        await asyncio.to_thread(thread.join)
    assert read == LARGE
    one.channel.close()


async def test_the_end_is_told_once_and_what_is_sent_then_vanishes(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = End(pair[0], limit_bytes=1000), End(pair[1])
    one.channel.attach()
    other.channel.send(encode(Event("censor_ready", {})))
    other.channel.close()
    one.channel.send(LARGE)  # nobody reads it: neither blocks nor raises
    await one.until(bodies=1, ends=1)
    one.channel.send(LARGE)
    one.channel.read()
    assert (len(one.bodies), one.ends, one.channel.ended, one.channel.waiting) == (1, 1, True, False)
    one.channel.close()


async def test_by_hand(pair: tuple[socket.socket, socket.socket]) -> None:
    """As at the end, when the loop is not to be waited for."""
    one, other = map(End, pair)
    one.channel.attach()
    one.channel.send(LARGE)
    one.channel.detach()
    while one.channel.waiting:
        one.channel.write()
        other.channel.read()
    other.channel.read()  # there may be nothing left
    assert len(other.bodies) == 1
    one.channel.close()
    other.channel.read()
    assert other.ends == 1
    other.channel.close()
