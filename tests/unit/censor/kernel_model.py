"""The kernel in which the censor runs, as far as verdicts go: connmarks, sets and queueing, by the core's plan.

A model of what censor/kernel/queueing.py, address_rules.py and residual_rules.py have nftables and iptables do.
"""

from __future__ import annotations

from dataclasses import dataclass

from censor.core import Core
from censor.decision import Blocked, Decision
from censor.effects import refusal
from censor.flows import FlowKey, flow_key
from censor.kernel.marks import ASK, CONFIRMED, GENERATION_MASK, HEARD, REPLY, WATCH
from censor.kernel.residual_blocks import shapes
from censor.kernel.residual_sets import Residual
from censor.lists.prefixes import PrefixSet
from censor.offload import AddressBlock, Ports, address_blocks, plan
from censor.packets import ACK, FIN, RST, SYN, TCP, UDP, Packet, parse
from censor.rules import RuleSet

_PROTOCOLS = {"tcp": TCP, "udp": UDP}


@dataclass
class Connection:
    """What conntrack knows. client: address and port of who opened it."""

    client: tuple[bytes, int]
    syn: int | None
    connmark: int = 0


@dataclass
class Block:
    """An element of a residual set, with its time-out."""

    blocked: Blocked
    until: float
    seconds: float
    shape: Residual


@dataclass(frozen=True)
class Fate:
    """What becomes of a packet on the wire, and what is sent besides."""

    accept: bool
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    later: tuple[tuple[float, bytes], ...] = ()
    delay_seconds: float = 0.0

    @classmethod
    def of(cls, decision: Decision) -> Fate:
        delay = decision.delay_seconds if decision.accept else 0.0
        return cls(decision.accept, decision.before, decision.after, decision.later, delay)


class KernelModel:
    """Forwards packets; `asked` counts those that the core had to decide."""

    def __init__(self) -> None:
        self.core = Core(generation=5)
        self.asked = 0
        self._connections: dict[FlowKey, Connection] = {}
        self._residuals: list[Block] = []
        self.set_rules(RuleSet())

    def set_rules(self, rules: RuleSet) -> None:
        self.core.set_rules(rules)
        compiled = self.core.compiled
        self._plan = plan(compiled)
        self._blocks = address_blocks(compiled)
        names = {rule.name for rule in compiled.rules if not rule.lifted}
        lifted = {entry.rule.name for entry in self.core.residuals.lifted()}
        self._residuals = [one for one in self._residuals if one.blocked.rule in names - lifted]

    def forward(self, data: bytes, t: float) -> Fate:
        """What becomes of a packet of at most one datagram, checksums right."""
        packet = parse(data)
        assert packet is not None
        key = flow_key(packet)
        connection = self._connections.get(key)
        opens = packet.protocol == TCP and packet.flags & (SYN | ACK) == SYN
        sender = packet.source, packet.source_port
        if connection is None or (opens and sender == connection.client and packet.sequence != connection.syn):
            connection = Connection(sender, packet.sequence if opens else None)
        reply = sender != connection.client
        ask = ASK | CONFIRMED if self._connections.get(key) is connection else ASK
        asked = 0
        for block in self._hit(packet, t):
            if block.shape.action == "drop":
                return Fate(False)
            asked = ask
        fate = self._ask(packet, data, t, connection, reply=reply, asked=asked)
        if fate.accept:
            fate = self._addresses(packet, data, fate)
        if fate.accept:
            self._connections[key] = connection  # the first packet of a connection that is dropped makes none
        return fate

    # Queueing

    def _ask(self, packet: Packet, data: bytes, t: float, connection: Connection, *, reply: bool, asked: int) -> Fate:
        if connection.connmark == self.core.generation:
            return Fate(True)
        if (
            not asked
            and not connection.connmark & WATCH
            and not self._planned(packet, connection.connmark, reply=reply)
        ):
            return Fate(True)
        self.asked += 1
        decision = self.core.decide(data, connection.connmark | asked | (REPLY if reply else 0), t)
        for blocked in decision.blocked:
            self._block(blocked)
        if decision.watch:
            connection.connmark = WATCH
        elif decision.accept and decision.mark is not None:
            connection.connmark = decision.mark
        return Fate.of(decision)

    def _planned(self, packet: Packet, connmark: int, *, reply: bool) -> bool:
        wanted = self._plan
        older = connmark & GENERATION_MASK != 0
        bare = not packet.payload_length and packet.flags & (RST | ACK) == ACK
        if packet.protocol == TCP and connmark == HEARD | self.core.generation:
            return not bare and (bool(packet.flags & SYN) or not reply)
        if packet.protocol not in (TCP, UDP):
            return wanted.other and (not reply or wanted.server or older)
        ports = wanted.tcp if packet.protocol == TCP else wanted.udp
        if not _within(packet.source_port if reply else packet.destination_port, ports):
            return False
        opens = packet.protocol == TCP and packet.flags & (SYN | ACK | RST | FIN) == SYN
        if packet.protocol == TCP and bare and not (wanted.bare_segments or older):
            return False
        if reply:
            return wanted.server or older or (opens and wanted.syn)
        return wanted.syn if opens else True

    # Sets

    def _addresses(self, packet: Packet, data: bytes, fate: Fate) -> Fate:
        for block in self._blocks:
            if _concerns(block, packet, self._connections.get(flow_key(packet))):
                after = refusal(packet, data) if block.reject else ()
                return Fate(False, fate.before, fate.after + after, fate.later)
        return fate

    def _block(self, blocked: Blocked) -> None:
        key = blocked.rule, *_key(blocked)
        self._residuals = [one for one in self._residuals if (one.blocked.rule, *_key(one.blocked)) != key]
        (entry,) = [one for one in self.core.residuals.entries() if (one.rule.name, *one.key) == key]
        until = blocked.begins + blocked.seconds
        shape = shapes(self.core.compiled)[blocked.rule]
        self._residuals.append(Block(blocked, until, entry.seconds, shape))

    def _hit(self, packet: Packet, t: float) -> list[Block]:
        """In the order of the rules; nothing comes behind the first that drops."""
        found: list[Block] = []
        order = [*shapes(self.core.compiled)]
        for block in sorted(self._residuals, key=lambda block: order.index(block.blocked.rule)):
            directions = (True,) if block.shape.client_only else (True, False)
            matches = any(_key(block.blocked) == _packet_key(block.blocked, packet, one) for one in directions)
            if matches and block.blocked.begins <= t < block.until:
                if block.shape.refresh_seconds is not None:
                    block.until = max(block.until, t + block.seconds)
                found.append(block)
                if block.shape.action == "drop":
                    break
        return found


def _within(port: int, ports: Ports) -> bool:
    return any(first <= port <= last for first, last in ports)


def _concerns(block: AddressBlock, packet: Packet, connection: Connection | None) -> bool:
    if block.protocol and _PROTOCOLS[block.protocol] != packet.protocol:
        return False
    ends = [(packet.destination, packet.destination_port), (packet.source, packet.source_port)]
    if block.server_only:
        client = connection.client if connection else (packet.source, packet.source_port)
        ends = [end for end in ends if end != client][:1]
    return any(_in(block.networks, address) and _at(block.ports, port) for address, port in ends)


def _in(networks: PrefixSet, address: bytes) -> bool:
    return address in networks


def _at(ports: Ports | None, port: int) -> bool:
    return ports is None or _within(port, ports)


def _key(blocked: Blocked) -> tuple[object, ...]:
    return (
        blocked.kind,
        blocked.client_address,
        blocked.server_address,
        blocked.server_port,
        blocked.client_port,
        blocked.protocol,
    )


def _packet_key(blocked: Blocked, packet: Packet, from_client: bool) -> tuple[object, ...]:
    """The key that the packet has if it goes in this direction."""
    client, server = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    if not from_client:
        client, server = server, client
    if blocked.kind == "2-tuple":
        return blocked.kind, client[0], server[0], 0, 0, 0
    client_port = client[1] if blocked.kind == "4-tuple" else 0
    return blocked.kind, client[0], server[0], server[1], client_port, packet.protocol
