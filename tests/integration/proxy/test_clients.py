"""Real SOCKS clients against the proxy: curl, and python-socks as the messenger uses it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy as SocksProxy

from tests.integration.proxy.world import SECONDS, Proxy, echo, running_proxy, target

USERS = {"anna": "secret"}

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def http(sock: socket.socket) -> None:
    """One HTTP answer, then the end."""
    loop = asyncio.get_running_loop()
    request = b""
    while b"\r\n\r\n" not in request:
        request += await loop.sock_recv(sock, 4096)
    await loop.sock_sendall(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


@pytest_asyncio.fixture(params=[{}, USERS], ids=["no-auth", "user and password"])
async def proxy(request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    async with running_proxy(users=request.param) as running:
        yield running


async def curl(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--noproxy", "", *arguments, stdout=-1, stderr=-2
    )
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode is not None
    return process.returncode, output.decode()


@needs_curl
@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
async def test_curl(proxy: Proxy, option: str) -> None:
    login = "anna:secret@" if proxy.users else ""
    async with target(http) as port:
        assert await curl(option, f"{login}{proxy.addresses[0]}", f"http://localhost:{port}/") == (0, "hello")
    opened = await proxy.event("flow_opened")
    assert opened["target"] in {f"localhost:{port}"} if option == "--socks5-hostname" else {f"127.0.0.1:{port}"}


@needs_curl
async def test_curl_is_told_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    async with running_proxy(users=USERS) as proxy:
        status, said = await curl("--socks5", f"anna:wrong@{proxy.addresses[0]}", f"http://127.0.0.1:{closed_port}/")
        assert status == 97
        assert "User was rejected" in said
        status, said = await curl("--socks5", f"anna:secret@{proxy.addresses[0]}", f"http://127.0.0.1:{closed_port}/")
        assert status == 97
        assert "(5)" in said


async def test_python_socks(proxy: Proxy) -> None:
    login = "anna:secret@" if proxy.users else ""
    client = SocksProxy.from_url(f"socks5://{login}{proxy.addresses[0]}", rdns=True)
    async with target(echo) as port:
        with await client.connect("localhost", port, timeout=SECONDS) as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"ping")
            assert await loop.sock_recv(sock, 4) == b"ping"
    assert (await proxy.event("flow_opened"))["target"] == f"localhost:{port}"


async def test_python_socks_is_told_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    async with running_proxy() as proxy:
        client = SocksProxy.from_url(f"socks5://{proxy.addresses[0]}")
        with pytest.raises(ProxyError) as raised:
            await client.connect("127.0.0.1", closed_port, timeout=SECONDS)
        assert raised.value.error_code == 5
