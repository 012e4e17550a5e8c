"""The censor of this network namespace: wires the packet sources, the core, the injector and the kernel's rules."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict

import msgspec

from censor import kernel as kernel_module
from censor.core import Core, Decision, Hit
from censor.dead_hand import DeadHand
from censor.injection import Injector
from censor.kernel import Kernel
from censor.kernel_rules import HeadRules
from censor.marks import GENERATION_MASK
from censor.packet_io.nflog import NfLog
from censor.packet_io.nfqueue import NfQueue, QueuedPacket, QueueSettings, Verdict
from censor.rules import Fail, Port, Rule, RuleSet
from sidedoor.events import Emit

# Packets handled in one go, so that other callbacks of the loop are not starved.
_READ_LIMIT = 64


class CensorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What does not change while the censor runs."""

    queue: int = 100
    """NFQUEUE number, free in this network namespace."""
    log_group: int = 100
    """NFLOG group, the same."""
    tls_ports: tuple[Port, ...] = (443,)
    dns_ports: tuple[Port, ...] = (53,)
    flow_limit: int = 65536
    """Flows that are remembered; some 300 bytes each."""
    hello_limit_bytes: int = 16384
    """A flow without a complete ClientHello in its first so many bytes passes."""
    receive_buffer_bytes: int = 32 << 20


class Censor:
    """Acts on the traffic that this host forwards. Use as an async context: inside, the censor stands and runs.

    Entering raises UsageError (no permission, a tool is missing, the queue is in use) or KernelError. Leaving removes
    everything from the kernel. Events: docs/events.md.
    """

    def __init__(self, settings: CensorSettings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        # Not always the same, so that a predecessor's connmarks are most probably not taken for ours.
        self._core = Core(
            generation=time.monotonic_ns() // 1_000_000 % GENERATION_MASK + 1,
            flow_limit=settings.flow_limit,
            hello_limit_bytes=settings.hello_limit_bytes,
            tls_ports=settings.tls_ports,
            dns_ports=settings.dns_ports,
        )
        self._kernel = Kernel(settings.log_group)
        self._dead_hand = DeadHand(kernel_module.removal_command())
        self._lock = asyncio.Lock()
        self._resources = ExitStack()
        self._missed_reported = 0
        self.packets_queued = 0
        """Packets that came through Python."""

    @property
    def ipv6_missing(self) -> str:
        """Why names are censored on IPv4 only, on this host; empty: they are on IPv6, too."""
        return self._kernel.ipv6_missing

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._core.rules

    async def __aenter__(self) -> Censor:
        kernel_module.check_tools()
        settings = self._settings
        with ExitStack() as stack:
            self._injector = Injector()
            stack.callback(self._injector.close)
            stack.callback(self._kernel.close)
            queue = QueueSettings(
                settings.queue,
                copy_range_bytes=settings.hello_limit_bytes + 256,
                receive_buffer_bytes=settings.receive_buffer_bytes,
            )
            self._queue = stack.enter_context(NfQueue(queue))
            self._log = stack.enter_context(NfLog(settings.log_group))
            with ExitStack() as rules:
                rules.callback(kernel_module.cleanup)
                self._kernel.install(self._head(self.rules.fail))
                self._set_dead_hand(self.rules.fail)
                rules.pop_all()
            self._resources = stack.pop_all()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._queue.fileno(), self._on_queue)
        loop.add_reader(self._log.fileno(), self._on_log)
        self._emit("censor_ready")
        return self

    async def __aexit__(self, *_exception: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._queue.fileno())
        loop.remove_reader(self._log.fileno())
        with self._resources:
            # Blocking, so that no cancellation gets between. Packets that wait are answered before the table goes, for
            # the kernel drops those that are left then.
            try:
                kernel_module.remove_chains()
                while self._on_queue():
                    pass
                kernel_module.remove_table()
                self._dead_hand.disarm()
            finally:
                self._on_log()

    async def apply(self, rules: RuleSet) -> None:
        """Switch to `rules`; flows are remembered, rules that stay are not touched. Raises KernelError.

        Returns when all of them hold; `rule_lifted` and `rule_enforced` tell of those that changed.
        """
        async with self._lock:
            await self._apply(rules)

    async def clear(self) -> None:
        """Lift all rules. Raises KernelError."""
        await self.apply(RuleSet(censor=self.rules.censor))

    async def _apply(self, rules: RuleSet) -> None:
        old = self.rules
        times = [*await self._kernel.set_addresses(tuple(rule for rule in rules.rules if rule.addresses))]
        moved_on = self._core.set_rules(rules)
        times.append(time.monotonic())
        if moved_on or rules.fail != old.fail:
            self._queue.set_fail_open(rules.fail == "open")
            self._set_dead_hand(rules.fail)
            await self._kernel.set_head(self._head(rules.fail))
        times.append(time.monotonic())
        for rule in old.rules:
            if rule not in rules.rules:
                self._report("rule_lifted", rule, times)
        for rule in rules.rules:
            if rule not in old.rules:
                self._report("rule_enforced", rule, times)

    def _report(self, event: str, rule: Rule, times: list[float]) -> None:
        """One event with the bracket of the step that did it: kernel sets, switch of the core, generation."""
        if rule.addresses:
            before, after = times[0], times[1]
        elif rule.kills and event == "rule_enforced":
            before, after = times[1], times[3]
        else:
            before, after = times[1], times[2]
        self._emit(event, t=after, rule=rule.name, before=before, after=after)

    def _head(self, fail: Fail) -> HeadRules:
        settings = self._settings
        return HeadRules(
            queues=(settings.queue,),
            generation=self._core.generation,
            fail=fail,
            tcp_ports=settings.tls_ports,
            udp_ports=settings.dns_ports,
        )

    def _set_dead_hand(self, fail: Fail) -> None:
        if fail == "open":
            self._dead_hand.arm()
        else:
            self._dead_hand.disarm()

    # Packets

    def _on_queue(self) -> int:
        """Decide on the packets that wait; how many these were. Events come last: packets must not wait for them."""
        queued = self._queue.read(_READ_LIMIT)
        hits: list[tuple[float, Hit]] = []
        for packet in queued:
            decision = self._core.decide(packet.payload, packet.mark)
            self._execute(packet, decision)
            hits += [(packet.t, hit) for hit in decision.hits]
        self.packets_queued += len(queued)
        for t, hit in hits:
            self._emit("censor_hit", t=t, **asdict(hit))
        self._report_missed()
        return len(queued)

    def _execute(self, packet: QueuedPacket, decision: Decision) -> None:
        for forged in decision.before:
            self._injector.send(forged)
        self._queue.verdict(packet.id, Verdict.ACCEPT if decision.accept else Verdict.DROP, decision.mark)
        for forged in decision.after:
            self._injector.send(forged)

    def _on_log(self) -> None:
        for packet in self._log.read(_READ_LIMIT):
            rule = self._kernel.rule_of(packet.prefix)
            hit = self._core.address_hit(rule, packet.payload) if rule else None
            if hit:
                self._emit("censor_hit", t=packet.t, **asdict(hit))
        self._report_missed()

    def _report_missed(self) -> None:
        missed = self._queue.missed + self._log.missed
        if missed > self._missed_reported:
            self._emit("packets_missed", count=missed - self._missed_reported)
            self._missed_reported = missed
