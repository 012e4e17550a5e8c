"""curl against the proxy: every protocol, TLS to the proxy, TLS inside TLS, and what it says when it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.certificates import CertificateFiles
from proxy.settings import Listener
from tests.integration.proxy.clients import (
    NAME,
    PAGE,
    USERS,
    Done,
    Seen,
    certificate,
    closed_port,
    example,
    origin,
    run,
    watched,
)
from tests.integration.proxy.world import Proxy, send, target

pytestmark = pytest.mark.programs("curl")

TUNNEL_FAILED, BAD_CERTIFICATE, SOCKS_FAILED = 56, 60, 97
"""curl's exit codes (curl(1), "Exit codes")."""


async def curl(
    line: str, at: Proxy | int, port: int, *more: str, password: str = "secret", folder: Path | None = None
) -> Done:
    program, *arguments = example(line, at, port)
    arguments = [word.replace("secret", password) for word in arguments]
    return await run(program, "--silent", "--show-error", *more, *arguments, folder=folder)


def tls_listener(folder: Path) -> tuple[Listener, CertificateFiles]:
    """One that speaks TLS, and the files of its certificate."""
    files = certificate(folder)
    return Listener(address="127.0.0.1:0", certificate=str(files.certificate), key=str(files.key)), files


@contextlib.asynccontextmanager
async def balancer(port: int, header: bytes) -> AsyncIterator[int]:
    """Takes connections to the proxy on `port`, with `header` in front. Gives its own port."""

    async def forward(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as proxy:
            proxy.setblocking(False)
            await send(proxy, header)
            async with asyncio.TaskGroup() as group:
                for source, sink in ((client, proxy), (proxy, client)):
                    group.create_task(carry(source, sink), name="balancer")

    async def carry(source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, 1 << 16):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)

    async with target(forward) as front:
        yield front


PAGES = [
    ("curl --socks4 127.0.0.1:1080 http://localhost:8080/", "socks4", "127.0.0.1"),
    ("curl --socks4a 127.0.0.1:1080 http://origin.example:8080/", "socks4", NAME),
    ("curl --socks5 127.0.0.1:1080 http://localhost:8080/", "socks5", "127.0.0.1"),
    ("curl --socks5 anna:secret@127.0.0.1:1080 http://localhost:8080/", "socks5", "127.0.0.1"),
    ("curl --socks5-hostname 127.0.0.1:1080 http://origin.example:8080/", "socks5", NAME),
    ("curl --socks5-hostname anna:secret@127.0.0.1:1080 http://origin.example:8080/", "socks5", NAME),
    ("curl --proxytunnel --proxy http://127.0.0.1:1080 http://origin.example:8080/", "http", NAME),
    (
        "curl --proxytunnel --proxy http://127.0.0.1:1080 --proxy-user anna:secret http://origin.example:8080/",
        "http",
        NAME,
    ),
]


@pytest.mark.parametrize(("line", "protocol", "host"), PAGES)
async def test_a_page(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    user = "anna" if "anna" in line else ""
    async with watched(tmp_path, users=USERS if user else {}) as (proxy, seen), origin() as port:
        assert await curl(line, proxy, port, "--ipv4") == Done(0, PAGE)
    assert seen == [Seen(protocol, "connect", f"{host}:{port}", user)]


@pytest.mark.parametrize(("line", "protocol", "host"), [page for page in PAGES if "anna" not in page[0]])
async def test_a_port_that_nobody_listens_on(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    port = closed_port()
    async with watched(tmp_path) as (proxy, seen):
        done = await curl(line, proxy, port, "--ipv4")
    assert seen == [Seen(protocol, "connect", f"{host}:{port}", reply="CONNECTION_REFUSED")]
    status, said = {
        "socks4": (SOCKS_FAILED, "(91), request rejected or failed"),
        "socks5": (SOCKS_FAILED, "(5)"),
        "http": (TUNNEL_FAILED, "CONNECT tunnel failed, response 502"),
    }[protocol]
    assert done.status == status
    assert said in done.said


@pytest.mark.parametrize("line", [line for line, _, _ in PAGES])
async def test_without_a_user_or_with_a_wrong_password(tmp_path: Path, line: str) -> None:
    async with watched(tmp_path, users=USERS) as (proxy, seen):
        done = await curl(line, proxy, 9, "--ipv4", password="wrong")
    assert seen == []
    if "socks4" in line:
        status, said = SOCKS_FAILED, "(93)"
    elif "socks5" in line:
        status, said = (
            SOCKS_FAILED,
            "User was rejected" if "anna" in line else "No authentication method was acceptable",
        )
    else:
        status, said = TUNNEL_FAILED, "response 407"
    assert done.status == status
    assert said in done.said


async def test_an_ordinary_http_proxy_this_is_not(tmp_path: Path) -> None:
    """Without --proxytunnel curl asks for the page itself, and is told how to ask."""
    async with watched(tmp_path) as (proxy, seen):
        line = "curl --proxytunnel --proxy http://127.0.0.1:1080 http://origin.example:8080/"
        program, tunnel, *arguments = example(line, proxy, 9)
        done = await run(program, "--silent", *arguments)
    assert tunnel in done.said
    assert [one.reply for one in seen] == ["COMMAND_NOT_SUPPORTED"]


async def test_a_proxy_behind_tls(tmp_path: Path) -> None:
    listener, files = tls_listener(tmp_path)
    line = "curl --proxytunnel --proxy https://127.0.0.1:1080 --proxy-cacert ca.pem http://origin.example:8080/"
    async with watched(tmp_path, listen=(listener,)) as (proxy, seen), origin() as port:
        assert await curl(line, proxy, port, folder=files.ca.parent) == Done(0, PAGE)
        stranger = await curl(line, proxy, port, folder=certificate(tmp_path / "other").ca.parent)
    assert stranger.status == BAD_CERTIFICATE
    assert "certificate" in stranger.said
    assert seen == [Seen("http", "connect", f"{NAME}:{port}")]


async def test_tls_in_tls(tmp_path: Path) -> None:
    listener, files = tls_listener(tmp_path)
    line = (
        "curl --proxy https://anna:secret@127.0.0.1:1080 --proxy-cacert ca.pem"
        " --cacert ca.pem https://origin.example:8080/"
    )
    async with watched(tmp_path, listen=(listener,), users=USERS) as (proxy, seen), origin(files) as port:
        folder = files.ca.parent
        assert await curl(line, proxy, port, folder=folder) == Done(0, PAGE)
        wrong = await curl(line, proxy, port, password="wrong", folder=folder)
    assert (wrong.status, "response 407" in wrong.said) == (TUNNEL_FAILED, True)
    assert seen == [Seen("http", "connect", f"{NAME}:{port}", "anna")]


async def test_behind_a_load_balancer(tmp_path: Path) -> None:
    """The PROXY protocol says who the client is. (curl's --haproxy-protocol would say it to the target.)"""
    listener = Listener(address="127.0.0.1:0", proxy_protocol_from=("127.0.0.0/8",))
    line = "curl --socks5-hostname 127.0.0.1:1080 http://origin.example:8080/"
    async with (
        watched(tmp_path, listen=(listener,), inside="allow", open=True) as (proxy, seen),
        origin() as port,
        balancer(proxy.port, b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 1080\r\n") as front,
    ):
        assert await curl(line, front, port) == Done(0, PAGE)
        assert (await proxy.event("flow_opened"))["client"] == "192.0.2.7:40000"
    assert seen == [Seen("socks5", "connect", f"{NAME}:{port}")]
