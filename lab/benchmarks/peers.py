"""The proxies that are compared: how each is started, and what CPU time it has used."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.generator import BenchError, running

START_SECONDS = 10.0

_DANTE = """\
logoutput: /dev/null
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """`command(program, port, folder)` starts it; `package` is the Debian package that has `program`."""

    name: str
    program: str
    package: str
    command: Callable[[str, int, Path], list[str]]

    def find(self) -> str | None:
        """The path of its program; None where it is not installed."""
        return shutil.which(self.program) or shutil.which(self.program, path="/usr/sbin:/sbin")


def _sidedoor(program: str, port: int, folder: Path) -> list[str]:
    return [program, "-m", "sidedoor", "proxy", "--listen", f"127.0.0.1:{port}"]


def _microsocks(program: str, port: int, folder: Path) -> list[str]:
    return [program, "-i", "127.0.0.1", "-p", str(port)]


def _dante(program: str, port: int, folder: Path) -> list[str]:
    settings = folder / "danted.conf"
    settings.write_text(_DANTE.format(port=port))
    return [program, "-f", str(settings), "-p", str(folder / "danted.pid")]


DIRECT = "direct"
"""The name of the run without a proxy."""

OURS = "sidedoor"

PEERS = (
    Peer(OURS, sys.executable, "", _sidedoor),
    Peer("microsocks", "microsocks", "microsocks", _microsocks),
    Peer("danted", "danted", "dante-server", _dante),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer: the port it serves SOCKS5 on (0: none, direct), its process (0: none)."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the process and all its descendants, dead ones that were waited for included."""
        return sum(map(_cpu_seconds, _tree(self.pid))) if self.pid else 0.0


@contextlib.contextmanager
def start(peer: Peer, folder: Path) -> Iterator[Running]:
    """`peer` on a free port of 127.0.0.1, accepting. Raises BenchError."""
    program = peer.find()
    assert program is not None, "the caller has looked"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(peer.command(program, port, folder)) as process:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if (status := process.poll()) is not None:
                raise BenchError(f"{peer.name} ended with status {status} when it was started")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise BenchError(f"{peer.name} did not accept within {START_SECONDS:.0f} s") from None
                time.sleep(0.02)
        yield Running(port, process.pid)


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _cpu_seconds(pid: int) -> float:
    # Of proc(5): utime, stime, cutime, cstime, counted behind the command's closing parenthesis.
    return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []
