"""Active probing on real packets: real proxies behind the router, from the first suspicion to the block and its end."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.lab.censor_network import CLIENT, SERVER, Events, Network, echo, in_network
from tests.lab.censor_process import censoring
from tests.lab.probed_servers import Encrypted, answering, chatter, echo_lines, microsocks, sidedoor_proxy, web_server

ROUTER = "203.0.113.1"
"""The censor's own address on the servers' side."""
OFFICIAL = "192.0.2.11"
"""Another client."""
ECHO_PORT, OPEN, PASSWORD, MICROSOCKS, TLS, WEB = 7, 1080, 1081, 1082, 1083, 8080
NAIVE, CAREFUL, LOUD = 8388, 8389, 8390
CONNECT = b"\x05\x01\x00\x01" + socket.inet_aton(SERVER[4]) + struct.pack(">H", ECHO_PORT)
"""A SOCKS5 request for the echo server."""
SOCKS = """
[[rule]]
name = "socks"
when = "socks"
actions = [{ kind = "probe" }]
"""

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


async def reach(network: Network, port: int, *, source: str = CLIENT[4]) -> Streams:
    """A connection of the client to the server's port."""
    connection = network.socket("client", 4)
    try:
        connection.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connection, (SERVER[4], port))
    except BaseException:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection)


async def through(network: Network, port: int, *, source: str = CLIENT[4]) -> Streams:
    """A flow to the server's echo through its SOCKS5 proxy at `port` (RFC 1928)."""
    reader, writer = await reach(network, port, source=source)
    writer.write(b"\x05\x01\x00")
    await reader.readexactly(2)
    writer.write(CONNECT)
    assert (await reader.readexactly(10))[:2] == b"\x05\x00"
    return reader, writer


async def draw_suspicion(network: Network, port: int, *, password: str = "") -> Streams:
    """All that a client says to the SOCKS5 proxy at `port`, at once (RFC 1928, RFC 1929).

    It waits for no answer: a prober may have the proxy blocked before the client hears of it.
    """
    login = b"\x01\x04anna" + bytes([len(password)]) + password.encode() if password else b""
    reader, writer = await reach(network, port)
    writer.write(bytes([5, 1, 2 if password else 0]) + login + CONNECT)
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
        await draw_suspicion(network, OPEN)
        convicted = await events.first("proxy_convicted", port=OPEN)
        blocked_until = convicted["t"] + block_seconds
        in_kernel = await network.kernel("nft", "list", "table", "inet", "sidedoor")
        assert f"{SERVER[4]} . tcp . {OPEN}" in in_kernel, in_kernel
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


@pytest.mark.skipif(shutil.which("microsocks") is None, reason="needs microsocks (apt-get install microsocks)")
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
            microsocks(network, MICROSOCKS),
            answering(network, web_server, WEB),
        ):
            await stack.enter_async_context(server)
        censor = await stack.enter_async_context(censoring(network, prober() + SOCKS + elsewhere))
        events = censor.events
        await events.first("rule_enforced", rule="tls-elsewhere")
        await draw_suspicion(network, PASSWORD, password="secret")
        await draw_suspicion(network, MICROSOCKS)
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


@in_network
async def test_thirteen_connections_and_not_all_are_convicted(network: Network) -> None:
    ports = range(1080, 1088)
    listeners = [option for port in ports for option in ("--listen", f"0.0.0.0:{port}")]
    settings = prober(connections_before=13, convict_probability=0.5, block_seconds=60)
    async with (
        answering(network, echo_lines, ECHO_PORT),
        sidedoor_proxy(network, "--open", *listeners),
        censoring(network, settings + SOCKS) as censor,
    ):
        events = censor.events
        for _ in range(12):
            for _, writer in await asyncio.gather(*(through(network, port) for port in ports)):
                writer.close()
        await asyncio.gather(*(draw_suspicion(network, port) for port in ports))
        verdicts = {port: await verdict(events, port) for port in ports}
        assert [one["connections"] for one in events.of("proxy_suspected")] == [13] * len(ports)
        convicted = {port for port, one in verdicts.items() if one["event"] == "proxy_convicted"}
        assert 0 < len(convicted) < len(ports)
        assert all(one["evidence"] == ["socks5-method"] for one in verdicts.values()), "those that are spared, too"
        silent = await asyncio.gather(*(is_silent(network, port) for port in ports))
        assert {port for port, one in zip(ports, silent, strict=True) if one} == convicted


async def verdict(events: Events, port: int) -> dict[str, Any]:
    """The first on the server's port."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(events.first(name, port=port), name=name) for name in ("proxy_convicted", "proxy_cleared")
        ]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    (one,) = done
    return one.result()


@in_network
async def test_what_looks_like_nothing_is_replayed(network: Network) -> None:
    """Who answers twice to the same gives itself away (IMC 2020); not who remembers, nor who answers to anything."""
    rules = """
[[rule]]
name = "fully-encrypted"
when = "entropy and entropy.length in [160..700]"
actions = [{ kind = "probe" }]
"""
    naive, careful = Encrypted(careful=False), Encrypted(careful=True)
    async with (
        answering(network, naive.serve, NAIVE),
        answering(network, careful.serve, CAREFUL),
        answering(network, chatter, LOUD),
        censoring(network, prober(probes=["replay", "random"], timeout_seconds=1) + rules) as censor,
    ):
        events = censor.events
        for port, payload in (
            (NAIVE, naive.first_payload()),
            (CAREFUL, careful.first_payload()),
            (LOUD, naive.first_payload()),
        ):
            reader, writer = await reach(network, port)
            writer.write(payload)
            assert len(await reader.readexactly(100)) == 100
            writer.close()
        verdicts = {port: await verdict(events, port) for port in (NAIVE, CAREFUL, LOUD)}
        assert {port: one["evidence"] for port, one in verdicts.items()} == {NAIVE: ["replay"], CAREFUL: [], LOUD: []}
        asked = {port: [one["probe"] for one in events.of("probe_sent", port=port)] for port in verdicts}
        assert asked == {NAIVE: ["replay", "random"], CAREFUL: ["replay"], LOUD: ["replay", "random"]}
        assert [await is_silent(network, port) for port in verdicts] == [True, False, False]


@in_network
async def test_the_prober_follows_the_rules(network: Network) -> None:
    """Rules that come without probing, that change the prober's settings, that begin to probe by a time line."""
    nothing = '[[rule]]\nname = "nothing"\nwhen = "socks.version == 4"\nactions = [{ kind = "log" }]\n'
    async with (
        answering(network, echo_lines, ECHO_PORT),
        sidedoor_proxy(network, "--open", *(f"--listen=0.0.0.0:{port}" for port in (OPEN, PASSWORD, TLS))),
        censoring(network, nothing) as censor,
    ):
        events = censor.events
        await censor.reload(prober(block_seconds=60) + SOCKS)
        await draw_suspicion(network, OPEN)
        assert (await verdict(events, OPEN))["seconds"] == 60
        await censor.reload(prober(probes=["tls"], forget_seconds=50) + SOCKS)
        await draw_suspicion(network, PASSWORD)
        assert (await verdict(events, PASSWORD))["seconds"] == 50
        assert [one["probe"] for one in events.of("probe_sent", port=PASSWORD)] == ["tls"]
        assert await is_silent(network, OPEN), "what was convicted stays so, for some rule probes"
        await censor.reload(nothing)
        assert not await is_silent(network, OPEN)
        await censor.reload(prober() + SOCKS + "from_seconds = 0.2\n")
        await events.first("stage_reached", seconds=0.2)
        await draw_suspicion(network, TLS)
        assert (await verdict(events, TLS))["event"] == "proxy_convicted"
