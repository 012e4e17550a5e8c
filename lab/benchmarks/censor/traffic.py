"""Flows that start with a TLS ClientHello: `flows.c`, compiled on demand, and what it is called with."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab.benchmarks import generator
from lab.benchmarks.censor.network import SERVER, on, serving
from lab.benchmarks.processes import BenchError, running

SOURCE = Path(__file__).with_name("flows.c")
NAME = "innocent.example"
"""The name that the flows are opened for: no subject blocks it."""
PORT = 443
MOST_WAITING_SECONDS = 1.0
_SPARE_SECONDS = 20.0
_MODE_AT = 11
"""The first byte of the random, by which flows.c knows what to do."""


class Counted(msgspec.Struct, frozen=True):
    """What the clients counted in `seconds`. `late`: flows that were due while the most were under way.

    `waiting_seconds`: how long a flow had waited for its answer at the end; `p50_seconds`, `p99_seconds`: from the
    ClientHello to the first byte of the answer.
    """

    seconds: float
    bytes: int
    flows: int
    failures: int
    late: int
    waiting_seconds: float
    p50_seconds: float
    p99_seconds: float


def client_hello(name: str) -> bytes:
    """The TLS record with the ClientHello that OpenSSL sends to a server of that name; `flows.c` answers it a byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    record = outgoing.read()
    return record[:_MODE_AT] + b"o" + record[_MODE_AT + 1 :]


def missing() -> str | None:
    """Why the flows cannot be made here, and what to do; None: they can."""
    if generator.compiler() is None:
        return "its flows are made by a C program: apt-get install gcc"
    return None


@dataclass(frozen=True, slots=True)
class Traffic:
    """`program`: the compiled flows.c; `hello`: the file with the ClientHello; `cpus`: where it runs."""

    program: str
    hello: str
    cpus: Sequence[int] = ()

    def server(self) -> contextlib.AbstractContextManager[None]:
        """The server, listening. Raises BenchError."""
        return serving("server", [self.program, "server", SERVER, str(PORT)], self.cpus)

    def open(self, at_once: int, flows_per_second: float, seconds: float) -> Counted:
        """Flow after flow, as `flows.c` has it. Raises BenchError."""
        counted = self._run("open", str(at_once), f"{flows_per_second:g}", seconds=seconds)
        if not counted.flows:
            raise BenchError(f"no flow ended ({counted.failures} failed)")
        return counted

    def bulk(self, connections: int, seconds: float) -> Counted:
        """As much as goes from server to client. Raises BenchError."""
        counted = self._run("bulk", str(connections), seconds=seconds)
        if not counted.bytes:
            raise BenchError("no byte came behind the ClientHello")
        return counted

    def _run(self, mode: str, *words: str, seconds: float) -> Counted:
        command = [self.program, mode, SERVER, str(PORT), self.hello, *words, f"{seconds:g}"]
        limit_seconds = seconds * 1.1 + _SPARE_SECONDS
        try:
            with running(on("client", command, self.cpus), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                said, reason = process.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"flows {mode} did not end within {limit_seconds:.0f} s") from None
        if process.returncode:
            raise BenchError(reason.decode(errors="replace").strip() or f"flows {mode} failed without a reason")
        return judged(said)


def judged(line: bytes) -> Counted:
    """The clients' line. Raises BenchError where it cannot be read, or where traffic that is allowed did not pass."""
    try:
        counted = msgspec.json.decode(line, type=Counted)
    except msgspec.DecodeError as error:
        raise BenchError(f"the clients' line cannot be read: {error}") from error
    if counted.failures:
        raise BenchError(f"{counted.failures} of {counted.flows + counted.failures} flows broke")
    if counted.waiting_seconds > MOST_WAITING_SECONDS:
        raise BenchError(f"a flow had waited for {counted.waiting_seconds:.1f} s at the end")
    return counted
