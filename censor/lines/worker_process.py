"""One worker (worker.py) as the censor has it: its process, and the socket to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from censor.lines.channel import Channel
from censor.lines.messages import BlockBegun, Event, Report, Suspected, report

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
        with theirs, ExitStack() as stack:
            stack.enter_context(ours)
            self.process = subprocess.Popen(
                (sys.executable, "-m", "censor.lines.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the censor's is for its events
                start_new_session=True,  # what a terminal sends is for the censor
                env=os.environ | _ENVIRONMENT,
            )
            stack.pop_all()
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
        """Have it ended; blocks until it is. What it was asked has no answer any more."""
        self.channel.close()
        self._on_end()
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
