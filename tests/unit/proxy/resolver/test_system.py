"""The resolver on a getaddrinfo of our own: no network, no waiting."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from proxy.resolver import SystemResolver


async def test_addresses_in_the_order_of_getaddrinfo() -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("a.example", 80)
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET6, kind, 6, "", ("2001:db8::1", 80, 0, 0)),
            (socket.AF_INET, kind, 6, "", ("192.0.2.1", 80)),
        ]

    resolver = SystemResolver(getaddrinfo)
    assert await resolver.resolve("a.example", 80) == [
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
        (socket.AF_INET, ("192.0.2.1", 80)),
    ]
    resolver.close()


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_NONAME, "no such name"), UnicodeError("label too long")]
)
async def test_failures(failure: Exception) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise failure

    resolver = SystemResolver(getaddrinfo)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("a.example", 80)
    resolver.close()


async def test_a_name_that_hangs_holds_up_nobody_else() -> None:
    release = threading.Event()

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host == "slow.example":
            release.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]

    resolver = SystemResolver(getaddrinfo)
    slow = asyncio.ensure_future(resolver.resolve("slow.example", 80))
    assert await resolver.resolve("a.example", 80)
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    release.set()
    assert await resolver.resolve("b.example", 80)
    resolver.close()
