"""Active probing on real packets: real proxies behind the router, from the first suspicion to the block and its end."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.lab.censor_network import CLIENT, SERVER, Events, Network, echo, in_network
from tests.lab.censor_process import SIDEDOOR, censoring

ROUTER = "203.0.113.1"
"""The censor's own address on the servers' side."""
OFFICIAL = "192.0.2.11"
"""Another client."""
ECHO_PORT, OPEN, PASSWORD, MICROSOCKS, TLS, WEB = 7, 1080, 1081, 1082, 1083, 8080
SOCKS = """
[[rule]]
name = "socks"
when = "socks"
actions = [{ kind = "probe" }]
"""
_POLL_SECONDS = 0.02

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def prober(destination_port: int = ECHO_PORT, **settings: Any) -> str:
    """The table [prober] of an impatient censor, whose canary listens on the server's `destination_port`."""
    table = {
        "delay": [0, 0.2],
        "between_seconds": 0,
        "timeout_seconds": 2,
        "destination": f"{SERVER[4]}:{destination_port}",
    } | settings
    return "[prober]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


@asynccontextmanager
async def program(network: Network, *command: str) -> AsyncIterator[None]:
    """A program on the server that writes a line when it is ready."""
    with network.on("server"):
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"listening" not in (line := await process.stderr.readline()):
                assert line, f"{command} ended"
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def microsocks(network: Network) -> AsyncIterator[None]:
    """It does not say when it is ready."""
    with network.on("server"):
        process = await asyncio.create_subprocess_exec("microsocks", "-p", str(MICROSOCKS), stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    (await reach(network, MICROSOCKS, host="server"))[1].close()
                    break
                except ConnectionRefusedError:
                    assert process.returncode is None, "microsocks ended"
                    await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        process.kill()
        await process.wait()


def sidedoor_proxy(network: Network, *options: str) -> Any:
    return program(network, *SIDEDOOR, "proxy", *options)


@asynccontextmanager
async def answering(network: Network, serve: Callable[..., Awaitable[None]], port: int) -> AsyncIterator[None]:
    """A server of the test's own on the server."""
    listener = network.socket("server", 4)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SERVER[4], port))
    async with await asyncio.start_server(serve, sock=listener):
        yield


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def reach(network: Network, port: int, *, source: str = CLIENT[4], host: str = "client") -> Streams:
    """A connection to the server's port."""
    connection = network.socket(host, 4)
    if host == "client":
        connection.bind((source, 0))
    try:
        await asyncio.get_running_loop().sock_connect(connection, (SERVER[4], port))
    except OSError:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection)


async def through(network: Network, port: int, *, source: str = CLIENT[4], password: str = "") -> Streams:
    """A flow to the server's echo through its SOCKS5 proxy at `port` (RFC 1928, RFC 1929)."""
    reader, writer = await reach(network, port, source=source)
    writer.write(b"\x05\x01\x02" if password else b"\x05\x01\x00")
    method = await reader.readexactly(2)
    if password:
        assert method == b"\x05\x02"
        writer.write(b"\x01\x04anna" + bytes([len(password)]) + password.encode())
        assert await reader.readexactly(2) == b"\x01\x00"
    writer.write(b"\x05\x01\x00\x01" + socket.inet_aton(SERVER[4]) + struct.pack(">H", ECHO_PORT))
    assert (await reader.readexactly(10))[:2] == b"\x05\x00"
    return reader, writer


async def later(what: Awaitable[Streams]) -> float:
    """When a connection stands at last; TCP goes on trying."""
    async with asyncio.timeout(10):
        _, writer = await what
    writer.close()
    return asyncio.get_running_loop().time()


def order(events: Events, port: int) -> list[str]:
    """What the prober reported of a server."""
    return [one["event"] for one in events if one.get("port") == port and one.get("address") == SERVER[4]]


@in_network
async def test_an_open_proxy_is_found_and_gone_for_a_while(network: Network) -> None:
    await network.kernel(*f"ip -n client addr add {OFFICIAL}/24 dev eth0".split())
    log = network.folder / "access.jsonl"
    official = f"""
[[rule]]
name = "official"
when = 'client.address == "{OFFICIAL}"'
actions = [{{ kind = "mark", value = "official" }}]

[[rule]]
name = "socks"
when = 'socks and not flow.mark == "official"'
actions = [{{ kind = "probe" }}]
"""
    block_seconds = 2
    async with (
        answering(network, echo_lines, ECHO_PORT),
        sidedoor_proxy(network, "--listen", f"0.0.0.0:{OPEN}", "--open", "--access-log", str(log)),
        censoring(network, prober(block_seconds=block_seconds) + official) as censor,
    ):
        events = censor.events
        await events.first("rule_enforced", rule="socks")
        flow = await through(network, OPEN, source=OFFICIAL)
        assert await echo(flow) == b"hello\n"
        suspicious_from = asyncio.get_running_loop().time()
        assert await echo(await through(network, OPEN)) == b"hello\n"
        convicted = await events.first("proxy_convicted", port=OPEN)
        blocked_until = convicted["t"] + block_seconds
        in_kernel = await network.kernel("nft", "list", "table", "inet", "sidedoor")
        assert f"{SERVER[4]} . tcp . {OPEN}" in in_kernel or f"{SERVER[4]} . {OPEN}" in in_kernel, in_kernel
        assert await network.fetch("innocent.example") == b"hello\n"  # another port of the same server
        times = await asyncio.gather(
            later(reach(network, OPEN)), later(reach(network, OPEN, source=OFFICIAL)), slow_echo(flow)
        )
        assert min(times) >= blocked_until - 0.05  # before the event, the kernel was told
        assert order(events, OPEN) == ["proxy_suspected", "probe_sent", "probe_answered", "proxy_convicted"]
        assert events.of("proxy_suspected")[0]["t"] >= suspicious_from
        (answered,) = events.of("probe_answered")
        assert (answered["outcome"], answered["said"]) == (
            "answered_proxy",
            "SOCKS5: no authentication; reply 00 succeeded",
        )
        assert events.of("censor_hit", rule="prober", action="residual")
        # The proxy's own log: who else has been here.
        strangers = [one for one in map(json.loads, log.read_text().splitlines()) if ROUTER in one["client"]]
        assert [(one["target"], one["protocol"]) for one in strangers] == [(f"{SERVER[4]}:{ECHO_PORT}", "socks5")]


async def slow_echo(streams: Streams) -> float:
    """When an echo comes at last over a connection that stands."""
    assert await echo(streams, timeout=10) == b"hello\n"
    return asyncio.get_running_loop().time()


@in_network
async def test_who_gives_itself_away_and_who_does_not(network: Network) -> None:
    (network.folder / "password").write_text("secret\n")
    config = network.folder / "tls.toml"
    config.write_text(
        f'open = true\n[admin]\nlisten = "unix:{network.folder}/{TLS}.sock"\n[[listen]]\naddress = "0.0.0.0:{TLS}"\n'
        f'certificate = "{network.folder}/certificate.pem"\nkey = "{network.folder}/key.pem"\n'
    )
    elsewhere = f"""
[[rule]]
name = "tls-elsewhere"
when = "tls and server.port == {TLS}"
actions = [{{ kind = "probe", reason = "TLS on an odd port" }}]
"""
    users = ("--user", f"anna:{network.folder}/password", "--admin", f"unix:{network.folder}/{PASSWORD}.sock")
    async with AsyncExitStack() as stack:
        for server in (
            answering(network, echo_lines, ECHO_PORT),
            sidedoor_proxy(network, "--listen", f"0.0.0.0:{PASSWORD}", *users),
            sidedoor_proxy(network, "--config", str(config)),
            microsocks(network),
            answering(network, web_server, WEB),
        ):
            await stack.enter_async_context(server)
        censor = await stack.enter_async_context(censoring(network, prober() + SOCKS + elsewhere))
        events = censor.events
        await events.first("rule_enforced", rule="tls-elsewhere")
        assert await echo(await through(network, PASSWORD, password="secret")) == b"hello\n"
        assert await echo(await through(network, MICROSOCKS)) == b"hello\n"
        assert await fetch_over_tls(network) == (0, "ok\n")
        _, confused = await reach(network, WEB)
        confused.write(b"\x05\x01\x00")  # a SOCKS client at the wrong port
        for port in (PASSWORD, MICROSOCKS):
            await events.first("proxy_convicted", port=port)
        for port in (TLS, WEB):
            await events.first("proxy_cleared", port=port, evidence=[])
        said = {one["port"]: one["said"] for one in events.of("probe_answered", probe="socks5-no-auth")}
        assert said[PASSWORD] == "SOCKS5: no acceptable method"
        assert said[TLS] == ""
        asked = [one["probe"] for one in events.of("probe_sent", port=WEB)]
        assert asked == ["socks5-no-auth", "socks5-wrong-password", "replay", "random"]
        assert events.of("proxy_suspected", port=TLS)[0]["reason"] == "TLS on an odd port"
        # What the operators of the proxies see.
        assert 'handshake_failures_total{reason="no_method"} 1' in await metrics(network, PASSWORD)
        assert 'handshake_failures_total{reason="tls"} 1' in await metrics(network, TLS)
        assert await fetch_over_tls(network) == (0, "ok\n")
        for port in (PASSWORD, MICROSOCKS):
            assert await is_silent(network, port)


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def fetch_over_tls(network: Network) -> tuple[int, str]:
    """curl's status and output: a page of the server through its proxy with TLS in front."""
    proxy = ("--proxy-insecure", "--proxy", f"https://{SERVER[4]}:{TLS}")
    return await network.run("client", "curl", "-sSk", "--max-time", "5", *proxy, f"https://{SERVER[4]}/")


async def metrics(network: Network, port: int) -> str:
    """Those of the proxy at the port."""
    _, text = await network.run(
        "server", "curl", "-sS", "--unix-socket", f"{network.folder}/{port}.sock", "localhost/metrics"
    )
    return text


async def is_silent(network: Network, port: int) -> bool:
    """Whether nobody answers there."""
    try:
        async with asyncio.timeout(0.5):
            await reach(network, port)
    except TimeoutError:
        return True
    return False
