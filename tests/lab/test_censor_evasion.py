"""ClientHellos in pieces, from a real TLS client through real kernels, against profiles that join them or do not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from censor.rules import RuleSet
from censor.rules_file import parse_rules, profile_rules
from lab.benchmarks.censor.accuracy.payloads import in_records
from tests.lab.censor_network import SERVER, Network, in_network

Trick = Callable[[bytes], list[bytes]]
"""What becomes of the ClientHello's record: one write for each piece, TCP_NODELAY."""
BLOCKED, INNOCENT = "messenger.example", "innocent.example"
SECONDS = 2.0
# Some profiles miss a flow in a thousand, always the same ones: those of fixed ports.
FIRST_PORT = 42_000


def whole(hello: bytes) -> list[bytes]:
    return [hello]


def split(hello: bytes) -> list[bytes]:
    """Two segments, the name in the second."""
    return [hello[:40], hello[40:]]


def inside_the_name(hello: bytes) -> list[bytes]:
    at = hello.index(b"essenger") if b"essenger" in hello else 100
    return [hello[:at], hello[at:]]


def records(hello: bytes) -> list[bytes]:
    """Two TLS records, one segment."""
    return [in_records(hello, 40)]


class Client:
    """TLS over a socket of the client; every flow comes from another port."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._port = FIRST_PORT
        self._context = ssl.create_default_context(cafile=str(network.folder / "certificate.pem"))

    async def fetch(self, name: str, trick: Trick, version: int = 4) -> str:
        """What became of a handshake and an echo: `echo`, `reset` or `silence`."""
        connection = self._network.socket("client", version)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port += 1
        connection.bind(("", self._port))
        try:
            async with asyncio.timeout(SECONDS):
                assert await self._echo(connection, name, trick, version) == b"hello\n"
            return "echo"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "silence"
        finally:
            connection.close()

    async def _echo(self, connection: socket.socket, name: str, trick: Trick, version: int) -> bytes:
        loop = asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_hostname=name)
        await loop.sock_connect(connection, (SERVER[version], 443))

        async def step(work: Callable[[], object]) -> object:
            while True:
                try:
                    return work()
                except ssl.SSLWantReadError:
                    for piece in pieces(outgoing.read()):
                        await loop.sock_sendall(connection, piece)
                    data = await loop.sock_recv(connection, 65536)
                    if not data:
                        incoming.write_eof()
                    incoming.write(data)

        first = True

        def pieces(data: bytes) -> list[bytes]:
            nonlocal first
            made = trick(data) if first else [data]
            first = False
            return [piece for piece in made if piece]

        await step(tls.do_handshake)
        tls.write(b"hello\n")
        echo = await step(lambda: tls.read(100))
        assert isinstance(echo, bytes)
        return echo


async def shown(network: Network, rules: RuleSet, hits: str, expected: dict[Trick, str]) -> None:
    """A whole hello is hit; a trick has the fate that is expected; an innocent name passes with every trick."""
    async with network.censor() as censor:
        await censor.apply(rules)
        client = Client(network)
        for version in (4, 6):
            for trick, fate in ({whole: hits} | expected).items():
                assert (trick, await client.fetch(BLOCKED, trick, version)) == (trick, fate)
                assert (trick, await client.fetch(INNOCENT, trick, version)) == (trick, "echo")


@in_network
async def test_segments_do_not_evade_china_but_records_do(network: Network) -> None:
    await shown(network, profile_rules("gfw-rst"), "reset", {split: "reset", inside_the_name: "reset", records: "echo"})


@in_network
async def test_segments_evade_the_tspu_of_2022(network: Network) -> None:
    await shown(network, profile_rules("tspu-2022"), "reset", {split: "echo", inside_the_name: "echo"})


@in_network
async def test_segments_evade_iran(network: Network) -> None:
    await shown(network, profile_rules("iran-2020-whitelist"), "silence", {split: "echo", inside_the_name: "echo"})


@in_network
async def test_segments_evade_kazakhstan(network: Network) -> None:
    await shown(network, profile_rules("kazakhstan-2021"), "silence", {split: "echo", inside_the_name: "echo"})


@in_network
async def test_segments_evade_the_operators_of_2017(network: Network) -> None:
    names = f'[censor]\nprofile = "ip-2017"\n[[list]]\nname = "registry"\nentries = ["{BLOCKED}"]\n'
    await shown(network, parse_rules(names), "reset", {split: "echo", inside_the_name: "echo"})
