"""Sans-IO: what the censor remembers of each TLS flow, in a table of bounded size."""

from __future__ import annotations

from collections import OrderedDict

from censor.packets import Packet
from censor.reassembly import Head

FlowKey = tuple[bytes, int, bytes, int]


class Flow:
    """One flow. `name`: None until decided, then the SNI ("": none). `blocked`: its ClientHello was acted on.

    acknowledgment: of the client's first packet; when it moves on, the server has spoken.
    """

    __slots__ = ("acknowledgment", "blocked", "head", "name")

    def __init__(self, head: Head, acknowledgment: int) -> None:
        self.acknowledgment = acknowledgment
        self.head: Head | None = head
        self.name: str | None = None
        self.blocked = False

    def decide(self, name: str) -> None:
        """The name is known; the bytes are needed no longer."""
        self.name = name
        self.head = None


class FlowTable:
    """Flows by client and server, at most `limit`; the one that was looked at least recently goes first.

    evicted: flows that were forgotten for want of room; a rule that kills existing flows cannot find these.
    """

    def __init__(self, limit: int) -> None:
        self.evicted = 0
        self._limit = limit
        self._flows: OrderedDict[FlowKey, Flow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, key: FlowKey) -> Flow | None:
        flow = self._flows.get(key)
        if flow is not None:
            self._flows.move_to_end(key)
        return flow

    def open(self, packet: Packet, head_limit_bytes: int) -> Flow:
        """A new flow that starts with a client's packet, in the place of an older one of that key."""
        key = flow_key(packet, from_server=False)
        flow = self._flows[key] = Flow(Head(packet.sequence, head_limit_bytes), packet.acknowledgment)
        self._flows.move_to_end(key)
        if len(self._flows) > self._limit:
            self._flows.popitem(last=False)
            self.evicted += 1
        return flow


def flow_key(packet: Packet, *, from_server: bool) -> FlowKey:
    """The packet's flow: (client, its port, server, its port)."""
    if from_server:
        return packet.destination, packet.destination_port, packet.source, packet.source_port
    return packet.source, packet.source_port, packet.destination, packet.destination_port
