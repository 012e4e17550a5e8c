"""The process in the benchmark's namespaces: it measures round after round and says so in JSON lines on stdout.

Its order (`Order`) comes on standard input. A line is {"doing": text} or {"sample": {...}}. It is started by `runner`,
which kills it, and with it everything that it started, when it is to end before that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from lab.benchmarks.censor import network
from lab.benchmarks.censor.instance import started
from lab.benchmarks.censor.measurements import MEASUREMENTS, Measurement, Metrics, Stage
from lab.benchmarks.censor.results import Sample
from lab.benchmarks.censor.subjects import Kind, Subject, subjects
from lab.benchmarks.censor.traffic import NAME, Traffic, client_hello
from lab.benchmarks.processes import BenchError

MOST_FAILURES = 2
"""A subject that fails so often in a measurement is not tried in it again: that takes too long."""
START = "start"
"""Stands for the measurement where a subject could not be started."""

Say = Callable[[dict[str, object]], None]


class Order(msgspec.Struct, frozen=True):
    """What is to be measured, by name; `program` is the compiled flows.c, `dumps` are registry dumps."""

    subjects: list[str]
    measurements: list[str]
    rounds: int
    seconds: float
    program: str
    dumps: list[str] = []


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Another one first in each round, so that none always follows the same one."""
    first = number % max(1, len(names))
    return [*names[first:], *names[:first]]


class Rounds:
    """The rounds of an order. `folder`: for what the censors read and write."""

    def __init__(self, order: Order, folder: Path, say: Say) -> None:
        self._order, self._folder, self._say = order, folder, say
        self._subjects = {subject.name: subject for subject in subjects()}
        self._failures: Counter[tuple[str, str]] = Counter()
        hello = folder / "hello"
        hello.write_bytes(client_hello(NAME))
        self._traffic = Traffic(order.program, str(hello))

    def run(self) -> None:
        """All of them; a failure is a sample like others."""
        for number in range(self._order.rounds):
            for name in rotated(self._order.subjects, number):
                self._subject(self._subjects[name], number + 1)

    def _subject(self, subject: Subject, number: int) -> None:
        measurements = self._measurements(subject)
        if not measurements or self._failures[subject.name, START] >= MOST_FAILURES:
            return
        try:
            with network.hosts(far=subject.kind is Kind.RACE), self._stage(subject) as stage:
                for measurement in measurements:
                    self._say({"doing": f"round {number} of {self._order.rounds}: {subject.name}, {measurement.name}"})
                    self._measure(subject, measurement, stage, number)
        except BenchError as error:
            self._report(Sample(number, subject.name, START, failure=str(error)))

    def _measurements(self, subject: Subject) -> list[Measurement]:
        return [
            measurement
            for measurement in MEASUREMENTS
            if measurement.name in self._order.measurements
            and subject.kind in measurement.kinds
            and self._failures[subject.name, measurement.name] < MOST_FAILURES
        ]

    @contextlib.contextmanager
    def _stage(self, subject: Subject) -> Iterator[Stage]:
        cpus = sorted(os.sched_getaffinity(0))
        seconds, iperf3 = self._order.seconds, shutil.which("iperf3")
        if subject.kind is Kind.PLAIN:
            yield Stage(self._traffic, None, seconds, cpus, iperf3)
        else:
            with started(subject, self._folder, list(map(Path, self._order.dumps))) as censor:
                yield Stage(self._traffic, censor, seconds, cpus, iperf3)

    def _measure(self, subject: Subject, measurement: Measurement, stage: Stage, number: int) -> None:
        metrics: Metrics = {}
        failure = None
        try:
            metrics = measurement.measure(stage)
        except BenchError as error:
            failure = str(error)
        self._report(Sample(number, subject.name, measurement.name, metrics, failure))

    def _report(self, sample: Sample) -> None:
        self._failures[sample.subject, sample.measurement] += sample.failure is not None
        self._say({"sample": sample})


def main() -> None:
    """Carry the order out; exits 1 with a line on stderr where the hosts cannot be made."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        network.prepare()
    except OSError as error:
        sys.exit(f"the namespaces cannot be prepared: {error}")

    def say(message: dict[str, object]) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()

    with tempfile.TemporaryDirectory(dir="/run") as folder:
        Rounds(order, Path(folder), say).run()


if __name__ == "__main__":
    main()
