"""Sans-IO: what becomes of each packet. The one place that decides.

A packet belongs to a flow (censor/flows.py). While rules may still match it, the bytes of the flow are read
(censor/inspection.py) and the rules judged by what is known; what a rule does to the flow is an effect
(censor/effects.py), what it does to later flows a residual block (censor/residual.py).

A flow that no rule can match any more is *decided*: it gets the current `generation` as its connmark, and the kernel
stops asking. One that is undecided, but was *heard* (its client has spoken, and only what the client says next tells
more), gets the bit HEARD with it, and the kernel asks about that alone. When rules about existing flows change, the
generation moves on, so that the next packet of every older flow, from either end, comes here once more. A flow with
effects is never marked so; it is *watched*: all its packets come here. Without a kernel (`mark` is None: packets out of
a file) every packet comes here, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping

from censor import packets
from censor.acting import Acting, for_the_kernel
from censor.actions import Reject, Reset, Residual
from censor.compiled import CompiledRule, CompiledRules
from censor.conditions import ListHolder
from censor.decision import PASS, Blocked, Decision, Hit, hit
from censor.draws import draw
from censor.effects import Dropping, refusal, resets
from censor.flows import Flow, FlowTable, flow_key
from censor.inspection import MESSAGES_MAX, Inspection
from censor.kernel.marks import CONFIRMED, GENERATION_MASK, HEARD, REPLY, SAVED_MASK, WATCH
from censor.lists.prefixes import PrefixSet
from censor.offload import AddressBlock, address_blocks
from censor.packets import ACK, RST, SYN, TCP, UDP, Packet
from censor.properties import Properties
from censor.residual import Entry, Residuals
from censor.rules import Rule, RuleSet
from censor.statistics import Statistics

_NO_LISTS: Mapping[str, ListHolder] = {}


class Core:
    """The censor's memory and judgement.

    flow_limit, residual_limit: how many flows and residual blocks are remembered at most. offloaded: the kernel keeps
    decided flows to itself, and addresses that are blocked.
    """

    def __init__(self, *, generation: int = 1, flow_limit: int = 65536, residual_limit: int = 65536) -> None:
        self.generation = generation
        self.flows = FlowTable(flow_limit)
        self.residuals = Residuals(residual_limit)
        self.statistics = Statistics()
        self._epoch = 0
        self._overload_second = -1
        self._overload_count = 0
        self._bind(RuleSet(), _NO_LISTS)

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._compiled.source

    @property
    def compiled(self) -> CompiledRules:
        return self._compiled

    @property
    def _heard(self) -> int:
        """The connmark of flows that were heard."""
        return HEARD | self.generation

    def set_rules(
        self,
        rules: RuleSet,
        lists: Mapping[str, ListHolder] = _NO_LISTS,
        changed: frozenset[str] = frozenset(),
    ) -> bool:
        """Judge by `rules` from now on. True: the generation moved on, and the kernel has to be told.

        changed: the lists that have other contents now.

        Raises ValueError (a condition that does not compile), and nothing has changed.
        """
        before = [rule.rule for rule in self._compiled.retroactive]
        self._bind(rules, lists)
        after = [rule.rule for rule in self._compiled.retroactive]
        reread = any(rule.condition.lists & changed for rule in self._compiled.retroactive)
        moved_on = bool(after) and (after != before or reread)
        if moved_on:
            self.generation = self.generation % GENERATION_MASK + 1
        return moved_on

    def _bind(self, rules: RuleSet, lists: Mapping[str, ListHolder]) -> None:
        old: CompiledRules | None = getattr(self, "_compiled", None)
        compiled = CompiledRules(rules, lists, old)
        if old is not None:
            kept = set(compiled.rules)
            for rule in old.rules:
                rule.lifted = rule not in kept
            if old.prober is not None:
                old.prober.lifted = compiled.prober is None
        self._compiled = compiled
        self._address_rules = compiled.rules[: len(address_blocks(compiled))]
        table = rules.censor
        self._idle_seconds = table.flow_idle_seconds or float("inf")
        self._inspection = Inspection(table.tcp, table.seed)
        self._acting = Acting(table.seed, self.residuals, self.statistics, allows=compiled.allows)
        self._everything = table.inspect_everything
        self._both = table.tcp.inspect == "both"
        self._handshake = table.tcp.handshake
        self._replayed_bytes = rules.prober.payload_limit_bytes if compiled.probes else 0
        self._bare_acks = table.tcp.reassembly in ("in_order", "full")
        self._server_first_bytes = table.tcp.limit_bytes
        self._overload_limit = table.overload.packets_per_second
        self._inside = PrefixSet(table.inside) if table.inside else None
        self._epoch += 1

    # Packets

    def decide(self, data: bytes, mark: int | None = None, t: float = 0.0) -> Decision:
        """The decision on a packet (from its IP header on), which was seen at `t`.

        mark: the packet mark that the kernel gave it (censor/kernel/marks.py: what its flow had so far, and its
        direction); None: there is no kernel, and all packets come here.
        """
        packet = packets.parse(data)
        if packet is None:
            return PASS
        key = flow_key(packet)
        flow = self.flows.get(key)
        overloaded = self._overload_limit > 0 and self._overloaded(t)
        if flow is None or self._is_another(flow, packet, mark, t):
            if mark is not None and mark & GENERATION_MASK and not mark & HEARD and flow is None:
                return self._for_good(mark)  # decided by a predecessor, or forgotten
            flow = self._open(packet, mark, t)
            self.flows.put(key, flow)
            if overloaded:
                self.statistics.overloaded += 1
                flow.epoch = self._epoch
                flow.properties = self._header(flow)
                flow.decided = True
        if len(self.residuals) and (dropped := self._drop_residual(flow, packet, t)) is not None:
            return dropped  # and not counted: of what the kernel drops by itself nothing is known here
        self._count(flow, packet, t)
        if flow.epoch != self._epoch:
            return self._judge_anew(flow, packet, data, mark, t)
        if flow.decided and not flow.effects and not len(self.residuals):
            return self._for_good(mark)
        return self._go_on(flow, packet, data, mark, t, Decision())

    def _for_good(self, mark: int | None) -> Decision:
        return PASS if mark is None or self._everything else Decision(mark=self.generation)

    def _is_another(self, flow: Flow, packet: Packet, mark: int | None, t: float) -> bool:
        """Whether the packet begins another flow between the same ends."""
        # Of a flow with a connmark the kernel knows that it lives: its packets need not have come here.
        if t - flow.last_t > self._idle_seconds and not (mark is not None and mark & (GENERATION_MASK | WATCH)):
            return True
        if packet.protocol != TCP:
            return False
        if packet.flags & (SYN | ACK | RST) == SYN:
            if not flow.is_from_client(packet):  # a simultaneous open, as the kernel sees it, or what evades the TSPU
                return self._handshake
            return flow.syn != packet.sequence
        known = mark is None or mark & (GENERATION_MASK | WATCH)
        if known or flow.last_sequence is None or not flow.is_from_client(packet):
            return False
        # SYNs do not come here. A segment without connmark that is far from what the flow had is another connection's.
        distance = (packet.sequence - flow.last_sequence + (1 << 31)) % (1 << 32) - (1 << 31)
        return abs(distance) > max(self._server_first_bytes, 1 << 17)

    def _open(self, packet: Packet, mark: int | None, t: float) -> Flow:
        flow = Flow(packet, t, from_client=_opens(packet, mark))
        if packet.flags & (SYN | ACK) == SYN and packet.protocol == TCP:
            flow.syn = packet.sequence
        return flow

    @staticmethod
    def _count(flow: Flow, packet: Packet, t: float) -> None:
        flow.last_t = t
        flow.packets += 1
        if flow.is_from_client(packet):
            flow.client_bytes += packet.payload_length
            if flow.client_base is None:
                flow.client_base = packet.sequence + (packet.flags & SYN > 0)
        else:
            flow.to_client_packets += 1
            flow.server_bytes += packet.payload_length
            if flow.server_base is None:
                flow.server_base = packet.sequence + (packet.flags & SYN > 0)

    def _go_on(
        self, flow: Flow, packet: Packet, data: bytes, mark: int | None, t: float, decision: Decision
    ) -> Decision:
        """The flow has been judged by these rules; this packet may tell more, or is one to act on."""
        if len(self.residuals) and not flow.exempt:
            for entry in self.residuals.find(flow, t):
                if entry.in_kernel or any(effect.rule is entry.rule for effect in flow.effects):
                    continue
                if self._hit_residual(entry, flow, packet, data, mark, t, decision):
                    return self._sealed(flow, decision, mark, t)
        if flow.effects:
            self._apply(flow, packet, data, t, decision)
        if not flow.decided and decision.accept and packet.payload:
            self._inspect(flow, packet, data, t, decision)
        elif not flow.decided:
            self._note_server_first(flow, packet, data, t, decision)
        return self._sealed(flow, decision, mark, t)

    def _sealed(self, flow: Flow, decision: Decision, mark: int | None, t: float) -> Decision:
        """The decision with what the kernel is to do with the flow's next packets."""
        if mark is not None:
            if flow.effects or (flow.residuals and any(entry.lasts(t) for entry in flow.residuals)):
                decision.watch = True
            elif decision.accept and not self._everything:
                if flow.decided:
                    decision.mark = self.generation
                elif mark & SAVED_MASK != self._heard and self._is_heard(flow):
                    decision.mark = self._heard
        return decision

    def _is_heard(self, flow: Flow) -> bool:
        """Whether nothing but what the client says next can tell more."""
        server = flow.server
        return (
            flow.protocol == TCP
            and flow.client_bytes > 0
            and (server is None or server.closed)
            and not self._compiled.counts
        )

    # Rules

    def _judge_anew(self, flow: Flow, packet: Packet, data: bytes, mark: int | None, t: float) -> Decision:
        """The flow is new, or the rules are."""
        first = flow.epoch < 0
        flow.epoch = self._epoch
        lasting = [effect for effect in flow.effects if not effect.rule.lifted]
        freed = flow.blocked and len(lasting) < len(flow.effects)
        flow.effects = lasting
        if first:
            flow.properties = self._header(flow)
        elif (block := self._address_block(flow)) is not None:
            answer = block.actions[0] if isinstance(block.actions[0], Reject) else None
            label = block.rule.label(block.actions[0])
            return self._silenced(flow, block, label, answer, packet, data, mark, t, Decision())
        elif flow.effects:  # what is done to it goes on
            if not flow.decided:
                flow.live = list(self._compiled.rules)
                self._begin(flow, first=False)
                self._settle(flow)
            return self._go_on(flow, packet, data, mark, t, Decision())
        elif flow.decided and not freed:
            return self._judge_existing(flow, packet, data, mark, t)
        decision = Decision()
        flow.decided = flow.blocked = flow.exempt = False
        flow.live = list(self._compiled.rules)
        self._judge(flow, packet, data, t, decision)
        self._begin(flow, first=first)
        self._conclude(flow, packet, data, t, decision)
        if flow.effects or not decision.accept:  # this packet has been acted on
            return self._sealed(flow, decision, mark, t)
        return self._go_on(flow, packet, data, mark, t, decision)

    def _judge_existing(self, flow: Flow, packet: Packet, data: bytes, mark: int | None, t: float) -> Decision:
        """The flow was decided before these rules: only those that are about existing flows concern it."""
        decision = Decision()
        for rule in self._compiled.retroactive:
            if flow.exempt:
                break
            if not (rule.evaluate(flow.properties) is True and self._strikes(flow, rule) and _fires(flow, rule)):
                continue
            if rule.rule.kills:
                answer = Reset() if rule.rule.resets_existing else None
                flow.blocked = False
                label = self._existing_label(rule)
                return self._silenced(flow, rule, label, answer, packet, data, mark, t, decision)
            self._acting.act(rule, flow, packet, data, t, decision, existing=True)
            flow.blocked = False  # when the rule is lifted, the flow is again what it was
            if rule.final:
                break
        if flow.effects or not decision.accept:  # this packet has been acted on
            return self._sealed(flow, decision, mark, t)
        return self._go_on(flow, packet, data, mark, t, decision)

    def _address_block(self, flow: Flow) -> CompiledRule | None:
        """The rule on addresses, new to this flow, by which the kernel drops all its packets."""
        for rule in self._address_rules:
            if rule.evaluate(flow.properties) is True and all(effect.rule is not rule for effect in flow.effects):
                return rule
        return None

    def _silenced(
        self,
        flow: Flow,
        rule: CompiledRule,
        label: str,
        answer: Reset | Reject | None,
        packet: Packet,
        data: bytes,
        mark: int | None,
        t: float,
        decision: Decision,
    ) -> Decision:
        """From this packet on all of the flow's vanish. When the rule is lifted, the flow is again what it was."""
        flow.effects.insert(0, Dropping(rule, label, t, answer=answer))
        self._apply(flow, packet, data, t, decision)
        return self._sealed(flow, decision, mark, t)

    @staticmethod
    def _existing_label(rule: CompiledRule) -> str:
        if rule.rule.action:
            return "sni_rst" if rule.rule.resets_existing else "sni_drop"
        return "reset" if rule.rule.resets_existing else "drop"

    def _judge(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> None:
        """Ask the rules that may still match; act by those that do."""
        values = flow.properties
        waiting: list[CompiledRule] = []
        rules = flow.live
        for position, rule in enumerate(rules):
            answer = rule.evaluate(values)
            if answer is None:
                waiting.append(rule)
                continue
            if rule.repeats:
                waiting.append(rule)
            if not answer or not self._strikes(flow, rule):
                continue
            if _fires(flow, rule):
                self._acting.act(rule, flow, packet, data, t, decision)
            if rule.final:
                if not rule.repeats:
                    waiting = []
                else:
                    waiting += rules[position + 1 :]
                break
        flow.live = waiting

    def _strikes(self, flow: Flow, rule: CompiledRule) -> bool:
        """Whether the draw says that a match is acted on."""
        probability = rule.rule.probability
        if probability >= 1:
            return True
        subject = flow.id if rule.rule.probability_of == "flow" else flow.server_address
        return draw(self.rules.censor.seed, subject, f"{rule.name}/trigger") < probability

    def _header(self, flow: Flow) -> Properties:
        """What the headers tell of a flow."""
        properties = self._compiled.known(flow.protocol, flow.server_port).copy()
        client, server, inside = flow.client_address, flow.server_address, self._inside
        properties["ip.version"] = 4 if len(client) == 4 else 6
        properties["client.address"] = client
        properties["client.port"] = flow.client_port
        properties["client.inside"] = inside is None or client in inside
        properties["server.address"] = server
        properties["server.port"] = flow.server_port
        properties["server.inside"] = inside is not None and server in inside
        return properties

    def _begin(self, flow: Flow, *, first: bool) -> None:
        """Start reading the flow's bytes, or go on with other questions, if any rule waits for them."""
        if flow.live and flow.protocol in (TCP, UDP):
            readers = self._compiled.readers(flow.live, flow.server_port)
            reading = readers.stream if flow.protocol == TCP else readers.datagram
            flow.client = self._inspection.side(reading, readers.first if first else (), flow.client)
            both = self._both and flow.protocol == TCP
            flow.server = self._inspection.side(reading, (), flow.server) if both else None

    # Bytes

    def _inspect(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> None:
        from_client = flow.is_from_client(packet)
        side = flow.client if from_client else flow.server
        if from_client:
            flow.last_sequence = packet.sequence
            if self._replayed_bytes and not flow.first_payload:
                flow.first_payload = packet.payload[: self._replayed_bytes]
        if side is None or side.closed:
            return
        rules, inspection = self._compiled, self._inspection
        if packet.protocol == UDP:
            changed = inspection.datagram(rules, flow, side, packet.payload)
        else:
            self._note_server_first(flow, packet, data, t, decision)
            changed = inspection.segment(rules, flow, side, packet)
        number = 1
        while True:
            if changed:
                self._judge(flow, packet, data, t, decision)
            if side.message is None or not decision.accept or packet.protocol == UDP or number == MESSAGES_MAX:
                break
            changed = inspection.again(rules, flow, side)
            number += 1
        if packet.protocol == UDP:
            side.message = None
        self._conclude(flow, packet, data, t, decision)

    def _note_server_first(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> None:
        """A client that has acknowledged so much of the server's without a word of its own is not read any more."""
        if packet.protocol != TCP or not flow.is_from_client(packet) or packet.flags & SYN:
            return
        if flow.last_sequence is None:
            flow.last_sequence = packet.sequence
        side = flow.client
        if flow.first_acknowledgment is None:
            flow.first_acknowledgment = packet.acknowledgment
        elif self._bare_acks and side is not None and side.stream is None and not side.closed:
            spoken = (packet.acknowledgment - flow.first_acknowledgment) % (1 << 32)
            if self._server_first_bytes < spoken < 1 << 31 and not flow.client_bytes:
                self._inspection.close(self._compiled, flow, side)
                self._judge(flow, packet, data, t, decision)
                self._conclude(flow, packet, data, t, decision)

    def _conclude(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> None:
        """If nothing is read any more, no mark will come either, which may be what a rule waits for."""
        if "flow.mark" not in flow.properties and not _reading(flow):
            flow.properties["flow.mark"] = None
            self._judge(flow, packet, data, t, decision)
        self._settle(flow)

    @staticmethod
    def _settle(flow: Flow) -> None:
        """Decided: no rule waits, or nothing is read any more that could tell."""
        if not flow.live or not _reading(flow):
            flow.decided = True
            flow.live = []
            flow.client = flow.server = None
            flow.first_payload = b""

    # Effects

    def _apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> None:
        lasting = []
        for effect in flow.effects:
            before = decision.injected
            if not decision.accept or effect.apply(flow, packet, data, t, decision):
                lasting.append(effect)
            if decision.injected > before:
                self.statistics.rule(effect.rule.name).injected += decision.injected - before
        flow.effects = lasting

    def _draws_residual(self, entry: Entry, flow: Flow) -> bool:
        return draw(self.rules.censor.seed, flow.id, f"{entry.rule.name}/residual") < entry.probability

    def _drop_residual(self, flow: Flow, packet: Packet, t: float) -> Decision | None:
        """What the kernel does by itself, before it asks about anything: by the first rule that has a block here."""
        from_client = flow.is_from_client(packet)
        found = [
            entry
            for entry in self.residuals.find(flow, t)
            if entry.in_kernel and entry.concerns(from_client=from_client)
        ]
        if not found:
            return None
        entry = found[0] if len(found) == 1 else min(found, key=lambda entry: self._compiled.position(entry.rule))
        if entry.action.refresh == "packet":
            entry.until = max(entry.until, t + entry.seconds)
        name = entry.rule.name
        return Decision(accept=False, hits=(hit(name, "residual", packet, flow.name, from_client=from_client),))

    def _hit_residual(
        self,
        entry: Entry,
        flow: Flow,
        packet: Packet,
        data: bytes,
        mark: int | None,
        t: float,
        decision: Decision,
    ) -> bool:
        """Act on a packet of a key that is blocked. False: the packet goes on, as nothing hits it or for all that."""
        from_client = flow.is_from_client(packet)
        rule, action = entry.rule, entry.action
        if not entry.concerns(from_client=from_client) or (from_client and action.then == "rewrite"):
            return False
        if flow.decided and entry not in flow.residuals and not _opens_flow(flow, packet, mark):
            return False
        if not entry.certain and not self._draws_residual(entry, flow):
            return False
        entry.take(flow)
        if action.refresh == "packet":
            entry.until = max(entry.until, t + entry.seconds)
        passes = action.then == "inject"
        decision.accept = passes
        if action.then == "rewrite" and packet.protocol == TCP:
            decision.after += (packets.rewritten_reset(packet),)
        elif action.then in ("reset", "inject"):
            made = resets(Reset(), packet, from_client=from_client, dropped=not passes)
            made = made if made or passes else refusal(packet, data)
            self.statistics.rule(rule.name).injected += len(made)
            decision.inject(made, packet)
        decision.hits += (hit(rule.name, "residual", packet, flow.name, from_client=from_client),)
        return not passes

    def _overloaded(self, t: float) -> bool:
        """Whether more packets come in this second than are looked at."""
        second = int(t)
        if second != self._overload_second:
            self._overload_second, self._overload_count = second, 0
        self._overload_count += 1
        return self._overload_count > self._overload_limit

    def convict(self, address: bytes, port: int, t: float, seconds: float) -> Blocked | None:
        """Block a server that the prober found to be a proxy; None: no rule probes any more."""
        rule = self._compiled.prober
        if rule is None:
            return None
        (action,) = rule.actions
        assert isinstance(action, Residual)
        return for_the_kernel(self.residuals.convict(rule, action, address, port, t, seconds))

    # Addresses

    def knows(self, data: bytes) -> bool:
        """Whether the packet belongs to a flow that is remembered."""
        packet = packets.parse(data)
        return packet is not None and self.flows.get(flow_key(packet)) is not None

    def residual_hit(self, rule: str, data: bytes) -> Hit | None:
        """The hit that tells of a packet which the kernel dropped by a residual block of the rule; None: unreadable."""
        packet = packets.parse(data)
        if packet is None:
            return None
        flow = self.flows.get(flow_key(packet))
        from_client = flow.is_from_client(packet) if flow is not None else True
        return hit(rule, "residual", packet, flow.name if flow is not None else "", from_client=from_client)

    def address_hit(self, block: AddressBlock, data: bytes) -> Hit | None:
        """The hit that tells of a packet which the kernel dropped or rejected by a block; None: unreadable."""
        packet = packets.parse(data)
        if packet is None:
            return None
        flow = self.flows.get(flow_key(packet))
        from_client = packet.destination in block.networks if flow is None else flow.is_from_client(packet)
        rule = block.rule
        return hit(
            rule.name,
            rule.label(rule.effects[0]),
            packet,
            flow.name if flow is not None else "",
            from_client=from_client,
            collateral=self._is_collateral(rule, flow or Flow(packet, 0.0, from_client=from_client)),
        )

    def _is_collateral(self, rule: Rule, flow: Flow) -> bool:
        """Whether a flow that the kernel blocked by its addresses is not what the rule is meant for."""
        if rule.intended is None:
            return False
        compiled = next((one for one in self._compiled.rules if one.rule == rule), None)
        if compiled is None or compiled.intended is None:  # the rule was lifted meanwhile
            return False
        return compiled.intended.evaluate(self._header(flow) | flow.properties) is not True


def _fires(flow: Flow, rule: CompiledRule) -> bool:
    """Whether a rule that matches has not done so before; for rules on messages: on this message."""
    if flow.fired is None:
        flow.fired = {rule}
        return True
    if rule in flow.fired:
        return False
    flow.fired.add(rule)
    return True


def _reading(flow: Flow) -> bool:
    """Whether any analyzer still reads one of the flow's ends."""
    client, server = flow.client, flow.server
    return (client is not None and not client.closed) or (server is not None and not server.closed)


def _opens_flow(flow: Flow, packet: Packet, mark: int | None) -> bool:
    """Whether the packet is the first of its flow. Later ones of a decided flow are not looked at: the kernel would not
    even ask, unless it never did, as no rule is about the flow."""
    if packet.protocol == TCP:
        return packet.flags & (SYN | ACK) == SYN
    return flow.packets == 1 and not (mark is not None and mark & CONFIRMED)


def _opens(packet: Packet, mark: int | None) -> bool:
    """Whether the sender of a flow's first packet that was seen is its client.

    A SYN+ACK is the server's. Else the kernel knows (conntrack's direction); without it, the higher port is the
    client's.
    """
    if packet.protocol == TCP and packet.flags & SYN:
        return not packet.flags & ACK
    if mark is not None:
        return not mark & REPLY
    if packet.protocol == UDP:
        return True
    return packet.source_port >= packet.destination_port
