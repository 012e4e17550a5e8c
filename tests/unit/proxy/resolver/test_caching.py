"""The caching resolver on a source of our own: no network, no waiting."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.resolver.answers import Answer, Status
from proxy.resolver.caching import CachingResolver

FOUND = Answer(Status.FOUND, ("2001:db8::1", "192.0.2.1"), 60)
ADDRESSES = [(socket.AF_INET6, ("2001:db8::1", 80, 0, 0)), (socket.AF_INET, ("192.0.2.1", 80))]


class FakeSource:
    """Answers when the test lets it."""

    def __init__(self, answer: Answer = FOUND) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.given_up = 0
        self.closed = False
        self.go = asyncio.Event()

    async def look_up(self, name: str) -> Answer:
        self.asked.append(name)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return self.answer

    def close(self) -> None:
        self.closed = True


def caching(source: FakeSource) -> CachingResolver:
    return CachingResolver(source, 10, 5, 100, lambda: 0.0)


async def turn() -> None:
    """Let everything run that can."""
    loop = asyncio.get_running_loop()
    for _ in range(5):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def test_one_question_for_all_who_ask_and_for_those_who_come_later() -> None:
    source = FakeSource()
    resolver = caching(source)
    waiting = [asyncio.ensure_future(resolver.resolve(host, 80)) for host in ("a.example", "A.EXAMPLE.", "a.example")]
    await turn()
    source.go.set()
    assert await asyncio.gather(*waiting) == [ADDRESSES] * 3
    assert await resolver.resolve("a.example", 80) == ADDRESSES
    assert source.asked == ["a.example"]
    resolver.close()
    assert source.closed


async def test_who_gives_up_leaves_the_look_up_to_the_others() -> None:
    source = FakeSource()
    resolver = caching(source)
    impatient, patient = (asyncio.ensure_future(resolver.resolve("a.example", 80)) for _ in range(2))
    await turn()
    impatient.cancel()
    await turn()
    assert source.given_up == 0
    source.go.set()
    assert await patient == ADDRESSES
    assert impatient.cancelled()


async def test_with_the_last_who_waits_the_look_up_is_given_up() -> None:
    source = FakeSource()
    resolver = caching(source)
    first = asyncio.ensure_future(resolver.resolve("a.example", 80))
    await turn()
    first.cancel()
    second = asyncio.ensure_future(resolver.resolve("a.example", 80))
    await turn()
    assert source.given_up == 1
    source.go.set()
    assert await second == ADDRESSES
    assert source.asked == ["a.example"] * 2


async def test_a_failure_is_not_remembered_and_a_no_is() -> None:
    source = FakeSource(Answer(Status.FAILED, error="DNS server 192.0.2.53 port 53: SERVFAIL"))
    source.go.set()
    resolver = caching(source)
    with pytest.raises(socket.gaierror, match="SERVFAIL") as failed:
        await resolver.resolve("a.example", 80)
    assert failed.value.errno == socket.EAI_AGAIN
    source.answer = Answer(Status.NO_NAME, ttl_seconds=60)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="no such name") as none:
            await resolver.resolve("a.example", 80)
        assert none.value.errno == socket.EAI_NONAME
    assert source.asked == ["a.example"] * 2


async def test_a_mistake_in_the_source_is_everybodys_and_not_remembered() -> None:
    class Broken(FakeSource):
        async def look_up(self, name: str) -> Answer:
            raise ZeroDivisionError

    resolver = caching(Broken())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await resolver.resolve("a.example", 80)


async def test_close_ends_what_is_under_way_and_tells_who_waits() -> None:
    source = FakeSource()
    resolver = caching(source)
    waiting = asyncio.ensure_future(resolver.resolve("a.example", 80))
    await turn()
    resolver.close()
    with pytest.raises(socket.gaierror, match="was closed") as error:
        await waiting
    assert error.value.errno == socket.EAI_AGAIN
    assert source.given_up == 1
