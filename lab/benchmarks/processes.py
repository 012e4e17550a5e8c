"""Processes of a benchmark: started, watched in /proc, ended by their PIDs with all their descendants."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

END_SECONDS = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class BenchError(Exception):
    """A measurement that could not be made; says what was tried and what came back."""


def last_line(said: bytes) -> str:
    """Of what a program wrote to stderr before it failed: of a traceback, what it is about."""
    return (said.decode(errors="replace").strip().splitlines() or ["it did not say why"])[-1]


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context lasts; what it left behind of its descendants is killed, too. Raises
    BenchError where it cannot be started."""
    try:
        started = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
    except OSError as error:  # a script's interpreter may be what is missing, or another user's
        raise BenchError(f"{command[0]} (or its interpreter) cannot be started: {error.strerror}") from error
    with started as process:
        try:
            yield process
        finally:
            # Not by number: that may be somebody else's by the time its process is killed.
            with contextlib.ExitStack() as stack:
                family = [_handle(pid, stack) for pid in tree(process.pid)[1:]]
                process.terminate()
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                _end(list(filter(None, family)))


def _handle(pid: int, stack: contextlib.ExitStack) -> int | None:
    """A pidfd of the process, closed with the stack; None if it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _end(family: Iterable[int]) -> None:
    """Kill the processes of these pidfds, as far as they still run, and see them gone."""
    for descriptor in family:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], END_SECONDS)


def tree(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes and their descendants, dead ones that were waited for included."""
    # Of proc(5): utime, stime, cutime, cstime, counted behind the command's closing parenthesis.
    everybody = {member for pid in pids for member in tree(pid)}
    return sum(sum(map(int, _stat(member)[11:15])) for member in everybody) / _TICKS


def machine_cpu_seconds() -> float:
    """CPU time of everything on this machine."""
    return busy_ticks((_PROC / "stat").read_text()) / _TICKS


def busy_ticks(stat: str) -> int:
    """Ticks of all CPUs in which they were not idle, from the text of /proc/stat."""
    # Of proc(5): user nice system idle iowait irq softirq steal; guests are in user already.
    fields = list(map(int, stat.splitlines()[0].split()[1:9]))
    return sum(fields) - fields[3] - fields[4]


@dataclass(frozen=True, slots=True)
class Memory:
    """What processes hold. None: this user may not read it."""

    pss_bytes: int | None
    descriptors: int | None
    pipes: int | None


def memory(pids: Iterable[int]) -> Memory:
    """Of the processes and their descendants: proportional set size, open descriptors, pipes among them."""
    everybody = {member for pid in pids for member in tree(pid)}
    try:
        pss = sum(_pss_bytes(member) for member in everybody)
    except OSError:
        return Memory(None, None, None)
    links = [link for member in everybody for link in _descriptors(member)]
    return Memory(pss, len(links), len({link for link in links if link.startswith("pipe:")}))


def kernel_bytes() -> int:
    """What the machine's kernel holds: slab, kernel stacks, page tables, TCP buffers. Pipes' pages are not in it."""
    names = ("Slab:", "KernelStack:", "PageTables:")
    lines = (line.split() for line in (_PROC / "meminfo").read_text().splitlines())
    held = sum(int(fields[1]) for fields in lines if fields[0] in names) * 1024
    return held + tcp_pages((_PROC / "net/sockstat").read_text()) * _PAGE_BYTES


def tcp_pages(sockstat: str) -> int:
    """Pages in TCP's buffers, from the text of /proc/net/sockstat."""
    for line in sockstat.splitlines():
        kind, *fields = line.split()
        if kind == "TCP:":
            return int(dict(zip(fields[::2], fields[1::2], strict=True))["mem"])
    return 0


def raise_descriptor_limit() -> int:
    """As many descriptors for this process and those it starts as it may have; gives their number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _pss_bytes(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _descriptors(pid: int) -> list[str]:
    links = []
    for entry in (_PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry))
    return links


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty for a process that is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []
