"""Sans-IO: a rule has matched: its actions begin."""

from __future__ import annotations

import dataclasses
import ipaddress

from censor import effects, packets
from censor.actions import (
    Allow,
    AnyAction,
    BlockPage,
    Delay,
    Drop,
    ForgeDns,
    Freeze,
    Lose,
    Mark,
    Police,
    Probe,
    Reject,
    Reset,
    Residual,
)
from censor.analyzers import dns
from censor.block_page import block_page
from censor.compiled import CompiledRule
from censor.decision import Blocked, Decision, Suspect, hit
from censor.draws import between, draw
from censor.flows import Flow
from censor.packets import Packet
from censor.residual import Entry, Residuals
from censor.statistics import Statistics

_RCODES = {"noerror": 0, "servfail": 2, "nxdomain": 3, "refused": 5}


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """A rule, the flow and the packet that it matched, and when its actions begin."""

    rule: CompiledRule
    flow: Flow
    packet: Packet
    data: bytes
    t: float
    begins: float
    collateral: bool
    from_client: bool
    lasting: bool
    """An earlier match of the rule has begun effects that last."""
    existing: bool
    """The flow was decided before the rule was enforced."""


class Acting:
    """Carries out actions on decisions, flows and residual blocks."""

    def __init__(self, seed: int, residuals: Residuals, statistics: Statistics, *, allows: bool = False) -> None:
        """allows: some rule may let a flow pass in spite of residual blocks."""
        self._seed = seed
        self._allows = allows
        self._residuals = residuals
        self._statistics = statistics
        self._pools: dict[str, int] = {}

    def act(
        self,
        rule: CompiledRule,
        flow: Flow,
        packet: Packet,
        data: bytes,
        t: float,
        decision: Decision,
        *,
        existing: bool = False,
    ) -> None:
        """Begin what the rule does. The decision on this packet is changed, the flow may get effects.

        existing: the flow was decided before the rule was enforced.
        """
        if rule.silent:
            return
        latency = rule.rule.latency_seconds
        begins = t + (between(latency, self._draw(flow, rule, "latency")) if latency else 0.0)
        collateral = rule.intended is not None and rule.intended.evaluate(flow.properties) is not True
        counts = self._statistics.rule(rule.name)
        counts.matched += 1
        counts.collateral += collateral
        lasting = any(effect.rule is rule for effect in flow.effects)
        from_client = flow.is_from_client(packet)
        match = Match(rule, flow, packet, data, t, begins, collateral, from_client, lasting, existing)
        for action in rule.actions:
            self._carry_out(match, action, decision)

    def _carry_out(self, match: Match, action: AnyAction, decision: Decision) -> None:
        match action:
            case Drop():
                self._drop(match, action, decision)
            case Reject():
                self._reject(match, action, decision)
            case Reset():
                self._reset(match, action, decision)
            case ForgeDns():
                self._forge_dns(match, action, decision)
            case BlockPage():
                self._block_page(match, action, decision)
            case Police() | Delay() | Lose() | Freeze():
                self._effect(match, self._lasting(match, action), decision)
            case Residual():
                self._residual(match, action, decision)
            case Probe():
                self._probe(match, action, decision)
            case Mark():
                match.flow.properties["flow.mark"] = action.value
            case Allow():
                match.flow.exempt = True
            case _:  # Log
                self._report(match, action, decision)

    def _draw(self, flow: Flow, rule: CompiledRule, purpose: str) -> float:
        return draw(self._seed, flow.id, f"{rule.name}/{purpose}")

    @staticmethod
    def _report(match: Match, action: AnyAction, decision: Decision) -> None:
        decision.hits += (
            hit(
                match.rule.name,
                match.rule.rule.label(action),
                match.packet,
                match.flow.name,
                from_client=match.from_client,
                collateral=match.collateral,
            ),
        )

    # Actions on the flow's packets

    def _effect(self, match: Match, effect: effects.Effect, decision: Decision, *, trigger: bool = True) -> None:
        """Add an effect, unless the rule has begun it before; `trigger`: it acts on this packet, too."""
        if match.lasting:
            return
        match.flow.effects.append(effect)
        match.flow.blocked = True
        if trigger and decision.accept:
            before = decision.injected
            effect.apply(match.flow, match.packet, match.data, match.t, decision)
            self._statistics.rule(match.rule.name).injected += decision.injected - before

    def _drop(self, match: Match, action: Drop, decision: Decision) -> None:
        if _is_message(match) and action == Drop():
            decision.accept = False
            self._report(match, action, decision)
            return
        drawn = self._draw(match.flow, match.rule, "drop")
        effect = effects.dropping(match.rule, action, match.begins, drawn, collateral=match.collateral)
        trigger = action.trigger and not effect.packets_left
        if not trigger:
            self._report(match, action, decision)
        self._effect(match, effect, decision, trigger=trigger)

    def _reject(self, match: Match, action: Reject, decision: Decision) -> None:
        label = match.rule.rule.label(action)
        effect = effects.Dropping(match.rule, label, match.begins, answer=action, collateral=match.collateral)
        self._effect(match, effect, decision)

    def _reset(self, match: Match, action: Reset, decision: Decision) -> None:
        label = match.rule.rule.label(action)
        if action.rewrite:
            self._report(match, action, decision)
            seconds = action.seconds
            if seconds is not None:
                seconds = between(seconds, self._draw(match.flow, match.rule, "rewrite_seconds"))
            rewriting = effects.Rewriting(match.rule, label, match.begins, collateral=match.collateral, seconds=seconds)
            self._effect(match, rewriting, decision)
            return
        if action.drop:
            answer = action if action.repeat else None
            dropping = effects.Dropping(match.rule, label, match.begins, answer=answer, collateral=match.collateral)
            passed = decision.accept
            self._effect(match, dropping, decision)
            if action.repeat and passed and not decision.accept:  # and answered
                return
        else:
            self._report(match, action, decision)
            if action.repeat:
                repeating = effects.Repeating(match.rule, label, match.begins, action, collateral=match.collateral)
                self._effect(match, repeating, decision, trigger=False)
        delay = match.begins - match.t
        if action.delay_seconds:
            delay += between(action.delay_seconds, self._draw(match.flow, match.rule, "delay"))
        made = effects.resets(action, match.packet, from_client=match.from_client, dropped=not decision.accept)
        self._inject(match, made, delay, decision)

    def _lasting(self, match: Match, action: Police | Delay | Lose | Freeze) -> effects.Effect:
        rule, begins, collateral = match.rule, match.begins, match.collateral
        label = rule.rule.label(action)
        match action:
            case Police():
                return effects.Policing(rule, label, begins, action, collateral=collateral)
            case Delay():
                return effects.Delaying(rule, label, begins, action, self._seed, collateral=collateral)
            case Lose():
                return effects.Losing(rule, label, begins, action, self._seed, collateral=collateral)
            case _:  # Freeze
                drawn = self._draw(match.flow, rule, "freeze")
                freezing = effects.Freezing(rule, label, begins, action, drawn, collateral=collateral)
                if match.existing:
                    freezing.spare(match.flow, match.packet)
                return freezing

    def _inject(self, match: Match, made: tuple[bytes, ...], delay: float, decision: Decision) -> None:
        self._statistics.rule(match.rule.name).injected += len(made)
        if delay > 0:
            decision.later += tuple((delay, one) for one in made)
        else:
            decision.inject(made, match.packet)

    # Answers

    def _forge_dns(self, match: Match, action: ForgeDns, decision: Decision) -> None:
        query = self._message(match)
        if not isinstance(query, dns.Query):  # a response, say
            return
        over_tcp = match.packet.protocol == packets.TCP
        made: list[bytes] = []
        for number in range(action.injectors):
            answer = dns.forge(
                query,
                addresses=[ipaddress.ip_address(text).packed for text in self._pool(match, action, number)],
                rcode=0 if action.addresses else _RCODES[action.rcode],
                ttl_seconds=action.ttl_seconds,
                tcp=over_tcp,
            )
            if over_tcp:
                made += packets.segments_back(match.packet, answer, flags=packets.PSH | packets.ACK)
            else:
                made.append(packets.udp_reply(match.packet, answer))
        self._statistics.rule(match.rule.name).injected += len(made)
        if match.begins > match.t:
            decision.later += tuple((match.begins - match.t, one) for one in made)
        else:
            decision.before += tuple(made)
        decision.accept = decision.accept and not action.drop
        self._report(match, action, decision)

    @staticmethod
    def _message(match: Match) -> object:
        side = match.flow.client if match.from_client else match.flow.server
        return side.message.message if side is not None and side.message is not None else None

    def _pool(self, match: Match, action: ForgeDns, number: int) -> tuple[str, ...]:
        pool = action.addresses
        if not pool or action.choose == "all":
            return pool
        if action.choose == "random":
            drawn = draw(self._seed, match.flow.id + match.data[-16:], f"{match.rule.name}/pool{number}")
            return (pool[int(drawn * len(pool))],)
        position = self._pools.get(match.rule.name, 0)
        self._pools[match.rule.name] = (position + 1) % len(pool)
        return (pool[position],)

    def _block_page(self, match: Match, action: BlockPage, decision: Decision) -> None:
        if match.packet.protocol != packets.TCP:  # the rule's condition holds without HTTP, too
            return
        page = block_page(action.status, action.body.encode(), action.location)
        dropping = effects.Dropping(
            match.rule, match.rule.rule.label(action), match.begins, collateral=match.collateral
        )
        self._effect(match, dropping, decision)
        made = packets.segments_back(match.packet, page)
        to_server = effects.resets(
            Reset(to="server"), match.packet, from_client=match.from_client, dropped=not decision.accept
        )
        self._inject(match, made + to_server, match.begins - match.t, decision)

    # What lasts beyond the flow

    def _residual(self, match: Match, action: Residual, decision: Decision) -> None:
        flow, rule = match.flow, match.rule
        if action.trigger:
            decision.accept = False
            self._report(match, action, decision)
        seconds = between(action.seconds, self._draw(flow, rule, "residual_seconds"))
        delay = match.begins - match.t
        if action.delay_seconds:
            delay += between(action.delay_seconds, self._draw(flow, rule, "residual_delay"))
        drawn = self._draw(flow, rule, "residual_probability")
        entry = self._residuals.add(
            rule,
            action,
            flow,
            match.t,
            delay_seconds=delay,
            seconds=seconds,
            drawn=drawn,
            in_kernel=drops_alone(rule, action, allows=self._allows),
        )
        if entry is not None:
            decision.blocked += (for_the_kernel(entry),)
            # The kernel, where it drops by itself, does not spare the flow that it began with either.
            if entry.certain and not entry.in_kernel:
                entry.take(flow)

    def _probe(self, match: Match, action: Probe, decision: Decision) -> None:
        flow = match.flow
        reason = action.reason or match.rule.name
        decision.suspects += (Suspect(flow.server_address, flow.server_port, flow.first_payload, reason),)


def _is_message(match: Match) -> bool:
    """Whether the packet is a message of its own: the next one from that port (a DNS query) may be about anything."""
    return match.packet.protocol == packets.UDP and match.rule.repeats


def drops_alone(rule: CompiledRule, action: Residual, *, allows: bool) -> bool:
    """Whether the kernel can drop what the residual block hits without asking.

    Not if the flow that is blocked for later goes on at first or is answered, or if a rule `allows` flows to pass: the
    kernel cannot tell these from others.
    """
    probability = action.probability
    lowest = probability[0] if isinstance(probability, tuple) else probability
    if allows or action.then != "drop" or action.direction == "to_client" or lowest < 1:
        return False
    return not any(
        isinstance(other, Police | Delay | Lose | Freeze | Reject)
        or (isinstance(other, Drop) and (other.after_packets or other.least_payload_bytes or other.direction != "both"))
        or (isinstance(other, Reset) and (other.rewrite or other.repeat))
        for other in rule.actions
    )


def for_the_kernel(entry: Entry) -> Blocked:
    """A residual block as the kernel is told of it."""
    kind, client, server, server_port, client_port, protocol = entry.key
    return Blocked(
        rule=entry.rule.name,
        kind=kind,
        client_address=client,
        server_address=server,
        server_port=server_port,
        client_port=client_port,
        protocol=protocol,
        begins=entry.begins,
        seconds=entry.until - entry.begins,
    )
