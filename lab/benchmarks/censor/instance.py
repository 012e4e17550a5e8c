"""One censor on the router, started as a user does, and what the kernel and its events tell of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from censor.rules_file import parse_rules
from lab.benchmarks.censor.network import on
from lab.benchmarks.censor.subjects import DUMP, RULES, Subject
from lab.benchmarks.processes import BenchError, cpu_seconds, last_line, memory, running, tree

START_SECONDS = 60.0
_EVENTS, _LOG, _DUMP = "events.jsonl", "log", "dump.csv"
_RELOADED = b"rules read again"
"""What it logs then."""
_LOOK_SECONDS = 0.02


class Instance:
    """A running censor. Its figures are those of the process and its children. `folder`: with its files."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, dumps: Sequence[Path] = ()) -> None:
        self._process, self._folder, self._dumps = process, folder, dumps

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds([self._process.pid])

    @property
    def pss_bytes(self) -> int | None:
        return memory([self._process.pid]).pss_bytes

    @property
    def packets_queued(self) -> int:
        """Packets that the kernel has given to it so far."""
        try:
            return packets_queued(self.queue_table.read_text())
        except OSError:
            return 0

    @property
    def queue_table(self) -> Path:
        """Where the kernel tells of the queues of the censor's host."""
        return Path(f"/proc/{self._process.pid}/net/netfilter/nfnetlink_queue")

    @property
    def packets_missed(self) -> int:
        """Packets that passed unseen, or were dropped, as its queue was full."""
        return packets_missed((self._folder / _EVENTS).read_bytes())

    def pin(self, cpus: set[int]) -> None:
        """Have it run on these CPUs only. Raises OSError."""
        for member in tree(self._process.pid):
            os.sched_setaffinity(member, cpus)

    def reload(self) -> float:
        """Put the next dump in the place of its list; the seconds until it has been read. Raises BenchError."""
        log = self._folder / _LOG
        done = log.read_bytes().count(_RELOADED)
        _put(self._dumps[(done + 1) % len(self._dumps)], self._folder)
        started = time.monotonic()
        self._process.send_signal(signal.SIGHUP)
        while (now := time.monotonic()) - started < START_SECONDS:
            if log.read_bytes().count(_RELOADED) > done:
                return now - started
            self.check()
            time.sleep(_LOOK_SECONDS)
        raise BenchError(f"the rules were not read again within {START_SECONDS:.0f} s: {last_line(log.read_bytes())}")

    def reach_stage(self, number: int) -> None:
        """Wait until its time line has got so far. Raises BenchError."""
        deadline = time.monotonic() + START_SECONDS
        while (self._folder / _EVENTS).read_bytes().count(b'"stage_reached"') < number:
            self.check()
            if time.monotonic() > deadline:
                raise BenchError(f"it did not reach stage {number} within {START_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """Raises BenchError if it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"the censor ended: exit status {self._process.returncode}")


@contextlib.contextmanager
def started(subject: Subject, folder: Path, dumps: Sequence[Path] = ()) -> Iterator[Instance]:
    """The subject's censor, its rules in force; `dumps` are for the subjects with a list. Raises BenchError."""
    rules, events, log = folder / "rules.toml", folder / _EVENTS, folder / _LOG
    text = subject.rules.replace(DUMP, str(folder / _DUMP))
    rules.write_text(text)
    if DUMP in subject.rules:
        _put(dumps[0], folder)
    events.write_bytes(b"")
    arguments = [str(rules) if argument == RULES else argument for argument in subject.arguments]
    command = [sys.executable, "-m", "sidedoor", "censor", "run", *arguments]
    command += ["--events", str(events)]
    with log.open("wb") as stderr, running(on("router", command), stderr=stderr.fileno()) as process:
        _wait(process, len(parse_rules(text).at(0).rules), events, log)
        yield Instance(process, folder, dumps)


def _put(dump: Path, folder: Path) -> None:
    """All at once: nobody reads half of it."""
    shutil.copyfile(dump, folder / "new.csv")
    os.replace(folder / "new.csv", folder / _DUMP)


def _wait(process: subprocess.Popen[bytes], rules: int, events: Path, log: Path) -> None:
    """Until it is ready and has reported each of its rules to be in force. Raises BenchError."""
    deadline, enforced = time.monotonic() + START_SECONDS, 0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"the censor did not start: {last_line(log.read_bytes())}")
        reported = events.read_bytes()
        enforced = reported.count(b'"rule_enforced"')
        if b'"censor_ready"' in reported and enforced >= rules:
            return
        time.sleep(_LOOK_SECONDS)
    raise BenchError(f"{enforced} of {rules} rules were in force after {START_SECONDS:.0f} s")


def packets_queued(table: str) -> int:
    """Packets of all queues, from the text of /proc/net/netfilter/nfnetlink_queue: its next to last column."""
    return sum(int(line.split()[-2]) for line in table.splitlines())


def packets_missed(events: bytes) -> int:
    """The sum over the `packets_missed` events; a line that is being written does not count yet."""
    lines = (json.loads(line) for line in events.split(b"\n")[:-1] if b'"packets_missed"' in line)
    return sum(event["count"] for event in lines)
