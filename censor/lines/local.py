"""What a censor has of its queues: one line in this process, or several in processes of their own (workers.py)."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from censor.core import Core
from censor.decision import Blocked, Hit, Suspect
from censor.lines.line import Line
from censor.lists.binding import Lists
from censor.offload import AddressBlock
from censor.rules import RuleSet
from sidedoor.events import Emit


@dataclass(frozen=True, slots=True)
class Switch:
    """Rules were switched, between these moments (monotonic seconds). moved_on: the generation is another one."""

    moved_on: bool
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Logged:
    """A packet that the kernel stopped for the rule at `t`, by a block of addresses; None: by a residual block."""

    rule: str
    block: AddressBlock | None
    payload: bytes
    t: float

    def hit(self, core: Core) -> Hit | None:
        """The hit that tells of it, by what the core knows of its flow; None: unreadable."""
        if self.block is None:
            return core.residual_hit(self.rule, self.payload)
        return core.address_hit(self.block, self.payload)


@dataclass(frozen=True, slots=True)
class LineSettings:
    """queues: their numbers. The limits hold for all of them together."""

    queues: tuple[int, ...]
    generation: int
    flow_limit: int
    residual_limit: int
    receive_buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Callbacks:
    """blocked: a residual block has begun, or was renewed. suspect: a server may be a proxy."""

    emit: Emit
    blocked: Callable[[Blocked], None]
    suspect: Callable[[Suspect], None]

    def hit(self, hit: Hit | None, t: float) -> None:
        """Emit a hit, if there is one."""
        if hit is not None:
            self.emit("censor_hit", t=t, **dataclasses.asdict(hit))


class Lines(Protocol):
    """The order of calls: open, start, any of the others, stop, drain, close. After a failure: close."""

    core: Core
    """Has the rules in force and their generation."""

    @property
    def packets_queued(self) -> int:
        """Packets that came through Python; of workers, when `statistics` was asked last."""

    async def open(self) -> None:
        """Bind the queues. Raises UsageError (no permission, a queue is in use) or KernelError."""

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Handle packets from now on. A task that fails (KernelError) says that this cannot go on."""

    def stop(self) -> None:
        """Nothing but `drain` is to come."""

    def drain(self) -> None:
        """Decide on the packets that wait. Blocks."""

    def close(self) -> None:
        """Unbind the queues."""

    async def set_rules(self, rules: RuleSet, lists: Lists) -> Switch:
        """Judge by `rules` and what is staged in `lists`, which is committed. Raises ValueError (Core.set_rules)."""

    def convict(self, address: bytes, port: int, t: float, seconds: float) -> Blocked | None:
        """Core.convict."""

    def tell(self, logged: Sequence[Logged]) -> None:
        """Emit the hits that these packets are."""

    async def statistics(self) -> dict[str, Any]:
        """Counts so far, for JSON."""


class LocalLine:
    """One queue, read by this process."""

    def __init__(self, settings: LineSettings, callbacks: Callbacks) -> None:
        (self._queue,) = settings.queues
        self._callbacks = callbacks
        self._receive_buffer_bytes = settings.receive_buffer_bytes
        self.core = Core(
            generation=settings.generation, flow_limit=settings.flow_limit, residual_limit=settings.residual_limit
        )
        self._line = Line(self.core, callbacks.emit, on_blocked=callbacks.blocked, on_suspect=callbacks.suspect)

    @property
    def packets_queued(self) -> int:
        return self._line.packets_queued

    async def open(self) -> None:
        self._line.open(self._queue, self._receive_buffer_bytes)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._line.start()

    def stop(self) -> None:
        self._line.stop()

    def drain(self) -> None:
        self._line.drain()

    def close(self) -> None:
        self._line.close()

    async def set_rules(self, rules: RuleSet, lists: Lists) -> Switch:
        before = time.monotonic()
        moved_on = self._line.set_rules(rules, lists.holders, lists.commit())
        return Switch(moved_on, before, time.monotonic())

    def convict(self, address: bytes, port: int, t: float, seconds: float) -> Blocked | None:
        return self.core.convict(address, port, t, seconds)

    def tell(self, logged: Sequence[Logged]) -> None:
        for one in logged:
            self._callbacks.hit(one.hit(self.core), one.t)

    async def statistics(self) -> dict[str, Any]:
        return self._line.statistics
