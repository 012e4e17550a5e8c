"""The process in the accuracy run's namespaces: profile after profile, each in hosts of its own, said in JSON lines.

`inside.py FLOWS PROFILE...`: a line is a `Line`. It is started by `runner`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from lab.benchmarks.censor import network
from lab.benchmarks.censor.accuracy.results import Counted
from lab.benchmarks.censor.accuracy.truths import CLIENTS, SERVERS, truth
from lab.benchmarks.censor.instance import started
from lab.benchmarks.censor.subjects import RULES, Subject
from lab.benchmarks.processes import BenchError, last_line, running

LIMIT_SECONDS = 300.0
"""The most that the flows of a profile may take."""
_MODULE = "lab.benchmarks.censor.accuracy"


class Line(msgspec.Struct, frozen=True):
    """What is said of one profile."""

    profile: str
    counted: list[Counted] = []
    seconds: float = 0.0
    packets_missed: int = 0
    failure: str | None = None


def add_addresses() -> None:
    """Give client and server all the addresses that the flows have. Raises BenchError."""
    for host, blocks in (("client", (CLIENTS,)), ("server", SERVERS)):
        own = {"client": network.CLIENT, "server": network.SERVER}[host]
        for block in blocks:
            network.call(["ip", "-n", host, "route", "add", "local", block, "dev", "lo"])
            network.call(["ip", "-n", "router", "route", "add", block, "via", own])


def measured(profile: str, flows: int, folder: Path) -> Line:
    """Run the profile's flows. A failure is part of the results."""
    told = truth(profile)
    subject = Subject(profile, ("--rules", RULES), told.rules(profile))
    try:
        with network.hosts():
            add_addresses()
            server = network.serving("server", [sys.executable, "-m", f"{_MODULE}.server"])
            with server, started(subject, folder) as censor:
                censor.reach_stage(told.stages)
                before = time.monotonic()
                counted = _clients(profile, flows)
                censor.check()
                return Line(profile, counted, time.monotonic() - before, censor.packets_missed)
    except BenchError as error:
        return Line(profile, failure=str(error))


def _clients(profile: str, flows: int) -> list[Counted]:
    command = network.on("client", [sys.executable, "-m", f"{_MODULE}.client", profile, str(flows)])
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            said, reason = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the flows did not end within {LIMIT_SECONDS:.0f} s") from None
    if process.returncode:
        raise BenchError(f"the flows failed: {last_line(reason)}")
    return msgspec.json.decode(said, type=list[Counted])


def main() -> None:
    """The command; exits 1 with a line on stderr where the hosts cannot be made."""
    flows, *names = sys.argv[1:]
    try:
        network.prepare()
    except OSError as error:
        sys.exit(f"the namespaces cannot be prepared: {error}")
    for name in names:
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            sys.stdout.buffer.write(msgspec.json.encode(measured(name, int(flows), Path(folder))) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
