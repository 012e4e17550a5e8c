"""The censor of this network namespace: wires queues and cores, the kernel's rules, the prober and the time line."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec

from censor.decision import Blocked, Suspect
from censor.kernel import kernel as kernel_module
from censor.kernel.dead_hand import DeadHand
from censor.kernel.kernel import Kernel
from censor.kernel.marks import GENERATION_MASK, INJECTED_MARK
from censor.kernel.queueing import HeadRules
from censor.kernel.residual_blocks import ResidualBlocks
from censor.lines.local import Callbacks, Lines, LineSettings, LocalLine, Logged
from censor.lines.workers import Workers
from censor.lists.binding import Lists
from censor.offload import address_blocks, plan
from censor.packet_io.netlink import KernelError
from censor.packet_io.nflog import NfLog
from censor.prober.prober import Prober
from censor.prober.schedule import Verdict
from censor.prober.settings import ProberSettings
from censor.rules import RuleSet
from sidedoor.events import Emit
from sidedoor.settings import SettingsError

_READ_LIMIT = 64
_QUEUES = 1 << 16


class CensorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What does not change while the censor runs. Raises ValueError for queues that do not exist."""

    queue: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 100
    """NFQUEUE number, free in this network namespace."""
    queues: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """So many, from `queue` on. Of more than one, each is read by a process of its own."""
    log_group: int = 100
    """NFLOG group, the same."""
    flow_limit: int = 65536
    """Flows that are remembered; some 1.5 KB each."""
    residual_limit: int = 65536
    """Residual blocks that are remembered."""
    receive_buffer_bytes: int = 32 << 20
    folder: str = "."
    """Where the relative names of list files begin."""

    def __post_init__(self) -> None:
        if self.queue + self.queues > _QUEUES:
            raise ValueError(
                f"{self.queues} queues from {self.queue} on: the last one there is has number {_QUEUES - 1}"
            )


class Censor:
    """Acts on the traffic that this host forwards. Use as an async context: inside, the censor stands and runs.

    Entering raises UsageError (no permission, a tool is missing, the queue is in use) or KernelError. Leaving removes
    everything from the kernel. Events: docs/events.md.
    """

    def __init__(self, settings: CensorSettings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._queues = tuple(range(settings.queue, settings.queue + settings.queues))
        # Not always the same, so that a predecessor's connmarks are most probably not taken for ours.
        generation = time.monotonic_ns() // 1_000_000 % GENERATION_MASK + 1
        line_settings = LineSettings(
            self._queues, generation, settings.flow_limit, settings.residual_limit, settings.receive_buffer_bytes
        )
        callbacks = Callbacks(emit, self._on_blocked, self._on_suspect)
        make: type[LocalLine | Workers] = LocalLine if settings.queues == 1 else Workers
        self._lines: Lines = make(line_settings, callbacks)
        self._tasks = asyncio.TaskGroup()
        self._lists = Lists()
        self._kernel = Kernel(settings.log_group)
        self._residuals = ResidualBlocks(self._kernel)
        self._dead_hand = DeadHand(kernel_module.removal_command())
        self._lock = asyncio.Lock()
        self._resources = ExitStack()
        self._prober: Prober | None = None
        self._prober_is: tuple[ProberSettings, int] | None = None
        self._prober_stack = AsyncExitStack()
        self._all_rules = RuleSet()
        self._time_line: asyncio.Task[None] | None = None
        self._missed_reported = 0

    @property
    def ipv6_missing(self) -> str:
        """Why names are censored on IPv4 only, on this host; empty: they are on IPv6, too."""
        return self._kernel.ipv6_missing

    @property
    def packets_queued(self) -> int:
        """Packets that came through Python; with several queues: when `statistics` was asked last."""
        return self._lines.packets_queued

    async def statistics(self) -> dict[str, Any]:
        """Counts so far, for JSON: packets, per rule what matched, was dropped, was injected, was collateral."""
        return await self._lines.statistics()

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._lines.core.rules

    async def __aenter__(self) -> Censor:
        kernel_module.check_tools()
        settings = self._settings
        with ExitStack() as stack:
            stack.callback(self._kernel.close)
            stack.callback(self._lines.close)
            await self._lines.open()
            self._log = stack.enter_context(NfLog(settings.log_group))
            with ExitStack() as rules:
                rules.callback(kernel_module.cleanup)
                self._kernel.install(self._head(self.rules))
                self._set_dead_hand(self.rules)
                rules.pop_all()
            self._resources = stack.pop_all()
        await self._tasks.__aenter__()
        self._lines.start(self._tasks)
        asyncio.get_running_loop().add_reader(self._log.fileno(), self._on_log)
        self._emit("censor_ready")
        return self

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await self._end()
        finally:
            try:
                await self._tasks.__aexit__(*exception)
            except BaseExceptionGroup as group:  # of one: a line's failure, or what has ended the context
                if group.exceptions[0] is not exception[1]:
                    raise group.exceptions[0] from None

    async def _end(self) -> None:
        try:
            await self._stop_time_line()
            await self._prober_stack.aclose()
        finally:
            self._lines.stop()
            asyncio.get_running_loop().remove_reader(self._log.fileno())
            with self._resources:
                # Blocking, so that no cancellation gets between. Packets that wait are answered before the table goes,
                # for the kernel drops those that are left then.
                try:
                    kernel_module.remove_chains()
                    self._lines.drain()
                    kernel_module.remove_table()
                    self._dead_hand.disarm()
                finally:
                    self._on_log()

    async def apply(self, rules: RuleSet) -> None:
        """Switch to `rules`; flows are remembered, rules that stay are not touched.

        Returns when all of them hold; `rule_lifted` and `rule_enforced` tell of those that changed. Rules with a time
        come and go by themselves from then on. Raises SettingsError (a list cannot be read), and
        nothing has changed; or KernelError, and what was refused does not hold until the next call.
        """
        await self._stop_time_line()
        async with self._lock:
            await self._lists.stage_aside(rules.lists, Path(self._settings.folder))
            await self._apply(rules.at(0.0))
            self._all_rules = rules
            await self._set_prober(rules)
        if rules.moments():
            self._time_line = asyncio.create_task(self._follow(rules, time.monotonic()), name="time line")

    async def clear(self) -> None:
        """Lift all rules. Raises KernelError."""
        await self.apply(msgspec.structs.replace(self._all_rules, rules=(), lists=()))

    async def _follow(self, rules: RuleSet, started: float) -> None:
        """Have rules come and go at their times."""
        for moment in rules.moments():
            await asyncio.sleep(started + moment - time.monotonic())
            async with self._lock:
                await self._apply(rules.at(moment))
            self._emit("stage_reached", seconds=moment * rules.censor.time_scale)

    async def _stop_time_line(self) -> None:
        task, self._time_line = self._time_line, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def _apply(self, rules: RuleSet) -> None:
        """Lists were staged. The order: what the kernel needs before it is asked, then the switch, then its share."""
        old = self.rules
        try:
            switch = await self._lines.set_rules(rules, self._lists)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        times = [switch.before, switch.after]
        compiled = self._lines.core.compiled
        times += await self._kernel.set_addresses(address_blocks(compiled))
        await self._residuals.set_rules(compiled)
        head = self._head(rules)
        if switch.moved_on or head != self._kernel.head:
            self._set_dead_hand(rules)
            await self._kernel.set_head(head)
        times.append(time.monotonic())
        # What a list of 300,000 names is made of need not be looked through for garbage ever again.
        gc.freeze()
        by_address = {block.rule.name for block in address_blocks(compiled)}
        for rule in old.rules:
            if rule not in rules.rules:
                self._report("rule_lifted", rule.name, times, by_address=bool(rule.addresses), retroactive=False)
        for rule in rules.rules:
            if rule not in old.rules:
                by_kernel = rule.name in by_address
                self._report("rule_enforced", rule.name, times, by_address=by_kernel, retroactive=rule.retroactive)

    def _report(self, event: str, rule: str, times: list[float], *, by_address: bool, retroactive: bool) -> None:
        """One event with the bracket of the step that did it: switch of the core, kernel sets, generation."""
        if by_address:
            before, after = times[2], times[3]
        elif retroactive:
            before, after = times[0], times[4]
        else:
            before, after = times[0], times[1]
        self._emit(event, t=after, rule=rule, before=before, after=after)

    def _head(self, rules: RuleSet) -> HeadRules:
        asked = plan(self._lines.core.compiled)
        table = rules.censor
        return HeadRules(
            queues=self._queues,
            generation=self._lines.core.generation,
            fail=table.fail,
            strict=table.strict,
            tcp_ports=asked.tcp_ports,
            udp_ports=asked.udp_ports,
            syn=asked.syn,
            bare_segments=asked.bare_segments,
            server=asked.server,
            invalid=True,
            fragments=table.fragments.policy != "reassemble",
            other_protocols=asked.other,
        )

    def _set_dead_hand(self, rules: RuleSet) -> None:
        if rules.fail == "open":
            self._dead_hand.arm()
        else:
            self._dead_hand.disarm()

    # The prober

    async def _set_prober(self, rules: RuleSet) -> None:
        """Have one prober if any rule probes, now or later. With other settings it is another, without memories."""
        wanted = (rules.prober, rules.censor.seed) if rules.probe else None
        if wanted == self._prober_is:
            return
        self._prober = self._prober_is = None
        await self._prober_stack.aclose()
        if wanted is not None:
            settings, seed = wanted
            prober = Prober(settings, self._emit, on_verdict=self._on_verdict, seed=seed, mark=INJECTED_MARK)
            self._prober = await self._prober_stack.enter_async_context(prober)
            self._prober_is = wanted

    def _on_suspect(self, suspect: Suspect) -> None:
        if self._prober is not None:
            self._prober.suspect((suspect.address, suspect.port), suspect.first_payload, suspect.reason)

    def _on_verdict(self, verdict: Verdict) -> None:
        if verdict.convicted:
            blocked = self._lines.convict(*verdict.server, time.monotonic(), verdict.seconds)
            if blocked is not None:
                self._on_blocked(blocked)

    def _on_blocked(self, blocked: Blocked) -> None:
        try:
            self._residuals.block(blocked)
        except KernelError as error:  # what comes to the core is blocked all the same
            self._emit("residual_refused", rule=blocked.rule, reason=str(error))

    # What the kernel did by itself

    def _on_log(self) -> None:
        logged = []
        for packet in self._log.read(_READ_LIMIT):
            if block := self._kernel.block_of(packet.prefix):
                logged.append(Logged(block.rule.name, block, packet.payload, packet.t))
            elif name := self._residuals.rule_of(packet.prefix):
                logged.append(Logged(name, None, packet.payload, packet.t))
        if logged:
            self._lines.tell(logged)
        if self._log.missed > self._missed_reported:
            self._emit("packets_missed", count=self._log.missed - self._missed_reported)
            self._missed_reported = self._log.missed
