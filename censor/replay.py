"""Sans-IO: a capture judged offline: captured packets in; what becomes of each, and what would be on the wire, out.

It is the censor that also runs live, without a kernel: every packet comes to the core. What was captured goes on as it
was captured: nobody answers a forged packet, and nothing is sent again that was dropped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from censor import packets
from censor.conditions import ListHolder
from censor.core import Core
from censor.decision import PASS, Decision
from censor.flows import flow_key
from censor.fragments import FragmentPolicy, Fragments, FragmentSettings, Released, Ruling
from censor.packets import Packet
from censor.rules import RuleSet


class Sent(NamedTuple):
    """A packet on the wire behind the censor. t: on the capture's clock. length: bytes it had, of which `data` are
    the first (a capture may keep less)."""

    t: float
    data: bytes
    length: int


class _Captured(NamedTuple):
    number: int
    t: float
    data: bytes
    length: int
    packet: Packet | None


_DROPPED_FRAGMENT = Decision(accept=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one packet. number: from 1, in the order of the capture. t: when it was captured.

    flow, name: of its flow, told from the client's side; empty where it has none (no IP header, say).
    injected: what the censor sent because of it; for a datagram in fragments: with the one that made it whole.
    fragment: it was dropped for being a fragment, not by a rule.
    """

    number: int
    t: float
    decision: Decision
    flow: str
    name: str
    passed: Sent | None
    injected: tuple[Sent, ...]
    fragment: bool = False

    @property
    def verdict(self) -> str:
        """`accept`, `drop`, or `delayed`: it passed, but later than it came."""
        if self.passed is None:
            return "drop"
        return "delayed" if self.passed.t > self.t else "accept"

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `also`: the rules that acted on it, too, where there were several."""
        hits = self.decision.hits
        told: dict[str, Any] = {
            "number": self.number,
            "t": round(self.t, 6),
            "verdict": self.verdict,
            "rule": hits[0].rule if hits else None,
            "action": hits[0].action if hits else "fragments" if self.fragment else None,
            "flow": self.flow,
            "name": self.name,
            "injected": len(self.injected),
        }
        if self.passed is not None and self.passed.t > self.t:
            told["delay_seconds"] = round(self.passed.t - self.t, 6)
        if any(hit.collateral for hit in hits):
            told["collateral"] = True
        if len(hits) > 1:
            told["also"] = [{"rule": hit.rule, "action": hit.action} for hit in hits[1:]]
        return told


class Replay:
    """Judges a capture's packets one after the other, in bounded memory.

    lists: what the rules' conditions look up, by name. elapsed_seconds: how long the rules had been in force when the
    capture's first packet came (`from_seconds`, `until_seconds`). Raises ValueError: a condition does not compile.
    """

    def __init__(self, rules: RuleSet, lists: Mapping[str, ListHolder], *, elapsed_seconds: float = 0.0) -> None:
        self.core = Core()
        self.residual_blocks = 0
        """How often something was blocked beyond its flow."""
        self.suspects = 0
        """Servers that a prober would have been sent to (once for each flow that told of them)."""
        self.delayed = 0
        self.fragments_dropped = 0
        """By `[censor.fragments]`, not by a rule."""
        self._rules = rules
        self._lists = lists
        self._elapsed = elapsed_seconds
        self._moments = [moment for moment in rules.moments() if moment > elapsed_seconds]
        self._moments.reverse()  # the next one is taken off the end
        self._start: float | None = None
        self._now = 0.0
        self._number = 0
        self._held: dict[int, _Captured] = {}
        table = rules.censor.fragments
        self._fragments = Fragments(FragmentSettings(FragmentPolicy(table.policy), limit_fragments=table.limit))
        self._judge_by(elapsed_seconds)

    def _judge_by(self, elapsed_seconds: float) -> None:
        self.core.set_rules(self._rules.at(elapsed_seconds), self._lists)
        self.core.residuals.lifted()

    def take(self, t: float, data: bytes, length: int) -> list[Judged]:
        """Judge the next packet of the capture (from its IP header on).

        What comes of it may be about earlier packets (fragments that waited), or nothing yet (one that waits).
        """
        self._number += 1
        self._set_clock(t)
        packet = packets.parse(data)
        if packet is not None and packet.length < len(data):  # an Ethernet frame's padding
            data, length = data[: packet.length], packet.length
            packet = packets.parse(data)
        captured = _Captured(self._number, t, data, length, packet)
        if packet is None or not packet.fragmented:
            return [self._judged(captured, self.core.decide(data, None, self._now), t)]
        self._held[captured.number] = captured
        return self._follow(self._fragments.add(packet, captured.number, self._now), t)

    def finish(self) -> list[Judged]:
        """The capture is over: fragments that wait for others have waited in vain."""
        return [self._dropped(token) for token in self._fragments.expire(float("inf"))]

    def _set_clock(self, t: float) -> None:
        """Time goes on, also where captures that were merged go back."""
        if self._start is None:
            self._start = t
        self._now = max(self._now, t - self._start)
        elapsed = self._now + self._elapsed
        moved_on = False
        while self._moments and self._moments[-1] <= elapsed:
            self._moments.pop()
            moved_on = True
        if moved_on:
            self._judge_by(elapsed)

    # Verdicts

    def _judged(self, captured: _Captured, decision: Decision, t: float, passed: bytes | None = None) -> Judged:
        """The packet has been decided on at `t`; `passed`: what goes on in its place."""
        statistics = self.core.statistics
        statistics.count(decision)
        self.residual_blocks += len(decision.blocked)
        self.suspects += len(decision.suspects)
        sent = None
        if decision.accept:
            data, length = (captured.data, captured.length) if passed is None else (passed, len(passed))
            sent = Sent(t + decision.delay_seconds, data, length)
            self.delayed += sent.t > captured.t
        flow, name = self._flow(captured.packet)
        return Judged(captured.number, captured.t, decision, flow, name, sent, _injected(decision, t))

    def _flow(self, packet: Packet | None) -> tuple[str, str]:
        if packet is None:
            return "", ""
        flow = self.core.flows.get(flow_key(packet))
        if flow is None:
            return packets.flow_name(packet), ""
        return packets.flow_name(packet, reverse=not flow.is_from_client(packet)), flow.name

    # Fragments

    def _follow(self, ruling: Ruling, t: float) -> list[Judged]:
        judged = [self._dropped(token) for token in ruling.dropped]
        if ruling.whole is not None:
            return judged + self._whole(ruling.whole, ruling.released, t)
        for released in ruling.released:
            captured = self._held.pop(released.token)
            data = captured.data if released.replacement is None else released.replacement
            judged.append(self._judged(captured, self.core.decide(captured.data, None, self._now), t, data))
        return judged

    def _whole(self, whole: bytes, released: Iterable[Released], t: float) -> list[Judged]:
        """The judgement of the whole datagram goes for its fragments; what it made the censor send comes once."""
        decision = self.core.decide(whole, None, self._now)
        packet = packets.parse(whole)
        *others, last = [self._held.pop(one.token)._replace(packet=packet) for one in released]
        echo = Decision(accept=decision.accept, delay_seconds=decision.delay_seconds, hits=decision.hits)
        return [*(self._judged(one, echo, t) for one in others), self._judged(last, decision, t)]

    def _dropped(self, token: int) -> Judged:
        captured = self._held.pop(token)
        self.core.statistics.count(_DROPPED_FRAGMENT)
        self.fragments_dropped += 1
        flow, name = self._flow(captured.packet)
        return Judged(captured.number, captured.t, _DROPPED_FRAGMENT, flow, name, None, (), fragment=True)

    # In sum

    def as_dict(self) -> dict[str, Any]:
        """What has been judged so far, in numbers. For JSON."""
        statistics, core = self.core.statistics, self.core
        return {
            "packets": statistics.packets,
            "dropped": statistics.dropped,
            "fragments_dropped": self.fragments_dropped,
            "delayed": self.delayed,
            "injected": statistics.injected,
            "residual_blocks": self.residual_blocks,
            "suspects": self.suspects,
            "overloaded_flows": statistics.overloaded,
            "forgotten_flows": core.flows.evicted,
            "rules": [{"rule": rule.name} | asdict(statistics.rule(rule.name)) for rule in self._rules.rules],
        }


def _injected(decision: Decision, t: float) -> tuple[Sent, ...]:
    if decision is PASS:
        return ()
    made = [Sent(t, data, len(data)) for data in (*decision.before, *decision.after)]
    return (*made, *(Sent(t + delay, data, len(data)) for delay, data in decision.later))
