"""Several queues, each read by a process of its own (worker.py), as one of what a censor's lines may be (lines.py).

The kernel has all packets between two addresses in one queue, so that flows and residual blocks are one worker's. This
process has the rules as well, but no flows: a new worker begins with them. A worker that dies is replaced; what it knew
of its flows is lost.
"""

from __future__ import annotations

import asyncio
import math
import pickle
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from censor.core import Core
from censor.decision import Blocked
from censor.lines.local import Callbacks, LineSettings, Logged, Switch
from censor.lines.messages import (
    Applied,
    BlockBegun,
    Commit,
    Convict,
    Count,
    Counts,
    End,
    Event,
    Order,
    Ready,
    Refused,
    Report,
    Stage,
    Start,
    Suspected,
    Tell,
    Told,
    encode,
)
from censor.lines.messages import Logged as LoggedMessage
from censor.lines.worker_process import Answer, WorkerProcess
from censor.lists.binding import Lists
from censor.lists.block_list import BlockList
from censor.packet_io.netlink import KernelError
from censor.rules import RuleSet
from censor.statistics import summed
from sidedoor.settings import UsageError

AGAIN_SECONDS = 10.0
"""A worker that dies again within so long is not replaced any more: it would die of the same."""
_ANSWER_SECONDS = 30.0  # reading 300,000 names takes 0.3 s
_END_SECONDS = 5.0


class Workers:
    """Lines in processes of their own. Events: `worker_died`, `worker_replaced`.

    A death soon after another ends it (KernelError out of a task).
    """

    def __init__(self, settings: LineSettings, callbacks: Callbacks) -> None:
        self._settings = settings
        self._callbacks = callbacks
        self.core = Core(
            generation=settings.generation, flow_limit=settings.flow_limit, residual_limit=settings.residual_limit
        )
        self.packets_queued = 0
        self._workers: list[WorkerProcess] = []
        self._contents: Mapping[str, BlockList] = {}
        self._changing = asyncio.Lock()  # none is replaced while rules change, so that all get the same ones
        self._keepers: list[asyncio.Task[None]] = []
        self._ending = False

    # Beginning and end

    async def open(self) -> None:
        self._workers = [self._launch() for _ in self._settings.queues]
        start = [worker.ask(self._start(place)) for place, worker in enumerate(self._workers)]
        await asyncio.wait(start, timeout=_ANSWER_SECONDS)
        for place, answer in enumerate(start):
            self._check_begun(place, answer)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        for place, queue in enumerate(self._settings.queues):
            self._keepers.append(tasks.create_task(self._keep(place), name=f"worker of NFQUEUE {queue}"))

    def stop(self) -> None:
        self._ending = True
        for keeper in self._keepers:
            keeper.cancel()
        for worker in self._workers:
            worker.channel.detach()

    def drain(self) -> None:
        for worker in self._workers:
            worker.send(encode(End()))
        deadline = time.monotonic() + _END_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            open_ = [worker.channel for worker in self._workers if not worker.channel.ended]
            if not open_:
                break
            readable, writable, _ = select.select(open_, [one for one in open_ if one.waiting], [], left)
            for channel in writable:
                channel.write()
            for channel in readable:
                channel.read()

    def close(self) -> None:
        for worker in self._workers:
            worker.channel.close()  # all first, so that they end at the same time
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _launch(self) -> WorkerProcess:
        return WorkerProcess(self._on_report)

    def _start(self, place: int) -> bytes:
        """What the worker of that place begins with: the rules in force."""
        settings, now = self._settings, time.monotonic()
        convicted = [
            Convict(entry.key[2], entry.key[3], entry.begins, entry.seconds)
            for entry in self.core.residuals.entries()
            if entry.until > now
        ]
        return encode(
            Start(
                settings.queues[place],
                settings.receive_buffer_bytes,
                self._share(settings.flow_limit),
                self._share(settings.residual_limit),
                self.core.generation,
                self._shared(self.core.rules),
                {name: pickle.dumps(content, pickle.HIGHEST_PROTOCOL) for name, content in self._contents.items()},
                convicted,
            )
        )

    def _check_begun(self, place: int, answer: Answer) -> None:
        """Raises UsageError (refused) or KernelError (no answer)."""
        what = f"the worker of NFQUEUE {self._settings.queues[place]}"
        if not answer.done():
            raise KernelError(f"{what} has not begun within {_ANSWER_SECONDS:.0f} s")
        said = answer.result()
        if said is None:
            raise KernelError(f"{what} ended when it was to begin")
        if isinstance(said, Refused):
            raise UsageError(said.reason)
        assert isinstance(said, Ready), said

    # Deaths

    async def _keep(self, place: int) -> None:
        """Replace the worker of that place whenever it dies. Raises KernelError: it dies again and again."""
        died = -math.inf
        while True:
            worker = self._workers[place]
            await worker.gone.wait()
            status = await asyncio.to_thread(worker.process.wait)  # until then the queue is taken
            worker.channel.close()
            self._callbacks.emit("worker_died", worker=place + 1, status=status)
            now = time.monotonic()
            if now - died < AGAIN_SECONDS:
                self._ending = True
                queue = self._settings.queues[place]
                raise KernelError(
                    f"worker {place + 1} (NFQUEUE {queue}) died twice within {AGAIN_SECONDS:.0f} s, the last time with"
                    f" status {status}; the censor ends"
                )
            died = now
            async with self._changing:
                worker = self._workers[place] = self._launch()
                answer = worker.ask(self._start(place))
                await asyncio.wait([answer], timeout=_ANSWER_SECONDS)
            if not answer.done() or answer.result() is not None:  # else it has died, and that is the second time
                self._check_begun(place, answer)
                self._callbacks.emit("worker_replaced", worker=place + 1)

    # Rules

    async def set_rules(self, rules: RuleSet, lists: Lists) -> Switch:
        async with self._changing:
            staged = {name: self._pickled(name, content) for name, content in lists.staged.items()}
            await self._ask(Stage(self._shared(rules), staged))
            moved_on = self.core.set_rules(rules, lists.holders, lists.commit())
            self._contents = lists.staged
            before = time.monotonic()
            answers = await self._ask(Commit())
            after = time.monotonic()
        for answer in answers:
            assert isinstance(answer, Applied), answer
            # All of them have gone the same way, so that a flow that one has decided is another's, too.
            assert answer.generation == self.core.generation, (answer, self.core.generation)
        return Switch(moved_on, before, after)

    def _pickled(self, name: str, content: BlockList) -> bytes | None:
        """None: the workers have it."""
        old = self._contents.get(name)
        if old is content or old == content:
            return None
        return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)

    def _shared(self, rules: RuleSet) -> RuleSet:
        """The rules with each worker's part of what is for all of them."""
        overload = rules.censor.overload
        if not overload.packets_per_second:
            return rules
        packets_per_second = overload.packets_per_second / len(self._settings.queues)
        overload = msgspec.structs.replace(overload, packets_per_second=packets_per_second)
        return msgspec.structs.replace(rules, censor=msgspec.structs.replace(rules.censor, overload=overload))

    def _share(self, limit: int) -> int:
        return -(-limit // len(self._settings.queues))

    async def _ask(self, order: Order) -> Sequence[Report]:
        """The answers of all that live. Who does not answer is killed."""
        data = encode(order)
        answers = [worker.ask(data) for worker in self._workers]
        _, late = await asyncio.wait(answers, timeout=_ANSWER_SECONDS)
        for worker, answer in zip(self._workers, answers, strict=True):
            if answer in late:
                worker.process.kill()
        if late:
            await asyncio.wait(late)
        return [said for answer in answers if (said := answer.result()) is not None]

    # What comes of it

    def convict(self, address: bytes, port: int, t: float, seconds: float) -> Blocked | None:
        order = encode(Convict(address, port, t, seconds))
        for worker in self._workers:
            worker.send(order)
        return self.core.convict(address, port, t, seconds)

    def tell(self, logged: Sequence[Logged]) -> None:
        if self._ending:
            self._tell_of(logged, [])
        else:
            self._tasks.create_task(self._tell(logged), name="packets that the kernel logged")

    async def _tell(self, logged: Sequence[Logged]) -> None:
        order = Tell([LoggedMessage(one.rule, one.block is not None, one.payload) for one in logged])
        answers: Sequence[Report] = []
        try:
            answers = await self._ask(order)
        finally:  # being cancelled is no reason to be silent about them
            self._tell_of(logged, answers)

    def _tell_of(self, logged: Sequence[Logged], answers: Sequence[Report]) -> None:
        """As the worker tells that has the flow; where none has it, by the packet alone."""
        told = [said.hits for said in answers if isinstance(said, Told)]
        for position, one in enumerate(logged):
            known = (hits[position] for hits in told if hits[position] is not None)
            self._callbacks.hit(next(known, None) or one.hit(self.core), one.t)

    async def statistics(self) -> dict[str, Any]:
        """The sums of those that live; a server that was convicted counts as a residual block of each."""
        answers = await self._ask(Count())
        counts = summed(answer.counts for answer in answers if isinstance(answer, Counts))
        self.packets_queued = counts.get("packets_queued", 0)
        return counts

    def _on_report(self, said: Report) -> None:
        match said:
            case Event(event, fields):
                self._callbacks.emit(event, **fields)
            case BlockBegun(blocked):
                self._callbacks.blocked(blocked)
            case Suspected(suspect):
                self._callbacks.suspect(suspect)
