"""A registry of real size is exchanged under traffic: each entry has one verdict before, and one after."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dns.message
import pytest

from lab.benchmarks.block_list import ENCODING, sample
from tests.lab.censor_network import Network, in_network
from tests.lab.censor_process import censoring

pytestmark = pytest.mark.alone

DOMAINS, PREFIXES, CHANGED = 30_000, 10_000, 1000
FLOWS_PER_SECOND = 300
SERVER, PORT = "203.0.113.11", 8443
LISTED = "198.18.0.0/15"
RULES = """
[[list]]
name = "registry"
format = "registry"
file = "registry.csv"

[[rule]]
name = "names"
when = 'tls.sni under @registry or dns.name under @registry'
actions = [{ kind = "drop" }]

[[rule]]
name = "addresses"
when = 'server.address in @registry'
actions = [{ kind = "drop" }]
"""
_WAIT_SECONDS = 3.0
"""A flow without an answer for so long is blocked: its packets were sent again meanwhile."""


@dataclass(frozen=True)
class Registry:
    """A dump, and what it bans: names (of domains that stay) and IPv4 addresses."""

    text: str
    names: list[str]
    addresses: list[str]

    @classmethod
    def of(cls, text: str) -> Registry:
        rows = [line.split(";") for line in text.splitlines()[1:]]
        rows = [row for row in rows if len(row) == 6 and not row[2]]
        names = [row[1] for row in rows if row[1].isascii() and row[1] and "*" not in row[1]]
        addresses = [row[0].split("/")[0] for row in rows if not row[1] and "." in row[0]]
        return cls(text, names, addresses)

    def changed(self, number: int) -> str:
        """The dump with half so many names, and half so many addresses, exchanged for others."""
        free = (f"198.19.{high}.{low}" for high, low in itertools.product(range(225, 240), range(256)))
        new = {name: f"new-{name}" for name in self.names[: number // 2]}
        new |= dict(zip(self.addresses[: number // 2], free, strict=False))
        return re.sub(
            r"(?m)(?<=^)[0-9.]+(?=[/;])|(?<=;)[a-z0-9.]+(?=;)", lambda old: new.get(old[0], old[0]), self.text
        )


@dataclass(frozen=True)
class Flow:
    """What becomes of one flow. kind: `tls`, `dns` or `address`; began, ended: seconds of the loop's clock."""

    kind: str
    target: str
    began: float
    ended: float
    passed: bool


class Flows:
    """Opens flows, and keeps what becomes of them."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._ports = itertools.count(10000)
        self.done: list[Flow] = []

    async def run(self, targets: Iterator[tuple[str, str]], ended: asyncio.Event) -> None:
        """FLOWS_PER_SECOND until it ends, each whatever the others do."""
        start = self._loop.time()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if ended.is_set():
                    break
                kind, target = next(targets)
                group.create_task(self._flow(kind, target), name=f"{kind} {target}")
                await asyncio.sleep(start + number / FLOWS_PER_SECOND - self._loop.time())

    async def _flow(self, kind: str, target: str) -> None:
        began = self._loop.time()
        opened = {"tls": self._tls, "dns": self._dns, "address": self._address}[kind]
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await opened(target)
            passed = True
        except TimeoutError:
            passed = False
        self.done.append(Flow(kind, target, began, self._loop.time(), passed))

    async def _tls(self, name: str) -> None:
        await self._stream(SERVER, _hello(name))

    async def _address(self, address: str) -> None:
        await self._stream(address, b"hello")

    async def _stream(self, address: str, first: bytes) -> None:
        with self._network.socket("client", 4) as connection:
            await self._loop.sock_connect(connection, (address, PORT))
            await self._loop.sock_sendall(connection, first)
            assert await self._loop.sock_recv(connection, 100)

    async def _dns(self, name: str) -> None:
        with self._network.socket("client", 4, socket.SOCK_DGRAM) as resolver:
            # A datagram from a port whose flow is blocked would be of that flow.
            resolver.bind(("", next(self._ports)))
            await self._loop.sock_connect(resolver, (SERVER, 53))
            for _ in range(3):  # as a stub resolver does
                await self._loop.sock_sendall(resolver, dns.message.make_query(name, "A").to_wire())
                try:
                    async with asyncio.timeout(_WAIT_SECONDS / 3):
                        await self._loop.sock_recv(resolver, 2000)
                        return
                except TimeoutError:
                    pass
            raise TimeoutError


_CONTEXT = ssl.create_default_context()


def _hello(name: str) -> bytes:
    """What OpenSSL sends first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _CONTEXT.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@in_network
async def test_a_registry_is_exchanged_under_traffic(network: Network) -> None:
    for command in (
        f"ip -n server addr add {SERVER}/24 dev eth0",
        f"ip -n server route add local {LISTED} dev lo",
        f"ip route add {LISTED} via 203.0.113.10",
    ):
        await network.kernel(*command.split())
    old = Registry.of(sample(DOMAINS, PREFIXES, 1).decode(ENCODING))
    new = Registry.of(old.changed(CHANGED))
    path = network.folder / "registry.csv"
    path.write_bytes(old.text.encode(ENCODING))
    server = (sys.executable, "-m", "tests.lab.prompt_server", SERVER, f"0.0.0.0:{PORT}")
    started = time.monotonic()
    async with network.serving("server", *server), censoring(network, RULES) as censor:
        await censor.events.first("rule_enforced", rule="addresses")
        loaded, rss = time.monotonic() - started, censor.rss_bytes()
        flows, ended = Flows(network), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(flows.run(_targets(old, new), ended), name="flows")
            await asyncio.sleep(2)
            path.write_bytes(new.text.encode(ENCODING))
            asked = asyncio.get_running_loop().time()
            await censor.reload(RULES)
            exchanged = asyncio.get_running_loop().time()
            await asyncio.sleep(2)
            ended.set()
            await running
        print(f"loaded in {loaded:.2f} s, {rss / 1e6:.0f} MB; exchanged in {exchanged - asked:.2f} s")
        took = sorted(flow.ended - flow.began for flow in flows.done if "innocent" in flow.target)
        print(f"{len(flows.done)} flows; innocent ones: p50 {took[len(took) // 2]:.4f} s, slowest {took[-1]:.2f} s")
        print(f"after: {censor.rss_bytes() / 1e6:.0f} MB")
        before, after = _blocked(old), _blocked(new)
        wrong = [flow for flow in flows.done if _is_wrong(flow, before, after, asked, exchanged)]
        assert not wrong, (Counter((flow.kind, flow.passed) for flow in wrong), wrong[:10], asked, exchanged)
        counts = await censor.counts()
        assert counts["packets_missed"] == 0
        assert counts["flows_evicted"] == 0


def _targets(old: Registry, new: Registry) -> Iterator[tuple[str, str]]:
    """Entries that stay, come and go, and what was never listed, in turns."""
    gone, come = CHANGED // 2, [name for name in new.names if name.startswith("new-")]
    come_addresses = sorted(set(new.addresses) - set(old.addresses))
    for number in itertools.count():
        stays = gone + number
        yield "tls", old.names[stays]
        yield "tls", f"www{number}.innocent.example"
        yield "dns", old.names[-stays]
        yield "dns", f"innocent{number}.example"
        yield "address", old.addresses[stays]
        yield "address", f"198.19.{240 + number % 16}.{number // 16 % 256}"
        yield "tls", old.names[number % gone]
        yield "dns", come[number % gone]
        yield "address", old.addresses[number % gone]
        yield "address", come_addresses[number % gone]


def _blocked(registry: Registry) -> frozenset[str]:
    return frozenset(registry.names) | frozenset(registry.addresses)


def _is_wrong(flow: Flow, old: frozenset[str], new: frozenset[str], asked: float, exchanged: float) -> bool:
    """Whether it has neither the verdict before nor, if it was there so late, the one after."""
    verdicts = set()
    if flow.began < exchanged:
        verdicts.add(flow.target not in old)
    if flow.ended > asked:
        verdicts.add(flow.target not in new)
    return flow.passed not in verdicts
