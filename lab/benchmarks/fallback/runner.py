"""Many labs, some at a time, each a process of its own, until all have done their part. Resumable: what is done stays.

The folder: `bench.json` (the seed), `conditions/ID/runs.jsonl` with a line for each run, `conditions/ID/logs`; the same
in `control` for labs without a block, and in `calibration/alone` and `calibration/among`. Ctrl-C asks the labs to end
in order; each loses its current round at most. If this process is killed the labs go with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks.fallback import launch, records
from lab.benchmarks.fallback.inside import Order
from lab.benchmarks.fallback.plan import Condition, Control, missing
from lab.benchmarks.fallback.records import RUNS, AnyRecord, ControlRecord, Record
from lab.runtimes import INTERRUPTED
from lab.runtimes.linux import die_with_parent
from sidedoor.settings import UsageError

BENCH = "bench.json"
CONDITIONS, CONTROL, CALIBRATION = "conditions", "control", "calibration"
_LINE_LIMIT_BYTES = 1 << 16

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One lab to be: its name, what starts it, the folder for what it says, how long it is estimated to take."""

    name: str
    command: Sequence[str]
    folder: Path
    estimated_seconds: float


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a bench beside its runs."""

    seed: int
    seconds: float = 0.0
    """That it has taken so far, in all its calls."""
    parallel: int = 1
    calibrated_labs: int = 0


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """The bench's folder, made if need be, that nobody else writes to meanwhile. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"--out: {folder}: cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (folder / BENCH).exists() and any(folder.iterdir()):
            raise UsageError(f"--out: {folder}: has something else in it than a bench; name a new folder")
        yield folder.resolve()
    except BlockingIOError:
        raise UsageError(f"--out: {folder}: another bench is writing to it; name another folder") from None
    finally:
        os.close(descriptor)


def read_header(folder: Path) -> Header | None:
    """None: a new folder. Raises UsageError for a broken file."""
    try:
        return msgspec.json.decode((folder / BENCH).read_bytes(), type=Header)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise UsageError(f"--out: {folder / BENCH}: {error}; name a new folder") from error


def write_header(folder: Path, header: Header) -> None:
    (folder / BENCH).write_bytes(msgspec.json.encode(header) + b"\n")


def read_runs(folder: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """All runs of all labs in the folder. Raises UsageError for lines that no bench of this version wrote."""
    found: list[AnyRecord] = []
    for path in sorted(folder.glob(f"*/{RUNS}")):
        try:
            found += records.read(path, kind)
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}: {error}; name a new folder with --out") from error
    return found


def jobs(folder: Path, conditions: Sequence[Condition | Control]) -> list[Job]:
    """The labs of the conditions that do not have all their runs yet, each with a folder of its own in `folder`."""
    return [job for condition in conditions if (job := _job(folder / condition.id, condition)) is not None]


def calibration_jobs(folder: Path, condition: Condition, parallel: int) -> list[list[Job]]:
    """The condition by itself, and then so many of them side by side."""
    places = [[folder / "alone" / condition.id]]
    places.append([folder / "among" / f"{condition.id}-{number}" for number in range(1, parallel + 1)])
    return [[job for place in phase if (job := _job(place, condition)) is not None] for phase in places]


def _job(place: Path, condition: Condition | Control) -> Job | None:
    done: list[Any] = records.read(place / RUNS, Record if isinstance(condition, Condition) else ControlRecord)
    still = missing(condition, done)
    if not still:
        return None
    order = msgspec.to_builtins(Order(condition=condition, folder=str(place)))
    command = launch.command("lab.benchmarks.fallback.inside:run", len(condition.arms), order)
    share = sum(still.values()) / sum(condition.runs.values())
    return Job(place.name, command, place, condition.estimated_seconds * share)


@dataclass(frozen=True, slots=True)
class Outcome:
    """failures: job -> what went wrong; interrupted: by a signal, so that some have not done their part."""

    failures: dict[str, str]
    interrupted: bool
    seconds: float

    def and_then(self, other: Outcome) -> Outcome:
        """Both, one after the other."""
        failures = self.failures | other.failures
        return Outcome(failures, self.interrupted or other.interrupted, self.seconds + other.seconds)


def run(todo: Sequence[Job], parallel: int, report: Report) -> Outcome:
    """Run the jobs, so many at a time. SIGINT and SIGTERM end the labs in order, and then this."""
    return asyncio.run(_Pool(todo, parallel, report).run())


class _Pool:
    def __init__(self, todo: Sequence[Job], parallel: int, report: Report) -> None:
        self._waiting = list(todo)
        self._all = len(todo)
        self._left_seconds = sum(job.estimated_seconds for job in todo)
        self._parallel = parallel
        self._report = report
        self._failures: dict[str, str] = {}
        self._interrupted = False
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._said: dict[str, str] = {}

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        try:
            async with asyncio.TaskGroup() as group:
                for worker in range(self._parallel):
                    group.create_task(self._work(), name=f"labs {worker}")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return Outcome(self._failures, self._interrupted, time.monotonic() - started)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._waiting.clear()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def _work(self) -> None:
        while self._waiting:
            job = self._waiting.pop(0)
            status = await self._lab(job)
            self._left_seconds -= job.estimated_seconds
            if status not in (0, INTERRUPTED):
                self._failures[job.name] = _last_line(job.folder / "stderr.log") or f"ended with status {status}"
            self._tell()

    async def _lab(self, job: Job) -> int:
        (job.folder / "logs").mkdir(parents=True, exist_ok=True)
        with open(job.folder / "stderr.log", "ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *job.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=_LINE_LIMIT_BYTES,
                start_new_session=True,  # a Ctrl-C is for this process, which then ends the labs
                preexec_fn=die_with_parent,
            )
        self._processes[job.name] = process
        if self._interrupted:
            process.terminate()
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                progress = json.loads(line)
                missing = progress["missing"]
                left = f"at least {missing} runs to go" if missing else "the last"
                self._said[job.name] = f"{job.name}: round {progress['round']} is over, {left}"
                self._tell()
            return await process.wait()
        finally:
            del self._processes[job.name]
            self._said.pop(job.name, None)

    def _tell(self) -> None:
        over = self._all - len(self._waiting) - len(self._processes)
        minutes = max(0.0, self._left_seconds) / self._parallel / 60
        self._report(
            "; ".join([f"{over} of {self._all} labs done, about {minutes:.0f} min left", *self._said.values()])
        )


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
