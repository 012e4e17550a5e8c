"""The load generator: `load.c` compiled on demand, `load.py` where there is no compiler.

Both are the target and the clients, speak the same command line and print the same lines (`load.c` says which).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab.benchmarks.processes import BenchError, running

SOURCE = Path(__file__).with_name("load.c")
PYTHON_SOURCE = Path(__file__).with_name("load.py")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 60.0
_PATIENCE_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients of one call do; `mode` and the rest as `load.c` has them.

    `interval_seconds` 0: each next message follows the answer to the one before.
    """

    mode: str
    connections: int
    message_bytes: int = 64
    interval_seconds: float = 0.0


class Counted(msgspec.Struct, frozen=True):
    """The clients' last line: what they counted in `seconds`. `standing`: connections at the end."""

    seconds: float
    bytes: int
    messages: int
    connects: int
    failures: int
    standing: int
    p50_seconds: float
    p99_seconds: float
    longest_seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """A running target."""

    port: int
    pid: int


class Clients:
    """A running load."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._seen = b""
        self.pid = process.pid

    def started(self) -> None:
        """Return once all connections stand and the clients count. Raises BenchError."""
        self._line(_PATIENCE_SECONDS)

    def ended(self, seconds: float) -> Counted:
        """What they counted, at most some seconds after `seconds`. Raises BenchError."""
        return parse(self._line(seconds + _PATIENCE_SECONDS))

    def stop(self) -> Counted:
        """End a load that was to go on until stopped, and give what it counted. Raises BenchError."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.ended(0)

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._seen:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._process.stdout], [], [], wait)[0]:
                raise BenchError(f"the clients said nothing for {seconds:.0f} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                assert self._process.stderr is not None
                said = self._process.stderr.read().decode(errors="replace").strip()
                raise BenchError(said or "the clients gave up without a reason")
            self._seen += data
        line, _, self._seen = self._seen.partition(b"\n")
        return line


def parse(line: bytes) -> Counted:
    """The clients' last line. Raises BenchError."""
    try:
        return msgspec.json.decode(line, type=Counted)
    except msgspec.DecodeError as error:
        raise BenchError(f"the clients' last line cannot be read: {error}") from error


class Generator:
    """A program that is both the target and the clients. `kind` is "C" or "Python"."""

    def __init__(self, command: list[str], kind: str) -> None:
        self._command = command
        self.kind = kind

    @contextlib.contextmanager
    def target(self) -> Iterator[Target]:
        """A running target. Raises BenchError."""
        command = [*self._command, "target"]
        with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise BenchError(f"the target did not start: {' '.join(command)}")
            yield Target(int(line), process.pid)

    @contextlib.contextmanager
    def clients(self, load: Load, *, proxy_port: int, target_port: int, seconds: float) -> Iterator[Clients]:
        """Clients that have begun to connect. `proxy_port` 0: without a proxy; `seconds` 0: until `stop()`."""
        numbers = (proxy_port, target_port, load.connections, seconds, load.message_bytes, load.interval_seconds)
        command = [*self._command, load.mode, *map(str, numbers)]
        with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            yield Clients(process)


def make(folder: Path) -> Generator:
    """The best generator this machine can have. A compiled one is kept in the user's cache, else lies in `folder`."""
    if program := compiled(SOURCE, folder):
        return Generator([str(program)], "C")
    return Generator([sys.executable, str(PYTHON_SOURCE)], "Python")


def cache_folder() -> Path:
    """Where a compiled generator is kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "sidedoor"


def compiler() -> str | None:
    """The path of the C compiler that is used; None: there is none."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def compiled(source: Path, folder: Path) -> Path | None:
    """The program of a C file, kept in the user's cache or else in `folder`; None: no compiler, or it fails."""
    if (program := compiler()) is None:
        return None
    name = f"{source.stem}-" + hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    try:
        places = [cache_folder(), folder]
    except RuntimeError:  # no home
        places = [folder]
    for place in places:
        if os.access(place / name, os.X_OK):
            return place / name
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                made = Path(scratch) / name
                call = [program, "-O2", "-o", str(made), str(source)]
                if subprocess.run(call, capture_output=True, timeout=COMPILE_SECONDS, check=False).returncode:
                    return None
                os.replace(made, place / name)
                return place / name
    return None
