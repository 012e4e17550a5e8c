"""netcat, Ncat, proxychains and Dante's socksify against the proxy, with the commands of docs/proxy-clients.md."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from tests.integration.proxy.clients import (
    NAME,
    PAGE,
    USERS,
    Done,
    Seen,
    closed_port,
    example,
    origin,
    run,
    udp_echo,
    watched,
    written,
)
from tests.integration.proxy.world import SECONDS, Proxy

REQUEST = "GET / HTTP/1.0\r\n\r\n"


def programs(*lines: tuple[str, str, str]) -> list[object]:
    """Parameters: a command, the protocol it speaks, the host it asks for; skipped where there is no such program."""
    return [pytest.param(*line, marks=pytest.mark.programs(line[0].split()[0]), id=line[0]) for line in lines]


NETCATS = programs(
    ("nc -X 5 -x 127.0.0.1:1080 origin.example 8080", "socks5", NAME),
    ("nc -X 4 -x 127.0.0.1:1080 localhost 8080", "socks4", "127.0.0.1"),
    ("nc -X connect -x 127.0.0.1:1080 origin.example 8080", "http", NAME),
    ("ncat --proxy 127.0.0.1:1080 --proxy-type socks5 origin.example 8080", "socks5", NAME),
    ("ncat --proxy 127.0.0.1:1080 --proxy-type socks4 origin.example 8080", "socks4", NAME),
    ("ncat --proxy 127.0.0.1:1080 --proxy-type http origin.example 8080", "http", NAME),
)
WITH_LOGIN = programs(
    ("ncat --proxy 127.0.0.1:1080 --proxy-type socks5 --proxy-auth anna:secret origin.example 8080", "socks5", NAME),
    ("ncat --proxy 127.0.0.1:1080 --proxy-type http --proxy-auth anna:secret origin.example 8080", "http", NAME),
)


@pytest.mark.parametrize(("line", "protocol", "host"), [*NETCATS, *WITH_LOGIN])
async def test_a_page(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    user = "anna" if "anna" in line else ""
    async with watched(tmp_path, users=USERS if user else {}) as (proxy, seen), origin() as port:
        done = await run(*example(line, proxy, port), said=REQUEST)
    assert done.status == 0
    assert done.said.endswith(f"\r\n\r\n{PAGE}")
    assert seen == [Seen(protocol, "connect", f"{host}:{port}", user)]


REFUSED = {
    ("nc", "socks5"): "SOCKSv5 error: Connection refused",
    ("nc", "socks4"): "SOCKSv4 error: Request rejected or failed",
    ("nc", "http"): 'Proxy error: "HTTP/1.1 502 Bad Gateway"',
    ("ncat", "socks5"): "Connection refused",
    ("ncat", "socks4"): "Proxy connection failed",
    ("ncat", "http"): "Proxy returned status code 502",
}


@pytest.mark.parametrize(("line", "protocol", "host"), NETCATS)
async def test_a_port_that_nobody_listens_on(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    port = closed_port()
    async with watched(tmp_path) as (proxy, seen):
        done = await run(*example(line, proxy, port), said=REQUEST)
    assert done.status == 1
    assert REFUSED[line.split()[0], protocol] in done.said
    assert seen == [Seen(protocol, "connect", f"{host}:{port}", reply="CONNECTION_REFUSED")]


UNWANTED = {
    ("nc", "socks5"): "authentication method negotiation failed",
    ("nc", "socks4"): "SOCKSv4 error: Client program and identd report different user-ids",
    ("nc", "http"): 'Proxy error: "HTTP/1.1 407 Proxy Authentication Required"',
    ("ncat", "socks5"): "no acceptable authentication method",
    ("ncat", "socks4"): "Proxy connection failed",
    ("ncat", "http"): "Proxy returned status code 407",
}


@pytest.mark.parametrize(("line", "protocol", "host"), NETCATS)
async def test_without_a_user(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    async with watched(tmp_path, users=USERS) as (proxy, seen):
        done = await run(*example(line, proxy, 9), said=REQUEST)
    assert done.status == 1
    assert UNWANTED[line.split()[0], protocol] in done.said
    assert seen == []


@pytest.mark.parametrize(("line", "protocol", "host"), WITH_LOGIN)
async def test_with_a_wrong_password(tmp_path: Path, line: str, protocol: str, host: str) -> None:
    async with watched(tmp_path, users={"anna": "other"}) as (proxy, seen):
        done = await run(*example(line, proxy, 9), said=REQUEST)
    assert done.status == 1
    assert {"socks5": "authentication failed", "http": "status code 407"}[protocol] in done.said
    assert seen == []


# ---- proxychains ----

COULD_NOT_CONNECT = 7
"""curl's exit code."""


async def proxychains(folder: Path, entry: str, proxy: Proxy, port: int) -> Done:
    head = written("    strict_chain\n    proxy_dns\n    [ProxyList]\n", proxy, port)
    (folder / "proxychains.conf").write_text(head + written(f"    {entry}\n", proxy, port))
    line = "proxychains4 -q -f proxychains.conf curl http://origin.example:8080/"
    *command, url = example(line, proxy, port)
    return await run(*command, "--silent", "--show-error", "--ipv4", url, folder=folder)


ENTRIES = [
    ("socks5 127.0.0.1 1080", "socks5"),
    ("socks5 127.0.0.1 1080 anna secret", "socks5"),
    ("socks4 127.0.0.1 1080", "socks4"),
    ("http 127.0.0.1 1080", "http"),
    ("http 127.0.0.1 1080 anna secret", "http"),
]


@pytest.mark.programs("proxychains4", "curl")
@pytest.mark.parametrize(("entry", "protocol"), ENTRIES)
async def test_proxychains(tmp_path: Path, entry: str, protocol: str) -> None:
    user = "anna" if "anna" in entry else ""
    async with watched(tmp_path, users=USERS if user else {}) as (proxy, seen), origin() as port:
        assert await proxychains(tmp_path, entry, proxy, port) == Done(0, PAGE)
        closed = closed_port()
        assert (await proxychains(tmp_path, entry, proxy, closed)).status == COULD_NOT_CONNECT
    assert seen == [
        Seen(protocol, "connect", f"{NAME}:{port}", user),
        Seen(protocol, "connect", f"{NAME}:{closed}", user, "CONNECTION_REFUSED"),
    ]


@pytest.mark.programs("proxychains4", "curl")
@pytest.mark.parametrize(("entry", "protocol"), ENTRIES)
async def test_proxychains_without_the_right_password(tmp_path: Path, entry: str, protocol: str) -> None:
    async with watched(tmp_path, users={"anna": "other"}) as (proxy, seen):
        assert (await proxychains(tmp_path, entry, proxy, 9)).status == COULD_NOT_CONNECT
    assert seen == []


# ---- socksify ----


def socksified(line: str, proxy: Proxy, port: int) -> list[str]:
    """A command that begins with variables, which env(1) sets."""
    return ["env", *example(line, proxy, port)]


@pytest.mark.programs("socksify", "curl")
@pytest.mark.parametrize(
    "line",
    [
        "SOCKS5_SERVER=127.0.0.1:1080 socksify curl http://origin.example:8080/",
        "SOCKS5_SERVER=127.0.0.1:1080 SOCKS_AUTOADD_LANROUTES=no socksify curl http://127.0.0.1:8080/",
        "SOCKS5_SERVER=127.0.0.1:1080 SOCKS_USERNAME=anna SOCKS_PASSWORD=secret"
        " socksify curl http://origin.example:8080/",
    ],
    ids=["name", "address", "login"],
)
async def test_socksify(tmp_path: Path, line: str) -> None:
    user = "anna" if "anna" in line else ""
    host = NAME if NAME in line else "127.0.0.1"
    async with watched(tmp_path, users=USERS if user else {}) as (proxy, seen), origin() as port:
        *command, url = socksified(line, proxy, port)
        done = await run(*command, "--silent", "--show-error", url)
        assert done == Done(0, PAGE)
        closed = closed_port()
        *command, url = socksified(line, proxy, closed)
        done = await run(*command, "--silent", "--show-error", url)
        assert done.status == COULD_NOT_CONNECT
    assert seen == [
        Seen("socks5", "connect", f"{host}:{port}", user),
        Seen("socks5", "connect", f"{host}:{closed}", user, "CONNECTION_REFUSED"),
    ]


@pytest.mark.programs("socksify", "nc")
async def test_socksify_and_datagrams(tmp_path: Path) -> None:
    line = "SOCKS5_SERVER=127.0.0.1:1080 socksify nc -u -w 1 origin.example 8080"
    async with watched(tmp_path) as (proxy, seen), udp_echo() as port:
        assert await run(*socksified(line, proxy, port), said="ping") == Done(0, "ping")
    assert [(one.protocol, one.command) for one in seen] == [("socks5", "udp_associate")]


ACCEPTING = """
import ctypes, socket
# CPython calls accept4(2), which Dante does not know.
accept = ctypes.CDLL(None).accept
with socket.socket() as listener:
    listener.bind(("0.0.0.0", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    address, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    with socket.socket(fileno=accept(listener.fileno(), address, ctypes.byref(size))) as peer:
        print(peer.recv(100).decode(), flush=True)
        peer.sendall(b"pong")
        peer.recv(1)
"""
ROUTES = """\
    route {
      from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = 1080
      proxyprotocol: socks_v5
      command: bind
    }
    route {
      from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = 1080
      proxyprotocol: socks_v5
    }
"""


@pytest.mark.programs("socksify")
async def test_socksify_and_a_peer_that_connects(tmp_path: Path) -> None:
    async with watched(tmp_path) as (proxy, seen):
        (tmp_path / "dante.conf").write_text(written(ROUTES, proxy, 9))
        process = await asyncio.create_subprocess_exec(
            "socksify",
            sys.executable,
            "-c",
            ACCEPTING,
            env={"SOCKS_CONF": str(tmp_path / "dante.conf"), "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                assert process.stdout is not None
                port = int(await process.stdout.readline())
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"ping")
                assert await process.stdout.readline() == b"ping\n"
                assert await reader.readexactly(4) == b"pong"
                writer.close()
                await writer.wait_closed()
                assert await process.wait() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert seen == [Seen("socks5", "bind", "0.0.0.0:0")]
