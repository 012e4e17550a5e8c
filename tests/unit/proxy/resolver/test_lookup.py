from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.resolver.answers import Answer, RecordType, Status
from proxy.resolver.lookup import ask_both, resolve_by, socket_address

V6 = Answer(Status.FOUND, ("2001:db8::1",), 60)
V4 = Answer(Status.FOUND, ("192.0.2.1",), 60)
NONE = Answer(Status.NO_ADDRESS)


async def never(name: str) -> Answer:
    raise AssertionError(f"asked for {name}")


async def test_what_is_known_is_not_asked_for() -> None:
    assert await resolve_by(never, "a.localhost", 80) == [socket_address("::1", 80), socket_address("127.0.0.1", 80)]
    assert await resolve_by(never, "192.0.2.1", 80) == [(socket.AF_INET, ("192.0.2.1", 80))]


async def test_what_is_no_name_is_not_asked_for() -> None:
    with pytest.raises(socket.gaierror, match="not written as one") as error:
        await resolve_by(never, "127.1", 80)
    assert error.value.errno == socket.EAI_NONAME


async def test_a_name_without_an_address() -> None:
    async def look_up(name: str) -> Answer:
        return NONE

    with pytest.raises(socket.gaierror, match="no address") as error:
        await resolve_by(look_up, "a.example", 80)
    assert error.value.errno == socket.EAI_NONAME


class Families:
    """Answers for each family when the test lets it, or never."""

    def __init__(self, v6: Answer, v4: Answer, *, silent: RecordType | None = None) -> None:
        self.answers = {RecordType.AAAA: v6, RecordType.A: v4}
        self.silent = silent
        self.given_up: list[RecordType] = []

    async def ask(self, name: str, type_: RecordType) -> Answer:
        if type_ is self.silent:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.given_up.append(type_)
                raise
        return self.answers[type_]


async def test_both_families_with_ipv6_first() -> None:
    assert (await ask_both(Families(V6, V4).ask, "a.example")).addresses == ("2001:db8::1", "192.0.2.1")


@pytest.mark.parametrize("silent", RecordType)
async def test_a_family_that_is_late_is_not_waited_for(silent: RecordType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.resolver.lookup.RESOLUTION_DELAY_SECONDS", 0)
    families = Families(V6, V4, silent=silent)
    answer = await ask_both(families.ask, "a.example")
    assert answer.partial
    assert len(answer.addresses) == 1
    assert families.given_up == [silent]


async def test_a_no_of_one_family_waits_for_the_other() -> None:
    release = asyncio.Event()

    async def ask(name: str, type_: RecordType) -> Answer:
        if type_ is RecordType.A:
            await release.wait()
            return V4
        asyncio.get_running_loop().call_soon(release.set)
        return NONE

    assert (await ask_both(ask, "a.example")).addresses == ("192.0.2.1",)


async def test_giving_up_gives_up_both() -> None:
    families = Families(V6, V4, silent=RecordType.A)
    families.answers[RecordType.AAAA] = NONE
    task = asyncio.ensure_future(ask_both(families.ask, "a.example"))
    loop = asyncio.get_running_loop()
    started = loop.create_future()
    loop.call_soon(loop.call_soon, started.set_result, None)
    await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert families.given_up == [RecordType.A]
