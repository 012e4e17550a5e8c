"""Sans-IO: what the censor remembers of each flow, in a table of bounded size.

A flow is known by its two ends and its protocol, whichever end a packet comes from. The client is the end that opened
it: the sender of the SYN, of the first datagram, or what the kernel's conntrack says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from censor.packets import Packet
from censor.properties import Properties

if TYPE_CHECKING:
    from censor.compiled import CompiledRule
    from censor.effects import Effect
    from censor.inspection import Side
    from censor.residual import Entry

FlowKey = tuple[int, bytes, int, bytes, int]


class Flow:
    """One flow.

    properties: what is known (censor/properties.py). live: rules that may still match. fired: rules that have matched;
    those that ask for what each message tells anew: the last message. client, server: the reading of each end's bytes;
    None: not begun, or done with. effects: what is being done to it. packets, *_bytes: what was seen of it, payload
    only. decided: nothing is left to find out. epoch: of the rules by which it was judged last. blocked: something was
    done to it that ends with the rule. exempt: it was allowed. residuals: the residual
    blocks, of those that the kernel does not do by itself, that have hit it.
    """

    __slots__ = (
        "blocked",
        "client",
        "client_address",
        "client_base",
        "client_bytes",
        "client_port",
        "decided",
        "effects",
        "epoch",
        "exempt",
        "fired",
        "first_acknowledgment",
        "first_payload",
        "last_sequence",
        "last_t",
        "live",
        "packets",
        "properties",
        "protocol",
        "residuals",
        "server",
        "server_address",
        "server_base",
        "server_bytes",
        "server_port",
        "syn",
        "to_client_packets",
    )

    def __init__(self, packet: Packet, t: float, *, from_client: bool) -> None:
        self.protocol = packet.protocol
        if from_client:
            self.client_address, self.client_port = packet.source, packet.source_port
            self.server_address, self.server_port = packet.destination, packet.destination_port
        else:
            self.client_address, self.client_port = packet.destination, packet.destination_port
            self.server_address, self.server_port = packet.source, packet.source_port
        self.properties: Properties = {}
        self.live: list[CompiledRule] = []
        self.fired: set[CompiledRule] | None = None
        self.effects: list[Effect] = []
        self.client: Side | None = None
        self.server: Side | None = None
        self.packets = self.to_client_packets = self.client_bytes = self.server_bytes = 0
        self.last_t = t
        self.syn: int | None = None
        self.client_base: int | None = None
        """Sequence number of its first byte, by its first segment that was seen; `server_base`: the server's."""
        self.server_base: int | None = None
        self.last_sequence: int | None = None
        """Of the client's last segment that was seen while the flow was undecided."""
        self.first_acknowledgment: int | None = None
        self.first_payload = b""
        """What the client said first, while the flow is undecided and some rule probes."""
        self.decided = False
        self.blocked = False
        self.exempt = False
        self.residuals: tuple[Entry, ...] = ()
        self.epoch = -1

    @property
    def id(self) -> bytes:
        """What identifies the flow to draws: both ends and the protocol."""
        ports = (self.client_port << 16 | self.server_port).to_bytes(4, "big")
        return b"%c%b%b%b" % (self.protocol, self.client_address, self.server_address, ports)

    def begin_message(self) -> None:
        """Another message has come: rules that ask for what each message tells may match again."""
        if self.fired:
            self.fired = {rule for rule in self.fired if not rule.repeats}

    def is_from_client(self, packet: Packet) -> bool:
        return packet.source_port == self.client_port and packet.source == self.client_address

    @property
    def name(self) -> str:
        """The name that the flow was opened for, where one is known."""
        properties = self.properties
        for key in ("tls.sni", "http.host", "quic.sni", "dns.name", "socks.host"):
            if value := properties.get(key):
                return str(value)
        return ""


class FlowTable:
    """Flows, at most `limit`; the one that was looked at least recently goes first.

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

    def put(self, key: FlowKey, flow: Flow) -> None:
        """A new flow, in the place of an older one of that key."""
        flows = self._flows
        flows[key] = flow
        flows.move_to_end(key)
        if len(flows) > self._limit:
            flows.popitem(last=False)
            self.evicted += 1


def flow_key(packet: Packet) -> FlowKey:
    """The packet's flow, the same in both directions."""
    source, destination = packet.source, packet.destination
    sport, dport = packet.source_port, packet.destination_port
    if (source, sport) <= (destination, dport):
        return packet.protocol, source, sport, destination, dport
    return packet.protocol, destination, dport, source, sport
