"""Going through another proxy: ours, two others where they are installed, and servers of this test that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import structlog

from proxy.dial import DialFailed
from proxy.resolver import SocketAddress, SystemResolver
from proxy.upstream import Hop, through
from proxy.wire import UNSPECIFIED, Address, AddressType, ReplyCode
from tests.integration.proxy.test_server import black_hole
from tests.integration.proxy.world import SECONDS, echo, receive, receive_all, running_proxy, send, target

A_NAME = Address(AddressType.DOMAIN, "a.example", 443)
SUCCESS = b"\x05\x00\x00\x01\xc0\x00\x02\x01\x1f\x90"  # from 192.0.2.1:8080


@contextlib.asynccontextmanager
async def tunnel(
    hop: Hop, to: Address, *, seconds: float = SECONDS, egress: dict[int, str] | None = None
) -> AsyncIterator[tuple[socket.socket, Address]]:
    names = SystemResolver()
    try:
        sock, bound = await through(hop, to, names, egress=egress or {}, seconds=seconds)
    finally:
        names.close()
    with sock:
        yield sock, bound


async def failure(hop: Hop, to: Address = A_NAME, *, seconds: float = SECONDS) -> tuple[ReplyCode, str]:
    """The code of a tunnel that fails, and what the log says of it."""
    with structlog.testing.capture_logs() as logs, pytest.raises(DialFailed) as failed:
        async with tunnel(hop, to, seconds=seconds):
            pass
    assert "secret" not in str(logs)
    lines = [line for line in logs if line["event"] == "upstream_failed"]  # a proxy of this process logs, too
    assert all(line["upstream"] == str(hop) for line in lines)
    return failed.value.code, " ".join(line["error"] for line in lines)


class Names:
    """A resolver that knows one name and one address."""

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        assert host == "proxy.example"
        return [(socket.AF_INET, ("127.0.0.1", port))]

    def close(self) -> None:
        pass


async def says_hello_to_an_echo(sock: socket.socket) -> None:
    await send(sock, b"hello")
    assert await receive(sock, 5) == b"hello"


@pytest.mark.parametrize("users", [{}, {"anna": "secret"}], ids=["no-auth", "user and password"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_through_our_own_proxy(host: str, users: dict[str, str]) -> None:
    async with target(echo) as port, running_proxy(users=users) as proxy:
        hop = Hop("socks5", "127.0.0.1", proxy.port, *next(iter(users.items()), ()))
        async with tunnel(hop, Address.of(host, port), egress={socket.AF_INET: "127.0.0.5"}) as (sock, bound):
            await says_hello_to_an_echo(sock)
            opened = await proxy.event("flow_opened")
            assert opened["target"] == f"{host}:{port}"  # the name as it is
            assert opened["client"].startswith("127.0.0.5:")
            assert (bound.type, bound.host) == (AddressType.IPV4, "127.0.0.1")
            assert bound.port != 0


async def test_the_name_of_the_hop_is_resolved_here() -> None:
    async with target(echo) as port, running_proxy() as proxy:
        hop, to = Hop("socks5", "proxy.example", proxy.port), Address.of("127.0.0.1", port)
        sock, _ = await through(hop, to, Names(), seconds=SECONDS)
        with sock:
            await says_hello_to_an_echo(sock)


async def test_the_upstreams_reply_is_passed_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    async with running_proxy() as proxy:
        hop = Hop("socks5", "127.0.0.1", proxy.port)
        assert await failure(hop, Address.of("127.0.0.1", closed_port)) == (ReplyCode.CONNECTION_REFUSED, "")
        nobody = Address(AddressType.DOMAIN, "x" * 255, 80)
        assert await failure(hop, nobody) == (ReplyCode.HOST_UNREACHABLE, "")


async def test_wrong_passwords_are_logged_without_them() -> None:
    async with running_proxy(users={"anna": "other"}) as proxy:
        code, logged = await failure(Hop("socks5", "127.0.0.1", proxy.port, "anna", "secret"))
        assert code is ReplyCode.GENERAL_FAILURE
        assert "does not accept user and password" in logged
        code, logged = await failure(Hop("socks5", "127.0.0.1", proxy.port))
        assert code is ReplyCode.GENERAL_FAILURE
        assert "none of the authentication methods [0]" in logged


# Other people's proxies.


async def once_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return
    pytest.fail(f"the proxy ended with {process.returncode}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def microsocks(port: int, folder: Path) -> list[str]:
    return ["-i", "127.0.0.1", "-p", str(port), "-u", "anna", "-P", "secret"]


def danted(port: int, folder: Path) -> list[str]:
    settings = folder / "danted.conf"
    settings.write_text(
        f"logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nclientmethod: none\n"
        "socksmethod: none\n"
        "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
    )
    return ["-f", str(settings), "-p", str(folder / "danted.pid")]


@pytest.mark.parametrize("arguments", [microsocks, danted])
async def test_through_other_proxies(arguments: Callable[[int, Path], list[str]], tmp_path: Path) -> None:
    program = shutil.which(arguments.__name__, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip(f"{arguments.__name__} is not installed (apt install microsocks dante-server)")
    port = free_port()
    process = await asyncio.create_subprocess_exec(program, *arguments(port, tmp_path), stdout=-3, stderr=-3)
    try:
        await once_it_listens(process, port)
        async with target(echo) as echo_port:
            hop = Hop("socks5", "127.0.0.1", port, "anna", "secret")
            async with tunnel(hop, Address.of("127.0.0.1", echo_port)) as (sock, _):
                await says_hello_to_an_echo(sock)
        assert await failure(hop, Address.of("127.0.0.1", free_port())) == (ReplyCode.CONNECTION_REFUSED, "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


# Servers that say what the test wants.


@contextlib.asynccontextmanager
async def scripted(scheme: str, *script: bytes | Callable[[socket.socket], Awaitable[object]]) -> AsyncIterator[Hop]:
    """A server that says the first bytes to the first thing it hears, and so on; then it waits for the end."""

    async def serve(sock: socket.socket) -> None:
        for step in script:
            await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
            if isinstance(step, bytes):
                await send(sock, step)
            else:
                await step(sock)
        await receive_all(sock)

    async with target(serve) as port:
        yield Hop(scheme, "127.0.0.1", port)


async def ends(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("scheme", "script", "bound"),
    [
        ("socks5", [b"\x05\x00", SUCCESS + b"hello"], Address.of("192.0.2.1", 8080)),
        ("http", [b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello"], UNSPECIFIED),
        ("http", [b"HTTP/1.1 102 \r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello"], UNSPECIFIED),
        ("http", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 12000 + b"\r\n\r\nhello"], UNSPECIFIED),
    ],
)
async def test_bytes_behind_the_reply_are_the_targets(scheme: str, script: list[bytes], bound: Address) -> None:
    async with scripted(scheme, *script) as hop, tunnel(hop, A_NAME) as (sock, said):
        assert said == bound
        assert await receive(sock, 5) == b"hello"


@pytest.mark.parametrize(
    ("scheme", "opening", "reply"),
    [("socks5", [b"\x05\x00"], SUCCESS), ("http", [], b"HTTP/1.1 200 OK\r\n\r\n")],
)
async def test_replies_in_pieces(scheme: str, opening: list[bytes], reply: bytes) -> None:
    async def bit_by_bit(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in reply + b"hello":
            await send(sock, bytes((byte,)))
            await asyncio.sleep(0)

    async with scripted(scheme, *opening, bit_by_bit) as hop, tunnel(hop, A_NAME) as (sock, _):
        assert await receive(sock, 5) == b"hello"


async def test_what_http_is_asked_for() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(sock: socket.socket) -> None:
        heard.set_result(await asyncio.get_running_loop().sock_recv(sock, 4096))
        await send(sock, b"HTTP/1.1 200 OK\r\n\r\n")
        await receive_all(sock)

    async with target(serve) as port, tunnel(Hop("http", "127.0.0.1", port, "anna", "secret"), A_NAME):
        assert await heard == (
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"
            b"Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n\r\n"
        )


@pytest.mark.parametrize(
    ("scheme", "script", "code", "logged"),
    [
        ("socks5", [b"\x04\x00"], ReplyCode.GENERAL_FAILURE, "version 4"),
        ("socks5", [b"\x05\xff"], ReplyCode.GENERAL_FAILURE, "none of the authentication methods"),
        ("socks5", [b"\x05\x02"], ReplyCode.GENERAL_FAILURE, "none of the authentication methods"),
        ("socks5", [ends], ReplyCode.GENERAL_FAILURE, "closed the connection"),
        ("socks5", [b"\x05\x00", ends], ReplyCode.GENERAL_FAILURE, "closed the connection"),
        ("socks5", [b"\x05\x00", b"\x05\x63\x00\x01" + bytes(6)], ReplyCode.GENERAL_FAILURE, "code 99"),
        ("socks5", [b"\x05\x00", b"\x05\x06\x00\x01" + bytes(6)], ReplyCode.TTL_EXPIRED, ""),
        ("socks5", [b"\x05\x00", b"\x05\x08\x00\x03\x01a" + bytes(2)], ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED, ""),
        ("http", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"], ReplyCode.HOST_UNREACHABLE, ""),
        ("http", [b"HTTP/1.1 403 Forbidden\r\n\r\n"], ReplyCode.NOT_ALLOWED, ""),
        ("http", [b"HTTP/1.1 407 Who?\r\n\r\n"], ReplyCode.NOT_ALLOWED, "does not accept user and password"),
        ("http", [b"SSH-2.0-x\r\n"], ReplyCode.GENERAL_FAILURE, "first line is not HTTP/1"),
        ("http", [b"HTTP/1.1 200 OK\r\n" + b"x" * 20000], ReplyCode.GENERAL_FAILURE, "more than 16384 bytes"),
        ("http", [ends], ReplyCode.GENERAL_FAILURE, "closed the connection"),
    ],
)
async def test_upstreams_that_fail(scheme: str, script: list[bytes], code: ReplyCode, logged: str) -> None:
    async with scripted(scheme, *script) as hop:
        said, line = await failure(hop)
        assert said is code
        assert logged in line
        assert bool(line) == bool(logged)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_an_upstream_that_hangs_up_with_a_reset(scheme: str) -> None:
    async def resetting(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(sock, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    async with target(resetting) as port:
        code, logged = await failure(Hop(scheme, "127.0.0.1", port))
        assert code is ReplyCode.GENERAL_FAILURE
        assert "reset" in logged


async def test_a_target_that_http_cannot_carry() -> None:
    async with scripted("http") as hop:
        code, logged = await failure(hop, Address(AddressType.DOMAIN, "a b", 80))
        assert code is ReplyCode.GENERAL_FAILURE
        assert "cannot be written" in logged


async def test_an_upstream_that_still_tries_at_the_deadline() -> None:
    async with scripted("socks5", b"\x05\x00") as socks5, scripted("http") as http:
        for hop in (socks5, http):
            assert await failure(hop, seconds=0.1) == (ReplyCode.HOST_UNREACHABLE, "")


async def test_an_upstream_that_is_silent_from_the_start() -> None:
    async with scripted("socks5") as hop:
        assert await failure(hop, seconds=0.1) == (ReplyCode.GENERAL_FAILURE, "it did not answer in time")


async def test_an_upstream_that_is_not_there() -> None:
    code, logged = await failure(Hop("socks5", "127.0.0.1", free_port()))
    assert (code, logged) == (ReplyCode.GENERAL_FAILURE, "no connection to it: CONNECTION_REFUSED")
    with black_hole() as port:
        code, logged = await failure(Hop("http", "127.0.0.1", port), seconds=0.1)
        assert code is ReplyCode.GENERAL_FAILURE
        assert logged
    code, logged = await failure(Hop("socks5", "x" * 255, 1080))
    assert code is ReplyCode.GENERAL_FAILURE
    assert logged


@pytest.mark.parametrize("script", [(), (b"\x05\x00",)])
async def test_giving_up_leaves_nothing(script: tuple[bytes, ...]) -> None:
    """Descriptors are counted by the fixture of this folder."""
    reached = asyncio.Event()

    async def stay(sock: socket.socket) -> None:
        reached.set()

    async with scripted("socks5", *script, stay) as hop:
        task = asyncio.create_task(through(hop, A_NAME, SystemResolver(), seconds=SECONDS))
        await asyncio.wait_for(reached.wait(), SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
