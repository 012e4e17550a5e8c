"""Races of an injecting censor against a server behind a wan: what is started for one, and its metrics."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from lab.benchmarks.censor.network import on, serving
from lab.benchmarks.censor.race import Outcome
from lab.benchmarks.censor.subjects import RESET_NAME
from lab.benchmarks.censor.traffic import Traffic, client_hello
from lab.benchmarks.processes import BenchError, last_line

TRIES = 500
DELAY_SECONDS = 0.02
"""One way, of the wan."""
_PROGRAM = [sys.executable, "-m", "lab.benchmarks.censor.race"]
_WAN = [sys.executable, "-m", "lab.benchmarks.censor.wan", str(DELAY_SECONDS)]
_LIMIT_SECONDS = 120.0


def dns(seconds: float) -> dict[str, float]:
    """A forged answer against the server's. Raises BenchError."""
    with serving("wan", _WAN), serving("server", [*_PROGRAM, "dns-server"]):
        return _race("dns", str(tries(seconds)))


def rst(traffic: Traffic, seconds: float) -> dict[str, float]:
    """A forged RST against the server's answer to the ClientHello. Raises BenchError."""
    with tempfile.TemporaryDirectory() as folder, serving("wan", _WAN), traffic.server():
        hello = Path(folder, "hello")
        hello.write_bytes(client_hello(RESET_NAME))
        return _race("rst", str(tries(seconds)), str(hello))


def tries(seconds: float) -> int:
    """TRIES, or fewer where a measurement is to take less than a second."""
    return max(1, round(TRIES * min(1.0, seconds)))


def estimate(seconds: float) -> float:
    """How long a race takes if the censor wins."""
    return 2.0 + min(1.0, seconds)


def _race(*arguments: str) -> dict[str, float]:
    try:
        done = subprocess.run(
            on("client", [*_PROGRAM, *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{arguments[0]} race: no outcome within {_LIMIT_SECONDS:.0f} s") from None
    if done.returncode:
        raise BenchError(f"{arguments[0]} race: {last_line(done.stderr)}")
    return metrics(msgspec.json.decode(done.stdout, type=Outcome))


def metrics(seen: Outcome) -> dict[str, float]:
    """The share that the censor won; what was decided by nobody is not won."""
    number = seen.won + seen.lost + seen.silent
    return {"won_share": seen.won / number, "silent": seen.silent, "tries": number, "p50_ms": seen.p50_seconds * 1e3}
