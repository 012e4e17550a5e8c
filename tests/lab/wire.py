"""What is on the wire at one of the tests' hosts, and raw packets onto it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from censor.packets import Packet, parse
from tests.lab.censor_network import Network

_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
_PATIENCE_SECONDS = 5.0


class Wire:
    """A host's interface to the router: `seen` are the packets that came in by it, from their IP header on."""

    def __init__(self, network: Network, host: str) -> None:
        self.seen: list[Packet] = []
        with network.on(host):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self._socket.bind(("eth0", _ETH_P_ALL))
        self._socket.setblocking(False)
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as router:
            router.bind((host, _ETH_P_ALL))
            self._router: bytes = router.getsockname()[4]

    def send(self, packet: bytes) -> None:
        """Put an IP packet on the wire to the router, as it is."""
        kind = _ETH_P_IP if packet[0] >> 4 == 4 else _ETH_P_IPV6
        self._socket.sendto(packet, ("eth0", kind, 0, 0, self._router))

    async def until(self, wanted: Callable[[Packet], bool]) -> Packet:
        """Read on to the first packet that is wanted."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                data, (_, _, direction, *_) = await loop.sock_recvfrom(self._socket, 65535)
                packet = parse(data)
                if packet is None or direction == socket.PACKET_OUTGOING:
                    continue
                self.seen.append(packet)
                if wanted(packet):
                    return packet

    def taken(self) -> list[Packet]:
        """Those seen since it was asked last."""
        found, self.seen = self.seen, []
        return found

    def close(self) -> None:
        self._socket.close()
