"""What `sidedoor bench censor` is to measure, and the namespaces in which `inside` does it."""

from __future__ import annotations

import contextlib
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks import generator
from lab.benchmarks.censor import lists, traffic
from lab.benchmarks.censor.inside import Order
from lab.benchmarks.censor.instance import START_SECONDS
from lab.benchmarks.censor.measurements import MEASUREMENTS, Measurement
from lab.benchmarks.censor.results import LISTS, Results, Sample
from lab.benchmarks.censor.subjects import PLAIN, Kind, Subject, subjects
from lab.benchmarks.processes import BenchError
from lab.runtimes.linux import die_with_parent
from lab.runtimes.netns import check_tools, search_path, unshare_command
from sidedoor.settings import UsageError

_INSIDE = "lab.benchmarks.censor.inside"
_PROGRAMS = ("ip", "nsenter", "taskset")
_SUBJECT_SECONDS = 1.2
"""What a subject takes beside its measurements: hosts that are made, a censor that starts and ends."""
_ALONE = {Kind.RACE, Kind.FLOOD}
"""Not beside plain routing."""
_DUMP_SECONDS, _LIST_SECONDS = 5.0, 4.0
"""What making the dumps takes, and measuring them once."""
_SILENCE_SECONDS = 60.0
"""How much longer than its longest measurement the process inside may say nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, and what cannot be."""

    subjects: Sequence[Subject]
    measurements: Sequence[Measurement]
    skipped: dict[str, str]
    rounds: int
    seconds: float
    lists: bool = True

    @property
    def profiles(self) -> list[str]:
        return [subject.name for subject in self.subjects if subject.kind in (Kind.PROFILE, Kind.LIST)]

    @property
    def needs_dumps(self) -> bool:
        return self.lists or any(subject.kind is Kind.LIST for subject in self.subjects)

    @property
    def estimated_seconds(self) -> float:
        """How long it will take, if nothing hangs."""
        times = (
            measurement.estimate(self.seconds)
            for subject in self.subjects
            for measurement in self.measurements
            if subject.kind in measurement.kinds
        )
        lists = (_DUMP_SECONDS if self.needs_dumps else 0.0) + (self.rounds * _LIST_SECONDS if self.lists else 0.0)
        return self.rounds * (sum(times) + len(self.subjects) * _SUBJECT_SECONDS) + lists


def names() -> list[str]:
    """What --only takes."""
    return [*(subject.name for subject in subjects()), *(measurement.name for measurement in MEASUREMENTS), LISTS]


def plan(*, rounds: int, seconds: float, only: Collection[str] = ()) -> Plan:
    """Choose: `only` names subjects or measurements; where it names none of a kind, all of them are taken.

    Plain routing is always measured: it is what the others are compared with. Raises UsageError.
    """
    known = names()
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"--only: no profile or measurement is called {name!r}; {hint}")
    chosen, measurements = _chosen(set(only) - {LISTS}) if set(only) != {LISTS} else ([], [])
    skipped = {}
    if shutil.which("iperf3", path=search_path()) is None and any(one.name == "iperf3" for one in measurements):
        skipped["iperf3"] = "not found (apt-get install iperf3)"
        measurements = [measurement for measurement in measurements if measurement.name != "iperf3"]
    return Plan(chosen, measurements, skipped, rounds, seconds, lists=not only or LISTS in only)


def _chosen(only: Collection[str]) -> tuple[list[Subject], list[Measurement]]:
    """Subjects that have something to be measured, and what."""
    everybody = subjects()
    named = [subject for subject in everybody if subject.name in only or subject.name == PLAIN]
    some = len(named) > 1 or PLAIN in only
    measurements = [measurement for measurement in MEASUREMENTS if measurement.name in only] or list(MEASUREMENTS)
    kinds = {kind for measurement in measurements for kind in measurement.kinds}
    chosen = [subject for subject in (named if some else everybody) if subject.kind in kinds]
    if {subject.kind for subject in chosen} <= _ALONE | {Kind.PLAIN} and PLAIN not in only:
        chosen = [subject for subject in chosen if subject.kind in _ALONE]  # nothing is compared
    return chosen, measurements


def check_machine() -> None:
    """Raises UsageError that names what this machine lacks."""
    check_tools()
    if absent := [program for program in _PROGRAMS if shutil.which(program, path=search_path()) is None]:
        raise UsageError(f"bench censor needs {', '.join(absent)}: sudo apt-get install iproute2 util-linux")
    if reason := traffic.missing():
        raise UsageError(f"bench censor: {reason}")


def run(chosen: Plan, progress: Callable[[str], object] = lambda text: None) -> Results:
    """Measure. A censor's failure is part of the results. Raises BenchError where nothing can be measured."""
    load_averages, started = os.getloadavg(), time.time()
    with tempfile.TemporaryDirectory(prefix="sidedoor-bench-") as folder:
        program = generator.compiled(traffic.SOURCE, Path(folder))
        if program is None:
            raise BenchError(f"{traffic.SOURCE} cannot be compiled")
        dumps: list[Path] = []
        if chosen.needs_dumps:
            progress("making lists")
            dumps = lists.dumps(Path(folder))
        order = Order(
            [subject.name for subject in chosen.subjects],
            [measurement.name for measurement in chosen.measurements],
            chosen.rounds,
            chosen.seconds,
            str(program),
            list(map(str, dumps)),
        )
        samples = list(_samples(order, progress)) if order.subjects else []
        if chosen.lists:
            samples += _lists(chosen.rounds, dumps, progress)
    machine = _machine() | {
        "load_averages_before": load_averages,
        "started_unix_seconds": round(started),
        "took_seconds": round(time.time() - started),
    }
    return Results(chosen.profiles, samples, chosen.skipped, chosen.rounds, chosen.seconds, machine)


def _lists(rounds: int, dumps: Sequence[Path], progress: Callable[[str], object]) -> Iterator[Sample]:
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}: {LISTS}")
        try:
            yield Sample(number, LISTS, LISTS, lists.measure(dumps))
        except BenchError as error:
            yield Sample(number, LISTS, LISTS, failure=str(error))


class _Line(msgspec.Struct, frozen=True):
    doing: str | None = None
    sample: Sample | None = None


def _samples(order: Order, progress: Callable[[str], object]) -> Iterator[Sample]:
    with process_inside(_INSIDE) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.close()
        for line in lines(process, order.seconds + START_SECONDS + _SILENCE_SECONDS):
            said = msgspec.json.decode(line, type=_Line)
            if said.doing:
                progress(said.doing)
            if said.sample:
                yield said.sample


@contextlib.contextmanager
def process_inside(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module in namespaces of its own. However this process ends, the kernel ends that one and all in it."""
    command = [*unshare_command(), sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PATH": search_path()},
        start_new_session=True,
        preexec_fn=die_with_parent,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[bytes], silence_seconds: float) -> Iterator[bytes]:
    """What it says, until it ends well. Raises BenchError where it does not, or says nothing for so long."""
    assert process.stdout is not None
    rest = b""
    while select.select([process.stdout], [], [], silence_seconds)[0]:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            if status := process.wait():
                raise BenchError(f"the process in the namespaces ended with status {status}")
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
    raise BenchError(f"the process in the namespaces said nothing for {silence_seconds:.0f} s")


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "root": os.geteuid() == 0,
    }
