"""What of flows that are never decided comes to Python: HTTP over port 80, whose next request may always be blocked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from scapy.layers.inet import IP, TCP

from censor.censor import Censor
from tests.lab.censor_network import CLIENT, SERVER, Network, in_network, rules

pytestmark = pytest.mark.alone

HOST = """name = "host"
when = 'http.host == "messenger.example"'
actions = [{kind = "reset", drop = true}]"""
HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
KILL = '\nexisting_flows = "kill"'
REPAIR, REPAIR_QUEUE, QUEUE_SEQ = 19, 20, 21  # linux/tcp.h
RECEIVE_QUEUE, SEND_QUEUE, OFF_WITHOUT_PROBE = 1, 2, -1


def request(host: str = "innocent.example", size_bytes: int = 10) -> bytes:
    return f"GET /{size_bytes} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers `GET /n` with n bytes behind a header, again and again."""
    try:
        while lines := await reader.readuntil(b"\r\n\r\n"):
            size = int(lines.split()[1].removeprefix(b"/"))
            writer.write(HEADER % size)
            while size > 0:
                writer.write(bytes(min(size, 1 << 16)))
                await writer.drain()
                size -= 1 << 16
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class Download:
    """A connection of the client to port 80."""

    def __init__(self, network: Network, version: int) -> None:
        self.socket = network.socket("client", version)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()

    async def connect(self, version: int) -> None:
        await self._loop.sock_connect(self.socket, (SERVER[version], 80))
        host, port, *_ = self.socket.getsockname()
        self.flow = f"tcp {host}:{port} > {SERVER[version]}:80"
        if version == 6:
            self.flow = f"tcp [{host}]:{port} > [{SERVER[version]}]:80"

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def send_bytes(self, data: bytes) -> None:
        """One by one, and wait for an answer."""
        for byte in data:
            await self.send(bytes([byte]))
        await self.receive(1)

    async def receive(self, size_bytes: int) -> None:
        """The answer, or so much of it."""
        buffer, received = bytearray(1 << 20), 0
        async with asyncio.timeout(20):
            while received < size_bytes:
                received += (more := await self._loop.sock_recv_into(self.socket, buffer))
                assert more

    def position(self, queue: int) -> int:
        """The sequence number of what is sent or received next."""
        for option, value in ((REPAIR, 1), (REPAIR_QUEUE, queue)):
            self.socket.setsockopt(socket.IPPROTO_TCP, option, value)
        number = self.socket.getsockopt(socket.IPPROTO_TCP, QUEUE_SEQ)
        self.socket.setsockopt(socket.IPPROTO_TCP, REPAIR, OFF_WITHOUT_PROBE)
        return number % (1 << 32)


@asynccontextmanager
async def downloading(network: Network, version: int = 4) -> AsyncIterator[Download]:
    listener = network.socket("server", version)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SERVER[version], 80))
    server = await asyncio.start_server(_serve, sock=listener)
    download = Download(network, version)
    try:
        await download.connect(version)
        yield download
    finally:
        download.socket.close()
        server.close()


async def queued(censor: Censor, download: Download, size_bytes: int, host: str = "innocent.example") -> int:
    """How many packets came to Python for a request and its answer."""
    before = censor.packets_queued
    await download.send(request(host, size_bytes))
    await download.receive(len(HEADER % size_bytes) + size_bytes)
    return censor.packets_queued - before


@in_network
async def test_a_download_costs_its_requests(network: Network) -> None:
    for version in (4, 6):
        # So that no SYN is sent again before the neighbours know one another.
        assert (await network.run("client", "ping", f"-{version}", "-c1", "-W3", SERVER[version]))[0] == 0
        async with network.censor() as censor:
            await censor.apply(rules(HOST))
            async with downloading(network, version) as download:
                await queued(censor, download, 50_000_000)
                assert censor.packets_queued == 2  # the acknowledgment that ends the handshake, and the request
                assert await queued(censor, download, 1_000_000) == 1
                await download.send(request("messenger.example"))
                with pytest.raises(ConnectionResetError):
                    await download.receive(10)
                (hit,) = network.events.of("censor_hit", flow=download.flow)
                assert hit["name"] == "messenger.example"


@in_network
async def test_a_new_generation_reaches_a_download_that_goes_on(network: Network) -> None:
    """The client's acknowledgments and the server's segments come once more, though the client says nothing."""
    async with network.censor() as censor, downloading(network) as download:
        await censor.apply(rules(HOST))
        await download.send(request(size_bytes=1 << 30))
        await download.receive(1 << 20)
        await censor.apply(rules(HOST, HOST.replace("messenger", "innocent").replace('"host"', '"second"') + KILL))
        with pytest.raises(ConnectionResetError):
            await download.receive(1 << 30)
        assert network.events.of("censor_hit", rule="second")


@in_network
async def test_one_byte_segments_are_read(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(HOST))
        async with downloading(network) as download:
            await queued(censor, download, 100_000)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await download.send_bytes(request("messenger.example"))
            (hit, *_) = network.events.of("censor_hit", flow=download.flow)
            assert hit["name"] == "messenger.example"


@in_network
async def test_a_request_whose_second_half_comes_first_is_read(network: Network) -> None:
    with network.on("client"):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    async with network.censor() as censor:
        await censor.apply(rules(HOST))
        for before in (0, 1):  # requests of the same connection
            async with downloading(network) as download:
                for _ in range(before):
                    await queued(censor, download, 100_000)
                first, second = request("messenger.example")[:20], request("messenger.example")[20:]
                segment = TCP(
                    sport=download.socket.getsockname()[1],
                    dport=80,
                    seq=(download.position(SEND_QUEUE) + len(first)) % (1 << 32),
                    ack=download.position(RECEIVE_QUEUE),
                    flags="PA",
                )
                count = censor.packets_queued
                raw.sendto(bytes(IP(src=CLIENT[4], dst=SERVER[4]) / segment / second), (SERVER[4], 0))
                async with asyncio.timeout(2):
                    while censor.packets_queued == count:  # noqa: ASYNC110  # nothing tells of it
                        await asyncio.sleep(0)
                assert not network.events.of("censor_hit", flow=download.flow)
                await download.send(first)
                with pytest.raises(ConnectionResetError):
                    await download.receive(10)
                assert network.events.of("censor_hit", flow=download.flow)
    raw.close()
