"""`sidedoor client probe`, against routes that work, that are dead, and that carry a dial and no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from client.certificates import write_self_signed
from client.messages import PATH
from client.policies import Diagnosed
from client.probe import probe_routes
from client.route_table import RouteTable
from client.routes.settings import DirectRoute, ObfuscatedRoute
from client.settings import OriginAddress, ResolverSettings
from client.verdicts import RouteVerdict
from sidedoor.events import discard
from tests.integration.client.dials import QUICK, listener, resets, saying, silent
from tests.integration.client.world import NAME, World, free_port, own_proxy

ENDS = web.AppKey("ends", bool)
LOOPBACK = ResolverSettings(hosts={NAME: ("127.0.0.1",)})


async def probe(messenger: World, *arguments: str) -> tuple[int | None, str, str]:
    """Status, stdout and stderr."""
    origin = ["--origin", f"{NAME}:{messenger.port}", "--ca-file", str(messenger.files.ca)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidedoor", "client", "probe", *origin, *arguments, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@contextlib.asynccontextmanager
async def origin(messenger: World, handle: Any, *, ends: bool) -> AsyncIterator[int]:
    """Another server of the origin's name; yields its port."""
    app = web.Application()
    app[ENDS] = ends
    app.add_routes([web.get(PATH, handle)])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(messenger.files.certificate, messenger.files.key)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_live_and_dead_routes_in_words(messenger: World) -> None:
    async with own_proxy() as port:
        live = f"live=127.0.0.1:{port}"
        status, output, _ = await probe(messenger, "--proxy", live, "--proxy", f"dead=127.0.0.1:{free_port()}")
    lines = output.splitlines()
    assert status == 0
    assert [line.split()[:2] for line in lines[1:4]] == [["direct", "ping"], ["live", "ping"], ["dead", "tcp"]]
    assert "connection refused" in lines[3]
    assert lines[-2:] == [
        "dead: no proxy answers at its address (proxy_dead, 90% sure).",
        "Messages would go by direct.",
    ]


async def test_json_and_the_status_where_no_route_works(messenger: World) -> None:
    await messenger.stop_origin()
    status, output, errors = await probe(messenger, "--json", "--at-once", "1")
    found = json.loads(output)
    (route,) = found["routes"]
    assert (status, found["chosen"], route["works"], route["failure"]) == (1, None, False, "connection_refused")
    assert list(route["stages"]) == ["dns", "tcp"]
    # That `localhost` is a loopback address is no forgery: nobody was asked.
    assert route["diagnosis"] == {"kind": "origin_down", "confidence": 0.4}
    assert errors.splitlines()[-1] == "sidedoor: probe: direct: fails in the stage tcp"


async def test_an_origin_that_takes_the_upgrade_and_answers_nothing(messenger: World) -> None:
    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.receive()
        if not request.app[ENDS]:
            await websocket.receive()
        return websocket

    for ends, failure in ((False, "generic_timeout_error"), (True, "eof_error")):
        async with origin(messenger, upgrade, ends=ends) as port:
            settings = messenger.settings({}, origin=OriginAddress(NAME, port), resolver=LOOPBACK)
            (verdict,) = await probe_routes(RouteTable(settings, discard), at_once=1, ping_seconds=0.3)
        assert (verdict.reached, verdict.failure) == ("ping", failure)


async def test_no_more_than_so_many_at_a_time(messenger: World) -> None:
    open_now = most = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await silent(reader, writer)
        open_now -= 1

    async with listener(counted) as port, listener(resets) as resetting:
        proxies = {f"proxy{number}": port for number in range(4)} | {"resetting": resetting}
        settings = messenger.settings(proxies, dial=QUICK)
        told: list[RouteVerdict] = []
        verdicts = await probe_routes(RouteTable(settings, discard), at_once=2, ping_seconds=1, done=told.append)
    assert most == 2
    assert [verdict.route for verdict in verdicts] == ["direct", *proxies]
    assert [verdict.failure for verdict in verdicts[1:]] == [*["generic_timeout_error"] * 4, "connection_reset"]
    assert sorted(verdict.route for verdict in told) == sorted(["direct", *proxies])


async def test_what_answers_and_is_no_such_proxy_is_told_from_one_that_is_dead(messenger: World) -> None:
    async with own_proxy() as plain, listener(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", 3)) as web:
        arguments = (f"web=socks5://127.0.0.1:{web}", f"plain=socks5-tls://127.0.0.1:{plain}")
        _, output, _ = await probe(messenger, *(word for route in arguments for word in ("--route", route)))
    mismatch = "something answers at the proxy's address, but not as a proxy of this kind does (proxy_mismatch"
    lines = output.splitlines()
    assert "it does not speak SOCKS5" in lines[1]
    assert lines[-3].startswith(f"web: {mismatch}")
    assert lines[-2].startswith(f"plain: {mismatch}")


async def test_a_wrong_ca_file_is_told_before_what_else_may_be_wrong(messenger: World, tmp_path: Path) -> None:
    other = write_self_signed(tmp_path / "other", [NAME])
    routes = ("--route", "direct:", "--route", "tls-fragment:")
    status, output, _ = await probe(messenger, *routes, "--ca-file", str(other.ca))
    assert status == 1
    assert output.splitlines()[4:] == [
        "The CA file (--ca-file) may be the wrong one: no certificate comes from its authority.",
        "direct: the right address shows somebody else's certificate (tls_intercepted, 60% sure).",
        "tls-fragment: the right address shows somebody else's certificate (tls_intercepted, 60% sure).",
        "No route leads to the origin.",
    ]


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write_eof()
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("handle", "told"),
    [
        (silent, ("proxy_dead", 0.6)),
        (saying(b"x" * 200), ("proxy_mismatch", 0.9)),
        (hangs_up, ("proxy_mismatch", 0.6)),
    ],
    ids=["says nothing", "says something else", "hangs up"],
)
async def test_what_is_no_bridge_of_this_key(messenger: World, handle: Any, told: tuple[str, float]) -> None:
    async with listener(handle) as port:
        routes = (DirectRoute(), ObfuscatedRoute(host="127.0.0.1", port=port, key="5a" * 32))
        settings = messenger.settings({}, routes=routes, resolver=LOOPBACK, dial=QUICK)
        direct, bridge = await probe_routes(RouteTable(settings, discard), at_once=2, ping_seconds=1)
    assert direct.works
    assert bridge.diagnosis == Diagnosed(bridge.route, *told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--at-once", "0"], "--at-once"), (["--proxy", "proxy1"], "expected NAME=HOST:PORT")],
)
async def test_mistakes_are_told(messenger: World, arguments: list[str], message: str) -> None:
    status, _, errors = await probe(messenger, *arguments)
    assert status == 2
    assert message in errors
