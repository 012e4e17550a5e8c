"""Sans-IO: what becomes of each packet that the kernel asks about.

The kernel queues DNS queries, and of every TLS flow the client's packets until the flow is *decided*: its ClientHello
is complete, or it is clear that there is none. A decided flow that may pass gets the current `generation` as its
connmark and the kernel stops asking. When rules that kill existing flows change, the generation moves on, so that the
next packet of every older flow, from either end, comes here once more. Flows that are acted on never get the new mark:
their packets keep coming here, and pass again as soon as no rule holds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from censor import packets
from censor.analyzers import dns, tls
from censor.flows import Flow, FlowTable, flow_key
from censor.marks import GENERATION_MASK
from censor.packets import Packet
from censor.reassembly import Head
from censor.rules import DNS_ACTIONS, SNI_ACTIONS, Action, NameIndex, Rule, RuleSet, normalize


@dataclass(frozen=True, slots=True)
class Hit:
    """One packet that the censor acted on; `flow` is told from the client's side. Fields as in docs/events.md."""

    rule: str
    action: str
    flow: str
    name: str
    source_address: str
    destination_address: str
    packet_bytes: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a packet: inject `before`, give the verdict, inject `after`, report `hits`.

    mark: the packet mark that goes with the verdict (which the kernel saves as the flow's connmark); None: none.
    """

    accept: bool = True
    mark: int | None = None
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    hits: tuple[Hit, ...] = ()


PASS = Decision()


class Core:
    """The censor's memory and judgement. `tls_ports`, `dns_ports`: the server ports that the kernel queues."""

    def __init__(
        self,
        *,
        generation: int = 1,
        flow_limit: int = 65536,
        hello_limit_bytes: int = 16384,
        tls_ports: tuple[int, ...] = (443,),
        dns_ports: tuple[int, ...] = (53,),
    ) -> None:
        self.generation = generation
        self._index(RuleSet())
        self.flows = FlowTable(flow_limit)
        self._hello_limit = hello_limit_bytes
        self._tls_ports = frozenset(tls_ports)
        self._dns_ports = frozenset(dns_ports)

    def set_rules(self, rules: RuleSet) -> bool:
        """Judge by `rules` from now on. True: the generation moved on, and the kernel has to be told."""
        kills = [rule for rule in rules.rules if rule.kills]
        changed = kills != [rule for rule in self.rules.rules if rule.kills]
        self._index(rules)
        if changed and kills:
            self.generation = self.generation % GENERATION_MASK + 1
        return changed and bool(kills)

    def _index(self, rules: RuleSet) -> None:
        self.rules = rules
        self._dns_rules = NameIndex(rule for rule in rules.rules if rule.action in DNS_ACTIONS)
        self._sni_rules = NameIndex(rule for rule in rules.rules if rule.action in SNI_ACTIONS)
        self._kill_rules = NameIndex(rule for rule in rules.rules if rule.kills)

    def decide(self, data: bytes, mark: int = 0) -> Decision:
        """The decision on a packet (from its IP header on) with the mark that its flow had so far (0: undecided)."""
        packet = packets.parse(data)
        if packet is None:
            return PASS
        if packet.protocol == packets.UDP and packet.destination_port in self._dns_ports:
            return self._decide_dns(packet)
        if packet.protocol == packets.TCP:
            if packet.destination_port in self._tls_ports:
                return self._decide_client(packet, mark & GENERATION_MASK)
            if packet.source_port in self._tls_ports:
                return self._decide_server(packet)
        return PASS

    # DNS

    def _decide_dns(self, packet: Packet) -> Decision:
        query = dns.query(packet.payload)
        if query is None:
            return PASS
        name = normalize(query.name)
        rule = self._dns_rules.first(name)
        if rule is None:
            return PASS
        if rule.action is Action.DNS_NXDOMAIN:
            answer = dns.nxdomain(query)
        else:
            answer = dns.forged(query, rule.forged, rule.ttl_seconds)
        return Decision(before=(packets.udp_reply(packet, answer),), hits=(_hit(rule, rule.action, packet, name),))

    # TLS

    def _decide_client(self, packet: Packet, mark: int) -> Decision:
        flow = self.flows.get(flow_key(packet, from_server=False))
        if flow is None and mark:  # decided by a predecessor, or forgotten
            return self._pass_for_good()
        if flow is None or (not mark and flow.name is not None and _starts_hello(packet)):
            # A decided flow without mark that starts anew: retransmission, or the client's port is used again.
            flow = self.flows.open(packet, self._hello_limit)
        if flow.name is None:
            return self._read_head(flow, packet)
        return self._judge_again(flow, packet, from_server=False)

    def _decide_server(self, packet: Packet) -> Decision:
        flow = self.flows.get(flow_key(packet, from_server=True))
        if flow is None:
            return self._pass_for_good()
        if flow.name is None:
            return PASS
        return self._judge_again(flow, packet, from_server=True)

    def _read_head(self, flow: Flow, packet: Packet) -> Decision:
        """The flow is undecided: take in the segment and see whether it still is."""
        assert flow.head is not None
        if not packet.payload:
            return self._read_bare(flow, flow.head, packet)
        hello = tls.client_hello(flow.head.add(packet.sequence, packet.payload))
        if hello is tls.Outcome.MORE and not flow.head.full:
            return PASS
        flow.decide(normalize(hello.sni) if isinstance(hello, tls.ClientHello) else "")
        return self._judge_new(flow, packet)

    def _read_bare(self, flow: Flow, head: Head, packet: Packet) -> Decision:
        """The flow is undecided and the segment without payload."""
        if not head.near(packet.sequence):  # the client's port is used again
            self.flows.open(packet, self._hello_limit)
        elif packet.acknowledgment != flow.acknowledgment and not head.data:
            # The server spoke first, so this is not the start of a TLS flow (an older one perhaps): its client's
            # acknowledgments, thousands in a download, need not come here.
            flow.decide("")
            return self._pass_for_good()
        return PASS

    def _judge_new(self, flow: Flow, packet: Packet) -> Decision:
        name = flow.name or ""
        rule = self._sni_rules.first(name)
        flow.blocked = rule is not None
        if rule is None:
            return self._pass_for_good()
        return _act(rule, packet, name, reset=rule.action is Action.SNI_RST, from_server=False)

    def _judge_again(self, flow: Flow, packet: Packet, *, from_server: bool) -> Decision:
        """The flow's name was known before this packet."""
        name = flow.name or ""
        if flow.blocked and not from_server:
            return self._judge_new(flow, packet)
        rule = self._kill_rules.first(name)
        if rule is None:
            return self._pass_for_good()
        return _act(rule, packet, name, reset=rule.resets_existing, from_server=from_server)

    def _pass_for_good(self) -> Decision:
        return Decision(mark=self.generation)

    # Addresses

    def address_hit(self, rule: Rule, data: bytes) -> Hit | None:
        """The hit that tells of a packet which the kernel dropped or rejected by an address rule; None: unreadable."""
        packet = packets.parse(data)
        if packet is None:
            return None
        destination = ipaddress.ip_address(packet.destination)
        from_server = not any(destination in network for network in rule.networks)
        flow = self.flows.get(flow_key(packet, from_server=from_server))
        name = flow.name if flow is not None and packet.protocol == packets.TCP else None
        return _hit(rule, rule.action, packet, name or "", from_server=from_server)


def _starts_hello(packet: Packet) -> bool:
    """Whether the payload starts with a handshake record that starts with a ClientHello."""
    return packet.payload[:2] == b"\x16\x03" and packet.payload[5:6] == b"\x01"


def _act(rule: Rule, packet: Packet, name: str, *, reset: bool, from_server: bool) -> Decision:
    """Drop the packet and, when `reset`, reset both ends. An RST is not answered with an RST."""
    builders: tuple[Callable[[Packet], bytes], ...] = (packets.reset_back, packets.reset_forward)
    after = tuple(build(packet) for build in builders) if reset and not packet.flags & packets.RST else ()
    action = Action.SNI_RST if reset else Action.SNI_DROP
    return Decision(accept=False, after=after, hits=(_hit(rule, action, packet, name, from_server=from_server),))


def _hit(rule: Rule, action: Action, packet: Packet, name: str, *, from_server: bool = False) -> Hit:
    return Hit(
        rule=rule.name,
        action=action.value,
        flow=packets.flow_name(packet, reverse=from_server),
        name=name,
        source_address=packets.address(packet.source),
        destination_address=packets.address(packet.destination),
        packet_bytes=packet.length,
    )
