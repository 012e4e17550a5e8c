"""The load generator: `load.c` compiled on demand, `load.py` where there is no compiler."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("load.c")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 60.0


class BenchError(Exception):
    """A measurement that could not be made; says what was tried and what came back."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the clients counted in `seconds`, and the CPU time that `cpu_seconds()` went up by meanwhile."""

    seconds: float
    bytes: int
    messages: int
    connects: int
    failures: int
    cpu_seconds: float


class Generator:
    """A program that is both the target and the clients. `kind` is "C" or "Python"."""

    def __init__(self, command: list[str], kind: str) -> None:
        self._command = command
        self.kind = kind

    @contextlib.contextmanager
    def target(self) -> Iterator[int]:
        """A running target; gives its port."""
        with running([*self._command, "target"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise BenchError(f"the target did not start: {' '.join(self._command)} target")
            yield int(line)

    def load(
        self,
        mode: str,
        *,
        proxy_port: int,
        target_port: int,
        connections: int,
        seconds: float,
        cpu_seconds: Callable[[], float],
    ) -> Measurement:
        """Run the clients once. `proxy_port` 0 is without a proxy. Raises BenchError."""
        numbers = map(str, (proxy_port, target_port, connections, seconds))
        with running([*self._command, mode, *numbers], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            started = process.stdout.readline()
            before = cpu_seconds()
            ended = process.stdout.readline()
            after = cpu_seconds()
            if not (started and ended):
                said = process.stderr.read().decode(errors="replace").strip()
                raise BenchError(f"the clients gave up: {said or 'no reason given'}")
        counted = json.loads(ended)
        del counted["event"]
        return Measurement(**counted, cpu_seconds=after - before)


def make(folder: Path) -> Generator:
    """The best generator this machine can have; a compiled one lies in `folder`."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is not None:
        program = folder / "load"
        made = subprocess.run(
            [compiler, "-O2", "-o", str(program), str(SOURCE)],
            capture_output=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
        if made.returncode == 0:
            return Generator([str(program)], "C")
    return Generator([sys.executable, "-m", "lab.benchmarks.load"], "Python")


@contextlib.contextmanager
def running(
    command: list[str], *, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context lasts."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
