"""What a censor injects without dropping what triggered it comes before the server's answer, which comes, too."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import dns.message
import pytest

from tests.lab.censor_network import Network, in_network
from tests.lab.censor_process import censoring
from tests.lab.prompt_server import ADDRESS, ANSWER
from tests.unit.censor.analyzers.test_tls import real_hello

pytestmark = pytest.mark.alone

SERVER = "203.0.113.11"
FORGED = "192.0.2.66"
RULES = f"""
[[rule]]
name = "sni"
when = 'tls.sni under ["messenger.example"]'
[[rule.actions]]
kind = "reset"

[[rule]]
name = "dns"
action = "dns_forge"
domains = ["messenger.example"]
forged = ["{FORGED}"]
"""
TRIES, AT_ONCE = 200, 20
LOST_MAX = 1  # of 200: 99.5 % are to be won
DELAY_SECONDS = 0.01  # one way: a round trip of 20 ms behind the censor
_ETH_P_IP = 0x0800

Outcome = TypeVar("Outcome", str, tuple[str, ...])


@in_network
async def test_injections_win_against_a_server_20_milliseconds_away(network: Network) -> None:
    async with network.far(DELAY_SECONDS):
        await _race(network)


@in_network
async def test_injections_win_against_a_server_next_to_the_censor(network: Network) -> None:
    await _race(network)


async def _race(network: Network) -> None:
    await network.kernel("ip", "-n", "server", "addr", "add", f"{SERVER}/24", "dev", "eth0")
    command = (sys.executable, "-m", "tests.lab.prompt_server", SERVER, f"{SERVER}:443")
    async with network.serving("server", *command), censoring(network, RULES) as censor:
        hello = real_hello("messenger.example")
        assert await hello_sent(network, real_hello("innocent.example")) == "answered"
        resets = await _tries(lambda: hello_sent(network, hello))
        assert resets["reset"] >= TRIES - LOST_MAX, resets
        answers = await _tries(lambda: _question(network))
        assert answers[FORGED, ADDRESS] >= TRIES - LOST_MAX, answers
        await _stub_resolver(network)
        counts = await censor.counts()
        # Nothing was dropped: the censor only added to what was there.
        assert counts["dropped"] == 0
        assert counts["injected"] >= 3 * TRIES
        assert counts["packets_missed"] == 0
        assert counts["rules"]["sni"]["matched"] == TRIES


async def _tries(one: Callable[[], Awaitable[Outcome]]) -> Counter[Outcome]:
    """How often what came of it."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated() -> Outcome:
        async with gate:
            return await one()

    return Counter(await asyncio.gather(*(gated() for _ in range(TRIES))))


async def hello_sent(network: Network, hello: bytes) -> str:
    """What becomes of a connection that begins with this ClientHello."""
    loop = asyncio.get_running_loop()
    with network.socket("client", 4) as connection:
        await loop.sock_connect(connection, (SERVER, 443))
        try:
            async with asyncio.timeout(3):
                await loop.sock_sendall(connection, hello)
                return "answered" if await loop.sock_recv(connection, 100) == ANSWER else "ended"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "silence"


async def _question(network: Network) -> tuple[str, ...]:
    """The addresses that come back for one question, in their order."""
    loop = asyncio.get_running_loop()
    with network.socket("client", 4, socket.SOCK_DGRAM) as resolver:
        await loop.sock_connect(resolver, (SERVER, 53))
        await loop.sock_sendall(resolver, dns.message.make_query("messenger.example", "A").to_wire())
        found: list[str] = []
        try:
            async with asyncio.timeout(3):
                while len(found) < 2:
                    found.append(_address(await loop.sock_recv(resolver, 2000)))
        except TimeoutError:
            pass
        return tuple(found)


async def _stub_resolver(network: Network) -> None:
    """dig takes the forged answer; the wire has both."""
    with network.on("client"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
    tap.setblocking(False)
    with tap:
        question = ("dig", "+short", "+tries=1", f"@{SERVER}", "messenger.example")
        assert await network.run("client", *question) == (0, f"{FORGED}\n")
        seen: list[str] = []
        async with asyncio.timeout(3):
            while len(seen) < 2:
                packet = await asyncio.get_running_loop().sock_recv(tap, 2000)
                if packet[9] == socket.IPPROTO_UDP and packet[20:22] == b"\x00\x35":
                    seen.append(_address(packet[28:]))
        assert seen == [FORGED, ADDRESS]


def _address(answer: bytes) -> str:
    return str(dns.message.from_wire(answer).answer[0][0])
