"""Sans-IO: what is being done to a flow: the actions that last longer than one packet.

An effect is asked about every packet of its flow, in the order in which the effects began, until it ends by itself or
its rule is lifted. `apply` changes the decision and says whether the effect lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from censor import packets
from censor.actions import Delay, Drop, Freeze, Lose, Police, Reject, Reset
from censor.decision import Decision, hit
from censor.draws import between, count_between, draw
from censor.packets import ACK, RST, SYN, Packet
from censor.packets.icmp import Unreachable
from censor.policing import TokenBucket

if TYPE_CHECKING:
    from censor.compiled import CompiledRule
    from censor.flows import Flow


class Effect:
    """The base of all. direction: whose packets it concerns. begins: nothing happens before."""

    __slots__ = ("begins", "collateral", "direction", "label", "rule")

    def __init__(self, rule: CompiledRule, label: str, direction: str, begins: float, *, collateral: bool) -> None:
        self.rule = rule
        self.label = label
        self.direction = direction
        self.begins = begins
        self.collateral = collateral

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        """Act on one packet of the flow. False: the effect has ended, before this packet."""
        raise NotImplementedError

    def _concerns(self, *, from_client: bool) -> bool:
        return self.direction in ("both", "to_server" if from_client else "to_client")

    def _drop(self, flow: Flow, packet: Packet, decision: Decision, *, from_client: bool) -> None:
        decision.accept = False
        self._report(flow, packet, decision, from_client=from_client)

    def _report(self, flow: Flow, packet: Packet, decision: Decision, *, from_client: bool) -> None:
        decision.hits += (
            hit(self.rule.name, self.label, packet, flow.name, from_client=from_client, collateral=self.collateral),
        )


class Dropping(Effect):
    """Packets vanish, after some more or at once, for a time or for good; senders may be told."""

    __slots__ = ("answer", "least_payload_bytes", "packets_left", "refresh_seconds", "until")

    def __init__(
        self,
        rule: CompiledRule,
        label: str,
        begins: float,
        *,
        direction: str = "both",
        packets_left: int = 0,
        least_payload_bytes: int = 0,
        seconds: float | None = None,
        refresh: bool = False,
        answer: Reset | Reject | None = None,
        collateral: bool = False,
    ) -> None:
        super().__init__(rule, label, direction, begins, collateral=collateral)
        self.packets_left = packets_left
        self.least_payload_bytes = least_payload_bytes
        self.until = None if seconds is None else begins + seconds
        self.refresh_seconds = seconds if refresh else None
        self.answer = answer

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        if self.until is not None and t >= self.until:
            return False
        if t < self.begins:
            return True
        if self.packets_left:
            self.packets_left -= 1
            return True
        if self.refresh_seconds is not None:
            self.until = t + self.refresh_seconds
        from_client = flow.is_from_client(packet)
        if packet.payload_length < self.least_payload_bytes or not self._concerns(from_client=from_client):
            return True
        self._drop(flow, packet, decision, from_client=from_client)
        if isinstance(self.answer, Reset):
            decision.after += resets(self.answer, packet, from_client=from_client, dropped=True)
        elif self.answer is not None:
            decision.after += refusal(packet, data)
        return True


class Repeating(Effect):
    """RSTs for each of the flow's packets that carries something, if only a SYN; the packets pass."""

    __slots__ = ("answer",)

    def __init__(self, rule: CompiledRule, label: str, begins: float, answer: Reset, *, collateral: bool) -> None:
        super().__init__(rule, label, "both", begins, collateral=collateral)
        self.answer = answer

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        if t < self.begins or not (packet.payload_length or packet.flags & SYN):
            return True
        from_client = flow.is_from_client(packet)
        self._report(flow, packet, decision, from_client=from_client)
        decision.inject(resets(self.answer, packet, from_client=from_client, dropped=False), packet)
        return True


class Rewriting(Effect):
    """The server's packets become RST+ACKs with its own numbers and TTL (TSPU, IMC 2022, SNI-I)."""

    __slots__ = ("until",)

    def __init__(
        self, rule: CompiledRule, label: str, begins: float, *, collateral: bool, seconds: float | None = None
    ) -> None:
        super().__init__(rule, label, "to_client", begins, collateral=collateral)
        self.until = None if seconds is None else begins + seconds

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        if self.until is not None and t >= self.until:
            return False
        if t < self.begins or flow.is_from_client(packet) or packet.protocol != packets.TCP:
            return True
        self._drop(flow, packet, decision, from_client=False)
        decision.after += (packets.rewritten_reset(packet),)
        return True


class Policing(Effect):
    """A token bucket for each direction."""

    __slots__ = ("buckets",)

    def __init__(self, rule: CompiledRule, label: str, begins: float, action: Police, *, collateral: bool) -> None:
        super().__init__(rule, label, action.direction, begins, collateral=collateral)
        self.buckets = tuple(
            TokenBucket(action.rate_bytes_per_second, action.burst_bytes, begins) for _direction in range(2)
        )

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        from_client = flow.is_from_client(packet)
        if t < self.begins or not self._concerns(from_client=from_client):
            return True
        if not self.buckets[from_client].conforms(packet.length, t):
            self._drop(flow, packet, decision, from_client=from_client)
        return True


class Delaying(Effect):
    """Each packet is held; one that was drawn a shorter time does not overtake."""

    __slots__ = ("action", "free", "number", "seed")

    def __init__(
        self, rule: CompiledRule, label: str, begins: float, action: Delay, seed: int, *, collateral: bool
    ) -> None:
        super().__init__(rule, label, action.direction, begins, collateral=collateral)
        self.action = action
        self.seed = seed
        self.number = 0
        self.free = [0.0, 0.0]

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        from_client = flow.is_from_client(packet)
        if t >= self.begins and self._concerns(from_client=from_client):
            self.number += 1
            drawn = draw(self.seed, flow.id, f"{self.rule.name}/delay{self.number}")
            leaves = max(t + between(self.action.seconds, drawn), self.free[from_client])
            self.free[from_client] = leaves
            decision.delay_seconds = max(decision.delay_seconds, leaves - t)
            self._report(flow, packet, decision, from_client=from_client)
        return True


class Losing(Effect):
    """Each packet is dropped with a probability."""

    __slots__ = ("number", "probability", "seed")

    def __init__(
        self, rule: CompiledRule, label: str, begins: float, action: Lose, seed: int, *, collateral: bool
    ) -> None:
        super().__init__(rule, label, action.direction, begins, collateral=collateral)
        self.probability = action.probability
        self.seed = seed
        self.number = 0

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        from_client = flow.is_from_client(packet)
        if t >= self.begins and self._concerns(from_client=from_client):
            self.number += 1
            if draw(self.seed, flow.id, f"{self.rule.name}/loss{self.number}") < self.probability:
                self._drop(flow, packet, decision, from_client=from_client)
        return True


class Freezing(Effect):
    """After so many bytes or packets from the flow's beginning nothing passes any more."""

    __slots__ = ("bytes_limit", "counted", "packets_limit")

    def __init__(
        self,
        rule: CompiledRule,
        label: str,
        begins: float,
        action: Freeze,
        drawn: float,
        *,
        collateral: bool,
    ) -> None:
        super().__init__(rule, label, action.direction, begins, collateral=collateral)
        self.counted = action.counted
        self.bytes_limit = None if action.bytes is None else count_between(action.bytes, drawn)
        self.packets_limit = None if action.packets is None else count_between(action.packets, drawn)

    def apply(self, flow: Flow, packet: Packet, data: bytes, t: float, decision: Decision) -> bool:
        if t < self.begins or not self._reached(flow):
            return True
        from_client = flow.is_from_client(packet)
        if self._concerns(from_client=from_client):
            self._drop(flow, packet, decision, from_client=from_client)
        return True

    def spare(self, flow: Flow, packet: Packet) -> None:
        """Count from this packet of the flow on, which has been counted to the flow already."""
        had_bytes, had_packets = self._had(flow)
        if self.counted in ("both", "to_server" if flow.is_from_client(packet) else "to_client"):
            had_bytes, had_packets = had_bytes - packet.payload_length, had_packets - 1
        self.bytes_limit = None if self.bytes_limit is None else self.bytes_limit + had_bytes
        self.packets_limit = None if self.packets_limit is None else self.packets_limit + had_packets

    def _reached(self, flow: Flow) -> bool:
        """Whether what the flow had, this packet included, is more than may pass."""
        had_bytes, had_packets = self._had(flow)
        return (self.bytes_limit is not None and had_bytes > self.bytes_limit) or (
            self.packets_limit is not None and had_packets > self.packets_limit
        )

    def _had(self, flow: Flow) -> tuple[int, int]:
        """Bytes of payload and packets of the flow, of what counts."""
        if self.counted == "to_client":
            return flow.server_bytes, flow.to_client_packets
        if self.counted == "to_server":
            return flow.client_bytes, flow.packets - flow.to_client_packets
        return flow.client_bytes + flow.server_bytes, flow.packets


def resets(action: Reset, packet: Packet, *, from_client: bool, dropped: bool) -> tuple[bytes, ...]:
    """The RSTs that answer `packet`, exact for what each receiver expects next; none for an RST (RFC 9293, 3.5.2)."""
    if packet.protocol != packets.TCP or packet.flags & RST:
        return ()
    made: list[bytes] = []
    for _ in range(action.count):
        for offset in action.offsets:
            # `back` is towards the packet's sender.
            for back in (True, False):
                to_client = back == from_client
                if action.to == "both" or action.to == ("client" if to_client else "server"):
                    flags = RST | ACK if action.flags == "RST+ACK" or (action.flags == "auto" and back) else RST
                    made.append(
                        packets.reset(
                            packet, back=back, flags=flags, sequence_offset=offset, ttl=action.ttl, passed=not dropped
                        )
                    )
    return tuple(made)


def refusal(packet: Packet, data: bytes) -> tuple[bytes, ...]:
    """What tells a packet's sender that it was rejected: an RST for TCP, ICMP port unreachable for the rest."""
    if packet.protocol == packets.TCP:
        return () if packet.flags & RST else (packets.reset_back(packet),)
    if packet.protocol in (packets.ICMP, packets.ICMPV6):
        return ()
    error = packets.icmp_unreachable(data, Unreachable.PORT)
    return () if error is None else (error,)


def dropping(rule: CompiledRule, action: Drop, begins: float, drawn: float, *, collateral: bool) -> Dropping:
    """The effect of a drop; `drawn` in [0, 1) settles its spans."""
    return Dropping(
        rule,
        rule.rule.label(action),
        begins,
        direction=action.direction,
        packets_left=count_between(action.after_packets, drawn),
        least_payload_bytes=action.least_payload_bytes,
        seconds=None if action.seconds is None else between(action.seconds, drawn),
        refresh=action.refresh,
        collateral=collateral,
    )
