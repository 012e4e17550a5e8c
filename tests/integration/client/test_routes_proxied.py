"""Routes through proxies, against real ones: this project's, microsocks, Dante."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from client.certificates import write_self_signed
from client.routes.settings import HttpConnectRoute, Socks5Route, Socks5TlsRoute
from tests.integration.censor.servers import dante, microsocks
from tests.integration.client.dials import QUICK, failing, listener, of, resets, saying, silent, stages
from tests.integration.client.world import World, free_port, own_proxy

LOCAL = {"name": "p", "host": "127.0.0.1"}
SOCKS = ["dns", "tcp", "socks_greeting", "socks_request", "tls", "upgrade"]
LOGIN = {"username": "älice", "password": "gehe:im ü"}


# -- SOCKS5


async def test_socks5_with_a_login_has_a_stage_more(messenger: World) -> None:
    async with own_proxy(älice="gehe:im ü") as port:
        passed = await stages(of(messenger, Socks5Route(**LOCAL, port=port, **LOGIN)))
    assert passed == ["dns", "tcp", "socks_greeting", "socks_auth", "socks_request", "tls", "upgrade"]


async def test_microsocks(messenger: World) -> None:
    async with microsocks("-u", "alice", "-P", "secret") as port:
        route = Socks5Route(**LOCAL, port=port, username="alice", password="secret")
        assert "socks_auth" in await stages(of(messenger, route))
        wrong = Socks5Route(**LOCAL, port=port, username="alice", password="guess")
        assert await failing(of(messenger, wrong)) == ("socks_auth", "socks_error")


async def test_dante(messenger: World, tmp_path: Path) -> None:
    async with dante(tmp_path) as port:
        assert await stages(of(messenger, Socks5Route(**LOCAL, port=port))) == SOCKS
        messenger.port = free_port()
        refused = await failing(of(messenger, Socks5Route(**LOCAL, port=port)))
    assert refused == ("socks_request", "socks_connection_refused")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x05\x00\x05\x00\x00\x03\x04host\x00\x50", ("tls", "generic_timeout_error")),
        (b"\x05\x00\x05\x04", ("socks_request", "socks_host_unreachable")),
        (b"\x05\x00\x05\x2a\x00\x01", ("socks_request", "socks_error")),
        (b"\x05\x00\x05\x00\x00\x02\x00\x00", ("socks_request", "socks_error")),
        (
            b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x50SSH",
            ("socks_request", "unknown_failure: 3 bytes too many in the proxy's answer"),
        ),
        (b"\x05\x00\x05\x00", ("socks_request", "generic_timeout_error")),
        (b"\x05\xff", ("socks_greeting", "socks_error")),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ("socks_greeting", "unknown_failure: it does not speak SOCKS5")),
    ],
)
async def test_what_proxies_may_answer(messenger: World, answer: bytes, expected: tuple[str, str]) -> None:
    async with listener(saying(answer, 3)) as port:
        assert await failing(of(messenger, Socks5Route(**LOCAL, port=port), dial=QUICK)) == expected


# -- SOCKS5 inside TLS


async def test_socks5_inside_tls(messenger: World) -> None:
    async with own_proxy(files=messenger.files, alice="secret") as port:
        route = Socks5TlsRoute(**LOCAL, port=port, username="alice", password="secret", server_name="localhost")
        passed = await stages(of(messenger, route))
    assert passed == ["dns", "tcp", "proxy_tls", "socks_greeting", "socks_auth", "socks_request", "tls", "upgrade"]


async def test_the_proxys_certificate_is_checked(messenger: World, tmp_path: Path) -> None:
    other = write_self_signed(tmp_path / "other", ["proxy.example"])
    async with own_proxy(files=other) as port:
        unknown = Socks5TlsRoute(**LOCAL, port=port, server_name="proxy.example")
        assert await failing(of(messenger, unknown)) == ("proxy_tls", "ssl_unknown_authority")
        wrong = Socks5TlsRoute(**LOCAL, port=port, ca_file=str(other.ca))
        assert await failing(of(messenger, wrong)) == ("proxy_tls", "ssl_invalid_hostname")
        right = Socks5TlsRoute(**LOCAL, port=port, ca_file=str(other.ca), server_name="proxy.example")
        assert (await stages(of(messenger, right)))[2] == "proxy_tls"


@pytest.mark.parametrize(("handle", "failure"), [(silent, "generic_timeout_error"), (resets, "connection_reset")])
async def test_a_proxy_that_speaks_no_tls(messenger: World, handle: Any, failure: str) -> None:
    async with listener(handle) as port:
        failed = await failing(of(messenger, Socks5TlsRoute(**LOCAL, port=port), dial=QUICK))
    assert failed == ("proxy_tls", failure)


async def test_the_origin_refuses_behind_tls(messenger: World) -> None:
    messenger.port = free_port()
    async with own_proxy(files=messenger.files) as port:
        failed = await failing(of(messenger, Socks5TlsRoute(**LOCAL, port=port)))
    assert failed == ("socks_request", "socks_connection_refused")


# -- HTTP CONNECT


async def test_http_connect(messenger: World) -> None:
    async with own_proxy() as port:
        passed = await stages(of(messenger, HttpConnectRoute(**LOCAL, port=port)))
    assert passed == ["dns", "tcp", "http_connect", "tls", "upgrade"]


async def test_http_connect_with_a_login(messenger: World) -> None:
    async with own_proxy(alice="secret") as port:
        login = HttpConnectRoute(**LOCAL, port=port, username="alice", password="secret")
        assert "http_connect" in await stages(of(messenger, login))
        stage, failure = await failing(of(messenger, HttpConnectRoute(**LOCAL, port=port)))
    assert (stage, failure[:32]) == ("http_connect", "unknown_failure: HTTP status 407")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"SSH-2.0-x\r\n\r\n", "unknown_failure: no HTTP: 'SSH-2.0-x'"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "unknown_failure: 4 bytes too many in the proxy's answer"),
        (b"HTTP/1.1 200 OK\r\n", "generic_timeout_error"),
        (b"x" * 20000, "unknown_failure: no end of the answer within 16384 bytes"),
    ],
)
async def test_what_http_proxies_may_answer(messenger: World, answer: bytes, failure: str) -> None:
    async with listener(saying(answer)) as port:
        failed = await failing(of(messenger, HttpConnectRoute(**LOCAL, port=port), dial=QUICK))
    assert failed == ("http_connect", failure)


async def test_an_end_just_behind_the_answer_is_an_end(messenger: World) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with listener(handle) as port:
        failed = await failing(of(messenger, HttpConnectRoute(**LOCAL, port=port)))
    assert failed == ("tls", "eof_error")
