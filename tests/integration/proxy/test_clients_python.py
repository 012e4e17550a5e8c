"""Python's SOCKS libraries against the proxy: the programs of docs/proxy-clients.md, and how each says no."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import aiohttp_socks
import httpx
import pytest
import python_socks
import socks
from aiohttp_socks import ProxyConnector
from httpx_socks import AsyncProxyTransport, SyncProxyTransport
from python_socks.async_.asyncio import Proxy as SocksProxy

from tests.integration.proxy.clients import (
    DOCUMENT,
    NAME,
    PAGE,
    USERS,
    Done,
    Seen,
    closed_port,
    origin,
    run,
    udp_echo,
    watched,
    written,
)
from tests.integration.proxy.world import SECONDS

PROGRAMS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
PAGES = [one for one in PROGRAMS if "SOCK_DGRAM" not in one]
[DATAGRAM] = [one for one in PROGRAMS if "SOCK_DGRAM" in one]
SPOKEN: dict[str, dict[str, str]] = {
    # What the document says is to be replaced for another protocol.
    "socks5": {},
    "socks4": {"socks5://anna:secret@": "socks4://", "SOCKS5": "SOCKS4", ', username="anna", password="secret"': ""},
    "http": {"socks5://": "http://", "SOCKS5": "HTTP"},
}


def library(program: str) -> str:
    """What it is about: its last import."""
    names: list[str] = re.findall(r"^(?:import|from) (\w+)", program, re.MULTILINE)
    return names[-1]


@pytest.mark.parametrize("protocol", SPOKEN)
@pytest.mark.parametrize("program", PAGES, ids=[f"{library(one)}-{number}" for number, one in enumerate(PAGES)])
async def test_a_page_by_name(tmp_path: Path, program: str, protocol: str) -> None:
    users = {} if protocol == "socks4" else USERS
    async with watched(tmp_path, users=users) as (proxy, seen), origin() as port:
        text = written(program, proxy, port)
        for old, new in SPOKEN[protocol].items():
            text = text.replace(old, new)
        done = await run(sys.executable, "-c", text)
    assert done.said.splitlines()[-1] == PAGE
    assert done.status == 0
    assert seen == [Seen(protocol, "connect", f"{NAME}:{port}", "anna" if users else "")]


async def test_a_datagram_by_name(tmp_path: Path) -> None:
    async with watched(tmp_path, users=USERS) as (proxy, seen), udp_echo() as port:
        assert await run(sys.executable, "-c", written(DATAGRAM, proxy, port)) == Done(0, "hello\n")
    assert [(one.protocol, one.command, one.user) for one in seen] == [("socks5", "udp_associate", "anna")]


# How each says no. Three of them are python-socks inside.

Attempt = Callable[[str, int], Awaitable[object]]


async def python_socks_attempt(address: str, port: int) -> object:
    return await SocksProxy.from_url(address, rdns=True).connect(NAME, port, timeout=SECONDS)


async def aiohttp_socks_attempt(address: str, port: int) -> object:
    async with aiohttp.ClientSession(connector=ProxyConnector.from_url(address, rdns=True)) as session:
        return await session.get(f"http://{NAME}:{port}/")


async def httpx_socks_attempt(address: str, port: int) -> object:
    async with httpx.AsyncClient(transport=AsyncProxyTransport.from_url(address, rdns=True)) as client:
        return await client.get(f"http://{NAME}:{port}/")


async def httpx_socks_attempt_in_a_thread(address: str, port: int) -> object:
    def get() -> object:
        with httpx.Client(transport=SyncProxyTransport.from_url(address, rdns=True)) as client:
            return client.get(f"http://{NAME}:{port}/")

    return await asyncio.to_thread(get)


async def pysocks_attempt(address: str, port: int) -> None:
    parts = httpx.URL(address)
    kind = {"socks5": socks.SOCKS5, "socks4": socks.SOCKS4, "http": socks.HTTP}[parts.scheme]

    def connect() -> None:
        with socks.socksocket() as sock:
            sock.settimeout(SECONDS)
            sock.set_proxy(kind, parts.host, parts.port, True, parts.username or None, parts.password or None)
            sock.connect((NAME, port))

    await asyncio.to_thread(connect)


attempts = pytest.mark.parametrize(
    "attempt",
    [
        python_socks_attempt,
        aiohttp_socks_attempt,
        httpx_socks_attempt,
        httpx_socks_attempt_in_a_thread,
        pysocks_attempt,
    ],
)


FAILED = (python_socks.ProxyError, aiohttp_socks.ProxyError, socks.ProxyError)


@attempts
@pytest.mark.parametrize(
    ("protocol", "said"), [("socks5", "Connection refused"), ("socks4", "Request rejected or failed"), ("http", "502")]
)
async def test_a_port_that_nobody_listens_on(tmp_path: Path, attempt: Attempt, protocol: str, said: str) -> None:
    port = closed_port()
    async with watched(tmp_path) as (proxy, seen):
        with pytest.raises(FAILED, match=said):
            await attempt(f"{protocol}://{proxy.addresses[0]}", port)
    assert seen == [Seen(protocol, "connect", f"{NAME}:{port}", reply="CONNECTION_REFUSED")]


@attempts
@pytest.mark.parametrize(("protocol", "said"), [("socks5", "authentication fail"), ("http", "407")])
async def test_a_wrong_password(tmp_path: Path, attempt: Attempt, protocol: str, said: str) -> None:
    async with watched(tmp_path, users=USERS) as (proxy, seen):
        with pytest.raises(FAILED, match=said):
            await attempt(f"{protocol}://anna:wrong@{proxy.addresses[0]}", 9)
    assert seen == []
