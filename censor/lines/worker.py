"""A process of its own for one queue: `python -m censor.lines.worker DESCRIPTOR`, which a censor starts (workers.py).

What it is to do comes over the socket; it ends when it is told to, or when the censor is gone: the kernel then treats
its queue as a dead censor's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from censor.core import Core
from censor.decision import Blocked, Hit, Suspect
from censor.lines.channel import Channel
from censor.lines.line import Line
from censor.lines.messages import (
    Applied,
    BlockBegun,
    Commit,
    Convict,
    Count,
    Counts,
    End,
    Event,
    Logged,
    Ready,
    Refused,
    Report,
    Stage,
    Staged,
    Start,
    Suspected,
    Tell,
    Told,
    encode,
    order,
)
from censor.lists.binding import Lists
from censor.lists.block_list import BlockList
from censor.offload import AddressBlock, address_blocks
from censor.rules import RuleSet
from sidedoor.settings import UsageError

_UNSENT_LIMIT_BYTES = 1 << 20  # some 4,000 events


class Worker:
    """One line, driven by messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection, self._on_body, self._on_end, limit_bytes=_UNSENT_LIMIT_BYTES)
        self._ended = asyncio.Event()
        self._failed = False
        self._unsent = bytearray()
        self._lists = Lists()
        self._contents: Mapping[str, BlockList] = {}
        self._staged: tuple[RuleSet, Mapping[str, BlockList]] = RuleSet(), {}
        self._blocks: Mapping[str, AddressBlock] = {}
        self._line: Line | None = None

    async def run(self) -> int:
        """Until the end; the exit status."""
        self._channel.attach()
        await self._ended.wait()
        return int(self._failed)

    def _on_end(self) -> None:
        self._ended.set()

    def _on_body(self, body: bytes) -> None:
        try:
            self._follow(body)
        except Exception:  # the loop would go on with half of it done
            traceback.print_exc()
            self._failed = True
            self._ended.set()

    def _follow(self, body: bytes) -> None:
        message = order(body)
        if isinstance(message, Start):
            self._begin(message)
            return
        line = self._line
        assert line is not None, message
        match message:
            case Stage(rules, lists):
                self._stage(rules, lists)
                self._say(Staged())
            case Commit():
                self._commit(line)
                self._say(Applied(line.core.generation))
                gc.freeze()
            case Convict(address, port, t, seconds):
                line.core.convict(address, port, t, seconds)
            case Tell(logged):
                self._say(Told([self._hit(line.core, one) for one in logged]))
            case Count():
                self._say(Counts(line.statistics))
            case End():
                line.stop()
                line.drain()
                line.close()
                self._send()
                self._ended.set()

    def _begin(self, start: Start) -> None:
        core = Core(flow_limit=start.flow_limit, residual_limit=start.residual_limit)
        line = Line(core, self._emit, on_blocked=self._on_blocked, on_suspect=self._on_suspect)
        self._stage(start.rules, start.lists)
        try:
            line.open(start.queue, start.receive_buffer_bytes)
        except UsageError as error:
            self._say(Refused(str(error)))
            self._send()
            self._ended.set()
            return
        self._commit(line)
        core.generation = start.generation
        for one in start.convicted:
            core.convict(one.address, one.port, one.t, one.seconds)
        line.start()
        self._line = line
        self._say(Ready())
        gc.freeze()

    def _stage(self, rules: RuleSet, lists: Mapping[str, bytes | None]) -> None:
        # The pickles are what the censor, this very program, has written.
        contents = {
            name: self._contents[name] if pickled is None else pickle.loads(pickled) for name, pickled in lists.items()
        }
        self._staged = rules, contents

    def _commit(self, line: Line) -> None:
        rules, contents = self._staged
        self._lists.stage_contents(contents)
        line.set_rules(rules, self._lists.holders, self._lists.commit())
        self._staged = rules, self._lists.staged
        self._contents = self._lists.staged
        self._blocks = {block.rule.name: block for block in address_blocks(line.core.compiled)}

    def _hit(self, core: Core, logged: Logged) -> Hit | None:
        if not core.knows(logged.payload):
            return None
        if not logged.by_address:
            return core.residual_hit(logged.rule, logged.payload)
        block = self._blocks.get(logged.rule)
        return None if block is None else core.address_hit(block, logged.payload)

    # What the line says

    def _emit(self, event: str, /, **fields: Any) -> None:
        fields.setdefault("t", time.monotonic())
        self._say(Event(event, fields))

    def _on_blocked(self, blocked: Blocked) -> None:
        self._say(BlockBegun(blocked))
        self._send()  # before the packet's verdict, so that the kernel knows before the next one, if it can be

    def _on_suspect(self, suspect: Suspect) -> None:
        self._say(Suspected(suspect))

    def _say(self, report: Report) -> None:
        """All that is said in one turn of the loop goes out together."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent += encode(report)

    def _send(self) -> None:
        if self._unsent:
            self._channel.send(bytes(self._unsent))
            self._unsent.clear()


async def _run(descriptor: int) -> int:
    return await Worker(socket.socket(fileno=descriptor)).run()


def main(descriptor: str) -> int:
    """Until the censor says so or is gone: what ends a whole group of processes is the censor's to handle."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # as in `sidedoor censor run`
    return asyncio.run(_run(int(descriptor)))


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # taking lists and flows apart one by one would take a second
