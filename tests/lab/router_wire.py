"""What leaves the router on its way to client or server: the packets that the censor let pass, or made."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from censor import packets
from censor.packets import Packet

_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL, if_ether.h
_READ_BYTES = 65575
_BUFFER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Passed:
    """A packet that went out; its own length tells whether it was one of the wire's or a super-packet."""

    to_server: bool
    packet: Packet

    @property
    def payload(self) -> bytes:
        return self.packet.payload


class Wire:
    """Use as a context: what left towards both hosts meanwhile, in the order in which it did."""

    def __enter__(self) -> Wire:
        # SOCK_DGRAM: without the link layer's header (packet(7)). Of one socket, so that there is one order.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.setblocking(False)
        self._seen: list[Passed] = []
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def passed(self, *, port: int | None = None) -> list[Passed]:
        """All so far; with `port`, those from and to it."""
        while True:
            try:
                data, (device, _, kind, *_) = self._socket.recvfrom(_READ_BYTES)
            except BlockingIOError:
                break
            packet = packets.parse(data)
            if kind == socket.PACKET_OUTGOING and packet is not None:
                self._seen.append(Passed(device == "server", packet))
        return [one for one in self._seen if port in (None, one.packet.source_port, one.packet.destination_port)]
