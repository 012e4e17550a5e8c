"""A queue of the router without a censor behind it, and datagrams over the router, for the tests of the kernel side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from censor.kernel import kernel as kernel_module
from censor.kernel.kernel import Kernel
from censor.kernel.marks import ALIVE
from censor.kernel.queueing import HeadRules
from censor.packet_io.nfqueue import NfQueue, QueuedPacket, QueueSettings, Verdict
from tests.lab.censor_network import CLIENT, SERVER, Network

QUEUE, GENERATION, PORT = 100, 7, 9999
EVERYTHING = HeadRules(
    queues=(QUEUE,), generation=GENERATION, fail="closed", tcp_ports=None, udp_ports=None, syn=True, server=True
)
Decide = Callable[[QueuedPacket], tuple[Verdict, int | None]]


def passes(_packet: QueuedPacket) -> tuple[Verdict, int | None]:
    return Verdict.ACCEPT, None


def decided(_packet: QueuedPacket) -> tuple[Verdict, int | None]:
    return Verdict.ACCEPT, GENERATION


class Queue:
    """What came to a queue; `decide` gives the verdicts."""

    def __init__(self, queue: NfQueue, decide: Decide) -> None:
        self.packets: list[QueuedPacket] = []
        self.decide = decide
        self._queue = queue
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(queue.fileno(), self._read)

    def _read(self) -> None:
        for packet in self._queue.read():
            self.packets.append(packet)
            self._queue.add_verdict(packet.id, *self.decide(packet))
        self._queue.flush()
        self._changed.set()

    async def first(self) -> QueuedPacket:
        """The first packet that came and was not taken."""
        async with asyncio.timeout(2):
            while not self.packets:
                self._changed.clear()
                await self._changed.wait()
        return self.packets[0]

    def taken(self) -> list[QueuedPacket]:
        found, self.packets = self.packets, []
        return found


@contextmanager
def queueing(head: HeadRules, decide: Decide = passes) -> Iterator[tuple[Kernel, list[Queue]]]:
    loop = asyncio.get_running_loop()
    kernel = Kernel(QUEUE)
    queues = [NfQueue(QueueSettings(number, gso=False)) for number in head.queues]
    try:
        kernel.install(head)
        yield kernel, [Queue(queue, decide) for queue in queues]
    finally:
        kernel_module.cleanup()
        kernel.close()
        for queue in queues:
            loop.remove_reader(queue.fileno())
            queue.close()


class Datagrams:
    """Two UDP sockets, one on the client and one on the server."""

    def __init__(self, network: Network, version: int = 4, port: int = PORT, client: str = "") -> None:
        self._server_address = (SERVER[version], port)
        self.client = network.socket("client", version, socket.SOCK_DGRAM)
        self.client.bind((client or CLIENT[version], 0))
        self.server = network.socket("server", version, socket.SOCK_DGRAM)
        self.server.bind(self._server_address)
        self._loop = asyncio.get_running_loop()

    async def there(self, data: bytes = b"there") -> bytes:
        """What arrives of what the client sends."""
        self.client.sendto(data, self._server_address)
        async with asyncio.timeout(0.5):
            received, self._client_address = await self._loop.sock_recvfrom(self.server, 9000)
        return received

    async def back(self, data: bytes = b"back") -> bytes:
        self.server.sendto(data, self._client_address)
        async with asyncio.timeout(0.5):
            return await self._loop.sock_recv(self.client, 9000)

    async def both(self) -> None:
        assert await self.there() == b"there"
        assert await self.back() == b"back"

    def close(self) -> None:
        self.client.close()
        self.server.close()


async def settled(network: Network) -> None:
    """A host of IPv6 resends its first questions after a second: its own address is being checked for duplicates."""
    await network.fetch("innocent.example", 6)


def marks(packets: list[QueuedPacket]) -> list[int]:
    """Without the bit that only says that a censor which fails closed lives."""
    return [packet.mark & ~ALIVE for packet in packets]
