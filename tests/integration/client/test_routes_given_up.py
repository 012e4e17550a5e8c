"""Dials that are given up: whatever the route and the stage, the other end sees a reset, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from client.routes import Attempt
from client.routes.settings import (
    AlternateRoute,
    DirectRoute,
    DohRoute,
    HttpConnectRoute,
    ObfuscatedRoute,
    RouteSettings,
    Socks5Route,
    Socks5TlsRoute,
    TcpSegmentRoute,
    TlsFragmentRoute,
)
from client.settings import OriginAddress, ResolverSettings
from tests.integration.client.dials import of
from tests.integration.client.world import NAME, World

PROXY: dict[str, Any] = {"name": "p", "host": "127.0.0.1"}


class Deaf:
    """Takes connections, answers `answers` one after the other, each to some bytes, and notes how they end."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.waiting: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in self._answers:
                await reader.read(65536)
                writer.write(answer)
            await reader.read(1)
            self.waiting.put_nowait(None)
            while await reader.read(65536):
                pass
            self.ends.put_nowait("eof")
        except ConnectionError:
            self.ends.put_nowait("reset")
        writer.close()


@pytest.mark.parametrize(
    ("kind", "answers", "stage"),
    [
        ("direct", (), "tls"),
        ("alternate", (), "tls"),
        ("doh", (), "dns"),
        ("socks5", (), "socks_greeting"),
        ("socks5", (b"\x05\x00",), "socks_request"),
        ("socks5", (b"\x05\x00", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x50"), "tls"),
        ("socks5-tls", (), "proxy_tls"),
        ("http-connect", (), "http_connect"),
        ("http-connect", (b"HTTP/1.1 200 OK\r\n\r\n",), "tls"),
        ("obfuscated", (), "tls"),
        ("tls-fragment", (), "tls"),
        ("tcp-segment", (), "tls"),
    ],
)
async def test_a_dial_that_is_given_up_is_reset(
    messenger: World, kind: str, answers: tuple[bytes, ...], stage: str
) -> None:
    deaf = Deaf(*answers)
    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        routes: dict[str, RouteSettings] = {
            "direct": DirectRoute(),
            "alternate": AlternateRoute(addresses=("127.0.0.1",)),
            "doh": DohRoute(address="127.0.0.1", port=port),
            "socks5": Socks5Route(**PROXY, port=port),
            "socks5-tls": Socks5TlsRoute(**PROXY, port=port),
            "http-connect": HttpConnectRoute(**PROXY, port=port),
            "obfuscated": ObfuscatedRoute(host="127.0.0.1", port=port, key="00" * 32),
            "tls-fragment": TlsFragmentRoute(),
            "tcp-segment": TcpSegmentRoute(),
        }
        hosts = ResolverSettings(hosts={NAME: ("127.0.0.1",)})
        route = of(messenger, routes[kind], origin=OriginAddress(NAME, port), resolver=hosts)
        entered: list[str] = []
        async with asyncio.TaskGroup() as group:
            dial = group.create_task(route.dial(Attempt(entered=entered.append)), name="dial")
            async with asyncio.timeout(10):
                await deaf.waiting.get()
                assert entered[-1] == stage
                dial.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await dial
                assert await deaf.ends.get() == "reset"
