"""One censor on the router, started as a user does, and what the kernel and its events tell of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lab.benchmarks.censor.network import on
from lab.benchmarks.censor.subjects import RULES, Subject
from lab.benchmarks.processes import BenchError, cpu_seconds, last_line, memory, running, tree

START_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_QUIET_SECONDS = 0.2
"""All rules hold when the censor has reported none for so long."""


class Instance:
    """A running censor. Its figures are those of the process and its children."""

    def __init__(self, process: subprocess.Popen[bytes], events: Path) -> None:
        self._process, self._events = process, events

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds([self._process.pid])

    @property
    def pss_bytes(self) -> int | None:
        return memory([self._process.pid]).pss_bytes

    @property
    def packets_queued(self) -> int:
        """Packets that the kernel has given to it so far."""
        path = Path(f"/proc/{self._process.pid}/net/netfilter/nfnetlink_queue")
        try:
            return packets_queued(path.read_text())
        except OSError:
            return 0

    @property
    def packets_missed(self) -> int:
        """Packets that passed unseen, or were dropped, as its queue was full."""
        return packets_missed(self._events.read_bytes())

    def pin(self, cpus: set[int]) -> None:
        """Have it run on these CPUs only. Raises OSError."""
        for member in tree(self._process.pid):
            os.sched_setaffinity(member, cpus)

    def check(self) -> None:
        """Raises BenchError if it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"the censor ended: exit status {self._process.returncode}")


@contextlib.contextmanager
def started(subject: Subject, folder: Path) -> Iterator[Instance]:
    """The subject's censor, its rules in force. Raises BenchError."""
    rules, events, log = folder / "rules.toml", folder / "events.jsonl", folder / "log"
    rules.write_text(subject.rules)
    events.write_bytes(b"")
    arguments = [str(rules) if argument == RULES else argument for argument in subject.arguments]
    command = [sys.executable, "-m", "sidedoor", "censor", "run", *arguments]
    command += ["--events", str(events)]
    with log.open("wb") as stderr, running(on("router", command), stderr=stderr.fileno()) as process:
        _wait(process, events, log)
        yield Instance(process, events)


def _wait(process: subprocess.Popen[bytes], events: Path, log: Path) -> None:
    deadline, seen, seen_at = time.monotonic() + START_SECONDS, 0, 0.0
    while (now := time.monotonic()) < deadline:
        if process.poll() is not None:
            raise BenchError(f"the censor did not start: {last_line(log.read_bytes())}")
        if (size := events.stat().st_size) != seen:
            seen, seen_at = size, now
        elif seen and now - seen_at >= _QUIET_SECONDS and b'"censor_ready"' in events.read_bytes():
            return
        time.sleep(_LOOK_SECONDS)
    raise BenchError(f"the censor's rules were not in force after {START_SECONDS:.0f} s")


def packets_queued(table: str) -> int:
    """Packets of all queues, from the text of /proc/net/netfilter/nfnetlink_queue: its next to last column."""
    return sum(int(line.split()[-2]) for line in table.splitlines())


def packets_missed(events: bytes) -> int:
    """The sum over the `packets_missed` events; a line that is being written does not count yet."""
    lines = (json.loads(line) for line in events.split(b"\n")[:-1] if b'"packets_missed"' in line)
    return sum(event["count"] for event in lines)
