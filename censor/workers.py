"""Several queues, each read by a process of its own (worker.py), as one of what a censor's lines may be (lines.py).

The kernel has all packets between two addresses in one queue, so that flows and residual blocks are one worker's. This
process has the rules as well, but no flows: it tells of packets that the kernel logged, and what a new worker begins
with. A worker that dies is replaced, without what it knew of its flows.
"""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from censor.core import Core
from censor.decision import Blocked
from censor.lines import Callbacks, LineSettings, Switch
from censor.lists.binding import Lists
from censor.lists.block_list import BlockList
from censor.packet_io.netlink import KernelError
from censor.rules import RuleSet
from censor.statistics import summed
from censor.worker_channel import Channel
from censor.worker_messages import (
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
    encode,
    report,
)
from sidedoor.settings import UsageError

AGAIN_SECONDS = 10.0
"""A worker that dies again within so long is not replaced any more: it would die of the same."""
_ANSWER_SECONDS = 30.0  # reading 300,000 names takes 0.3 s
_END_SECONDS = 5.0


# glibc: large blocks, a list's table of names say, go back to the system when they are freed. By default the heap keeps
# them once one has been freed: 40 MB more for a registry that is exchanged daily (mallopt(3)).
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}


Answer = asyncio.Future[Report | None]
"""None: the worker has died."""


class WorkerProcess:
    """One worker as the censor has it. `on_report` gets what it says unasked."""

    def __init__(self, on_report: Callable[[Report], None]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "censor.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the censor's is for its events
                start_new_session=True,  # what a terminal sends is for the censor
                env=os.environ | _ENVIRONMENT,
            )
        self._on_report = on_report
        self._answers: deque[Answer] = deque()
        self.gone = asyncio.Event()
        self.channel = Channel(ours, self._on_body, self._on_end)
        self.channel.attach()

    def send(self, order: bytes) -> None:
        """Tell it something that has no answer."""
        self.channel.send(order)

    def ask(self, order: bytes) -> Answer:
        """Tell it something and have its answer."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self.channel.ended:
            answer.set_result(None)
        else:
            self._answers.append(answer)
            self.channel.send(order)
        return answer

    def end(self) -> None:
        """Have it ended; blocks until it is."""
        self.channel.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _on_body(self, body: bytes) -> None:
        said = report(body)
        if isinstance(said, Event | BlockBegun | Suspected):
            try:
                self._on_report(said)
            except Exception as error:  # as for any callback; the answers that follow must not be lost
                asyncio.get_running_loop().call_exception_handler({"message": "report of a worker", "exception": error})
        else:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_result(said)

    def _on_end(self) -> None:
        self.gone.set()
        for answer in self._answers:
            if not answer.done():
                answer.set_result(None)
        self._answers.clear()


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

    # Beginning and end

    async def open(self) -> None:
        self._workers = [self._launch() for _ in self._settings.queues]
        start = [worker.ask(self._start(place)) for place, worker in enumerate(self._workers)]
        await asyncio.wait(start, timeout=_ANSWER_SECONDS)
        for place, answer in enumerate(start):
            self._check_begun(place, answer)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for place, queue in enumerate(self._settings.queues):
            self._keepers.append(tasks.create_task(self._keep(place), name=f"worker of NFQUEUE {queue}"))

    def stop(self) -> None:
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
