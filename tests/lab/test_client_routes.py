"""The routes that evade, each against the block that it is for: `sidedoor client send` from the client's host.

Every test shows the plain route blocked, with the same censor, before the other one carries messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from censor.rules import RuleSet
from censor.rules_file import profile_rules
from client.bridge import serve_bridge
from client.origin import serve_origin
from client.receiver import run_receiver
from client.settings import BridgeSettings, OriginAddress, OriginSettings, ReceiverSettings, ResolverSettings
from tests.lab.censor_network import SERVER, Network, Resolver, in_network, rules

NAME = "messenger.example"
ORIGIN = {4: "203.0.113.20", 6: "2001:db8:2::20"}  # port 443 of SERVER's own addresses is another server's
ALTERNATE = "203.0.113.21"
PORT, OTHER_PORT, DOH_PORT, PROXY_PORT, TLS_PROXY_PORT, BRIDGE_PORT = 443, 8400, 8443, 1080, 8444, 9000
MESSAGES = 5


@dataclass
class Messenger:
    """Origin and receiver of a network, up. `shown`: the messages that arrived; `resolve`: the client knows the
    origin's addresses; `port`: the origin's, for the client."""

    network: Network
    certificate: str
    key: str
    group: asyncio.TaskGroup
    port: int = 443
    resolve: bool = True
    shown: list[bytes] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def listener(self, address: str, port: int) -> socket.socket:
        """On the server."""
        made = self.network.socket("server", 6 if ":" in address else 4)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(100)
        return made

    async def sends(self, route: str) -> bool:
        """Whether messages by this route are acknowledged, and shown."""
        before = len(self.shown)
        command = [sys.executable, "-m", "sidedoor", "client", "send", "--name", "alice", "--peer", "bob"]
        command += ["--origin", f"{NAME}:{self.port}", "--ca-file", self.certificate, "--count", str(MESSAGES)]
        command += ["--interval", "0.01", "--timeout", "4"]
        command += [part for address in ORIGIN.values() if self.resolve for part in ("--resolve", f"{NAME}={address}")]
        command += ["--route", route]
        status, output = await self.network.run("client", *command)
        assert status in (0, 1), output
        assert len(self.shown) - before == (MESSAGES if status == 0 else 0), output
        return status == 0

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(self.group.create_task(work, name=name))

    async def bridge(self) -> str:
        """A bridge on the server; the route to it."""
        key = secrets.token_hex(32)
        settings = BridgeSettings(listen=(), key=key, target=OriginAddress(ORIGIN[4], PORT))
        ready = asyncio.Event()
        self.start(serve_bridge(settings, ready=ready, listeners=[self.listener(ORIGIN[4], BRIDGE_PORT)]), "bridge")
        await ready.wait()
        return f"obfuscated://{key}@{ORIGIN[4]}:{BRIDGE_PORT}"

    @contextlib.asynccontextmanager
    async def proxy(self) -> AsyncIterator[tuple[str, str]]:
        """This project's proxy on the server, a process; the routes to it without and with TLS."""
        settings = self.network.folder / "proxy.toml"
        settings.write_text(
            f'open = true\ninside = "allow"\n[[listen]]\naddress = "{ORIGIN[4]}:{PROXY_PORT}"\n'
            f'[[listen]]\naddress = "{ORIGIN[4]}:{TLS_PROXY_PORT}"\n'
            f'certificate = "{self.certificate}"\nkey = "{self.key}"\n'
        )
        with self.network.on("server"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidedoor", "proxy", "--config", str(settings), stderr=asyncio.subprocess.PIPE
            )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(20):
                while b"listening" not in (line := await process.stderr.readline()):
                    assert line, "the proxy has ended"
            yield f"socks5://{ORIGIN[4]}:{PROXY_PORT}", f"socks5-tls://{ORIGIN[4]}:{TLS_PROXY_PORT}?name={NAME}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def messenger(network: Network) -> AsyncIterator[Messenger]:
    """Origin and receiver; the receiver sits on the router, beside the censor and not behind it."""
    for address in (f"{ORIGIN[4]}/24", f"{ALTERNATE}/24", f"{ORIGIN[6]}/64"):
        nodad = ["nodad"] if ":" in address else []
        await network.kernel("ip", "-n", "server", "addr", "add", address, "dev", "eth0", *nodad)
    certificate, key = str(network.folder / "certificate.pem"), str(network.folder / "key.pem")
    async with asyncio.TaskGroup() as group:
        made = Messenger(network, certificate, key, group)
        listeners = [made.listener(address, PORT) for address in (*ORIGIN.values(), ALTERNATE)]
        listeners += [made.listener(address, OTHER_PORT) for address in SERVER.values()]
        ready, connected = asyncio.Event(), asyncio.Event()
        origin = OriginSettings(listen=(), certificate=certificate, key=key)
        made.start(serve_origin(origin, ready=ready, listeners=listeners), "origin")
        await ready.wait()
        receiver = ReceiverSettings(
            name="bob",
            origin=OriginAddress(NAME, PORT),
            ca_file=certificate,
            resolver=ResolverSettings(hosts={NAME: (ORIGIN[4],)}),
        )
        made.start(
            run_receiver(
                receiver,
                lambda *_, **__: None,
                show=lambda message: made.shown.append(message.body),
                connected=connected.set,
            ),
            "bob",
        )
        await connected.wait()
        try:
            yield made
        finally:
            for task in made.tasks:
                task.cancel()


@contextlib.asynccontextmanager
async def doh(made: Messenger) -> AsyncIterator[str]:
    """DNS over HTTPS on the server, which gives every name SERVER's addresses; the route by it."""
    resolver = Resolver([])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=resolver.answer(await request.read()), content_type="application/dns-message")

    app = web.Application()
    app.add_routes([web.post("/dns-query", answer)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    try:
        await web.SockSite(runner, made.listener(ORIGIN[4], DOH_PORT), ssl_context=context).start()
        yield f"doh://{ORIGIN[4]}:{DOH_PORT}?name=innocent.example"
    finally:
        await runner.cleanup()


async def shown(made: Messenger, blocked: RuleSet, plain: str, evading: list[str], others: list[str]) -> None:
    """All routes carry without a block; under it the plain one and the others do not, the evading ones do."""
    for route in (plain, *evading, *others):
        assert await made.sends(route), f"{route} without a block"
    async with made.network.censor() as censor:
        await censor.apply(blocked)
        for route in (plain, *others):
            assert not await made.sends(route), route
        for route in evading:
            assert await made.sends(route), route


@in_network
async def test_records_evade_a_censor_that_joins_segments(network: Network) -> None:
    async with messenger(network) as made:
        await shown(made, profile_rules("gfw-rst"), "direct:", ["tls-fragment:"], ["tcp-segment:"])


@in_network
async def test_segments_evade_a_censor_that_does_not(network: Network) -> None:
    async with messenger(network) as made:
        await shown(made, profile_rules("tspu-2022"), "direct:", ["tcp-segment:"], [])


@in_network
async def test_another_address_evades_a_block_of_the_first(network: Network) -> None:
    entries = ", ".join(f'"{address}"' for address in ORIGIN.values())
    block = rules(f'name = "address"\naction = "drop"\naddresses = [{entries}]')
    async with messenger(network) as made:
        await shown(made, block, "direct:", [f"alternate:{ALTERNATE}"], [])


@in_network
async def test_dns_over_https_evades_forged_answers(network: Network) -> None:
    """Every name leads to SERVER, by either kind of DNS."""
    forge = rules(f'name = "dns"\naction = "dns_forge"\ndomains = ["{NAME}"]\nforged = ["192.0.2.66"]')
    async with messenger(network) as made, doh(made) as route:
        made.port, made.resolve = OTHER_PORT, False
        await shown(made, forge, "direct:", [route], [])


@in_network
async def test_obfuscated_and_tls_evade_a_censor_that_reads_socks(network: Network) -> None:
    block = rules('name = "socks"\nwhen = \'socks\'\nactions = [{ kind = "drop" }]')
    async with messenger(network) as made, made.proxy() as (plain, inside_tls):
        made.port = OTHER_PORT  # the proxy resolves the name
        http = plain.replace("socks5:", "http-connect:")
        await shown(made, block, plain, [await made.bridge(), inside_tls, http], [])


@in_network
async def test_random_bytes_are_what_some_censors_block(network: Network) -> None:
    """Wu et al., USENIX Security 2023: a first payload that looks like nothing known. TLS is known, and passes."""
    block = rules('name = "random"\nwhen = \'protocol == "tcp" and entropy\'\nactions = [{ kind = "drop" }]')
    async with messenger(network) as made, made.proxy() as (_, inside_tls):
        made.port = OTHER_PORT
        await shown(made, block, await made.bridge(), [inside_tls], [])
