"""One packet queue and the core that judges what comes out of it: verdicts, forged packets and events follow."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from censor import packets
from censor.conditions import ListHolder
from censor.core import Core
from censor.decision import PASS, Blocked, Decision, Hit, Suspect
from censor.fragments import FragmentPolicy, Fragments, FragmentSettings, Ruling
from censor.kernel.marks import SAVE_AND_DROP, WATCH
from censor.packet_io.injection import Injector
from censor.packet_io.nfqueue import NfQueue, QueuedPacket, QueueSettings, Verdict
from censor.packets import Packet
from censor.rules import RuleSet
from sidedoor.events import Emit

# Packets that are read in one go, so that other callbacks of the loop are not starved; verdicts that wait for company.
_READ_LIMIT = 64
_FLUSH_AT = 8
_COPY_BYTES = 256  # headers beyond what is looked at of a stream
_COPY_MAX = 0xFFFF - 4
_DROPPED_FRAGMENT = Decision(accept=False)
_FAILURES_TOLD = 20
_EXPIRY_SECONDS = 0.1  # after the time, to be sure that it has come


class Line:
    """Reads a queue. Use between `open` and `close`; packets are handled by the running loop.

    on_blocked: a residual block has begun, or was renewed. on_suspect: a server may be a proxy.
    """

    def __init__(
        self,
        core: Core,
        emit: Emit,
        *,
        on_blocked: Callable[[Blocked], None],
        on_suspect: Callable[[Suspect], None],
    ) -> None:
        self.core = core
        self._emit = emit
        self._on_blocked = on_blocked
        self._on_suspect = on_suspect
        self._fragments: Fragments | None = None
        self._held: dict[int, QueuedPacket] = {}
        self._later: dict[int, asyncio.TimerHandle] = {}
        self._later_number = 0
        self._resources = ExitStack()
        self._missed_reported = 0
        self._failures = 0
        self.packets_queued = 0
        """Packets that came through Python."""

    def open(self, number: int, receive_buffer_bytes: int) -> None:
        """Bind the queue. Raises UsageError: no permission, the queue is in use."""
        with ExitStack() as stack:
            self._injector = Injector()
            stack.callback(self._injector.close)
            settings = QueueSettings(
                number, copy_range_bytes=self._copy_bytes(), receive_buffer_bytes=receive_buffer_bytes
            )
            self._queue = stack.enter_context(NfQueue(settings))
            self._resources = stack.pop_all()

    def start(self) -> None:
        """Handle packets from now on."""
        asyncio.get_running_loop().add_reader(self._queue.fileno(), self.on_readable)

    def stop(self) -> None:
        """Handle none any more by itself; `on_readable` still does."""
        asyncio.get_running_loop().remove_reader(self._queue.fileno())

    def drain(self) -> None:
        """Decide on all packets that wait."""
        while self.on_readable():
            pass

    def close(self) -> None:
        """Unbind. Packets that are held are dropped by the kernel."""
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
        self._resources.close()

    @property
    def receive_buffer_bytes(self) -> int:
        return self._queue.receive_buffer_bytes

    @property
    def missed(self) -> int:
        """Packets that the kernel could not hand over."""
        return self._queue.missed

    @property
    def statistics(self) -> dict[str, Any]:
        """Counts so far, for JSON: packets, per rule what matched, was dropped, was injected, was collateral."""
        core = self.core
        return core.statistics.as_dict() | {
            "packets_queued": self.packets_queued,
            "packets_missed": self.missed,
            "flows": len(core.flows),
            "flows_evicted": core.flows.evicted,
            "residual_blocks": len(core.residuals),
        }

    def set_rules(self, rules: RuleSet, lists: Mapping[str, ListHolder], changed: frozenset[str]) -> bool:
        """Judge by these from now on. True: the generation moved on. Raises ValueError (Core.set_rules)."""
        moved_on = self.core.set_rules(rules, lists, changed)
        table = rules.censor
        self._queue.configure(
            copy_range_bytes=self._copy_bytes(), gso=not table.single_segments, fail_open=rules.fail == "open"
        )
        settings = FragmentSettings(FragmentPolicy(table.fragments.policy), limit_fragments=table.fragments.limit)
        if settings.policy is FragmentPolicy.REASSEMBLE:  # as the kernel does before this host's rules see anything
            self._drop_held(tuple(self._held))
            self._fragments = None
        elif self._fragments is None or self._fragments.settings != settings:
            self._drop_held(tuple(self._held))
            self._fragments = Fragments(settings)
        return moved_on

    def _copy_bytes(self) -> int:
        """How much of each packet is needed: what is looked at of a stream, or fragments whole."""
        table = self.core.rules.censor
        if table.fragments.policy != "reassemble":
            return _COPY_MAX
        return min(table.tcp.limit_bytes + _COPY_BYTES, _COPY_MAX)

    # Packets

    def on_readable(self) -> int:
        """Decide on the packets that wait; how many these were. Events come last: packets must not wait for them."""
        queue, decide = self._queue, self.core.decide
        queued = queue.read(_READ_LIMIT)
        hits: list[tuple[float, Hit]] = []
        pending = passed = 0
        fragments, count = self._fragments, self.core.statistics.count
        for packet in queued:
            if fragments is not None and (parsed := packets.parse(packet.payload)) and parsed.fragmented:
                self._on_fragment(fragments, packet, parsed, hits)
                continue
            try:
                decision = decide(packet.payload, packet.mark, packet.t)
            except Exception as error:  # a mistake of this program's must not hold up the packets behind
                decision = self._failed(packet, error)
            if decision is PASS:
                queue.add_verdict(packet.id, Verdict.ACCEPT)
                passed += 1
            else:
                count(decision)
                self._execute(packet, decision, hits)
            pending += 1
            if pending == _FLUSH_AT:
                queue.flush()
                pending = 0
        queue.flush()
        self.packets_queued += len(queued)
        self.core.statistics.packets += passed
        for t, hit in hits:
            self._emit("censor_hit", t=t, **dataclasses.asdict(hit))
        if queue.missed > self._missed_reported:
            self._emit("packets_missed", count=queue.missed - self._missed_reported)
            self._missed_reported = queue.missed
        return len(queued)

    def _failed(self, packet: QueuedPacket, error: Exception) -> Decision:
        """The decision on a packet that the core broke on, which the first events of that kind carry."""
        self._failures += 1
        if self._failures <= _FAILURES_TOLD:
            self._emit("packet_failed", t=packet.t, error=repr(error), packet=packet.payload.hex())
        return PASS if self.core.rules.fail == "open" else Decision(accept=False)

    def _execute(self, packet: QueuedPacket, decision: Decision, hits: list[tuple[float, Hit]]) -> None:
        for forged in decision.before:
            self._injector.send(forged)
        for blocked in decision.blocked:  # before the packet is let pass: the answer to it is to be hit
            self._on_blocked(blocked)
        if decision.delay_seconds:
            self._call_later(decision.delay_seconds, self._give_verdict_now, packet, decision)
        else:
            self._give_verdict(packet, decision)
        if decision.after:
            self._queue.flush()  # the verdict comes first
            for forged in decision.after:
                self._injector.send(forged)
        for delay, forged in decision.later:
            self._call_later(delay, self._injector.send, forged)
        hits += [(packet.t, hit) for hit in decision.hits]
        for blocked in decision.blocked:
            self._emit("residual_started", t=packet.t, rule=blocked.rule, **_told(blocked))
        for suspect in decision.suspects:
            self._on_suspect(suspect)

    def _give_verdict(self, packet: QueuedPacket, decision: Decision) -> None:
        if decision.accept:
            mark = WATCH if decision.watch else decision.mark
            self._queue.add_verdict(packet.id, Verdict.ACCEPT, mark)
        elif decision.watch:
            # A verdict DROP saves no mark: the packet goes round once more, and a rule saves it and drops the packet.
            self._queue.add_verdict(packet.id, Verdict.REPEAT, SAVE_AND_DROP | WATCH)
        else:
            self._queue.add_verdict(packet.id, Verdict.DROP)

    def _give_verdict_now(self, packet: QueuedPacket, decision: Decision) -> None:
        self._give_verdict(packet, decision)
        self._queue.flush()

    def _call_later(self, delay: float, callback: Callable[..., None], *arguments: object) -> None:
        # By number, not by a closure over its own handle: that would be garbage that only a collection finds.
        self._later_number += 1
        number = self._later_number
        loop = asyncio.get_running_loop()
        self._later[number] = loop.call_later(delay, self._run_later, number, callback, arguments)

    def _run_later(self, number: int, callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        del self._later[number]
        callback(*arguments)

    # Fragments

    def _on_fragment(
        self, fragments: Fragments, queued: QueuedPacket, packet: Packet, hits: list[tuple[float, Hit]]
    ) -> None:
        self._held[queued.id] = queued
        self._rule(fragments.add(packet, queued.id, queued.t), hits, queued.t)
        if queued.id in self._held:
            self._call_later(fragments.settings.timeout_seconds + _EXPIRY_SECONDS, self._expire)

    def _expire(self) -> None:
        if self._fragments is not None:
            self._drop_held(self._fragments.expire(time.monotonic()))

    def _rule(self, ruling: Ruling, hits: list[tuple[float, Hit]], t: float) -> None:
        """Give the fragments' verdicts, each by its own judgement. (The kernel puts together what is judged whole.)"""
        self._drop_held(ruling.dropped)
        for released in ruling.released:
            queued = self._held.pop(released.token, None)
            if queued is None:
                continue
            decision = self.core.decide(queued.payload, queued.mark, t)
            self.core.statistics.count(decision)
            if released.replacement is not None and decision.accept:
                self._injector.send(released.replacement)
                decision = dataclasses.replace(decision, accept=False)
            self._execute(queued, decision, hits)

    def _drop_held(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            queued = self._held.pop(token, None)
            if queued is not None:
                self.core.statistics.count(_DROPPED_FRAGMENT)
                self._queue.add_verdict(queued.id, Verdict.DROP)
        self._queue.flush()


def _told(blocked: Blocked) -> dict[str, object]:
    """A residual block as its event tells it."""
    return {
        "key": blocked.kind,
        "client_address": packets.address(blocked.client_address) if blocked.client_address else "",
        "server_address": packets.address(blocked.server_address),
        "server_port": blocked.server_port,
        "client_port": blocked.client_port,
        "seconds": blocked.seconds,
    }
