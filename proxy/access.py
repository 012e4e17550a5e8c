"""The access log: one JSON line per request and flow, written by a thread, so that a slow disk delays no flow.

What is to be logged gathers for FLUSH_SECONDS; then the loop makes the lines, all at once (one by one, between other
work, each takes three times as long), and hands them to the thread as one block, which is one write with O_APPEND:
several workers share the file. To a pipe or a terminal go blocks of whole lines that are small
enough not to be mixed with those of others. Where writing fails or is too slow, lines are lost, and counted.
"""

from __future__ import annotations

import asyncio
import os
import queue
import select
import stat
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Protocol

import msgspec

from proxy import log
from sidedoor.settings import UsageError

FLUSH_SECONDS = 0.2
BATCH_LINES = 256
"""So many are made before their time: less than a millisecond's work, which flows have to wait for."""
QUEUE_BYTES = 8 << 20
"""The most that waits for the thread: lines behind it are lost."""
WARN_SECONDS = 60.0
CLOSE_SECONDS = 2.0
"""How long `close` waits for the thread: a disk may hang."""
ATOMIC_BYTES = getattr(select, "PIPE_BUF", 512)
"""A write of at most so much to a pipe is in one piece (pipe(7))."""

_STOP, _REOPEN = None, b""


class AccessRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A line of the log, in the order of its fields. Empty or null: there was none."""

    time: datetime = msgspec.field(default_factory=partial(datetime.now, UTC))
    """When the flow ended or the request was refused: RFC 3339, microseconds."""
    flow: int | None = None
    """Null for a request that was refused."""
    worker: int = 0
    """Its place."""
    client: str
    """HOST:PORT, behind a load balancer the one that it named."""
    listener: str = ""
    """HOST:PORT that the client connected to."""
    user: str = ""
    protocol: str = ""
    command: str = ""
    target: str = ""
    """As the client asked for it."""
    address: str = ""
    """The address that was dialed."""
    rule: str = ""
    via: str = ""
    reply: str = ""
    """The name of REP (RFC 1928 section 6)."""
    reason: str = ""
    """Why the flow ended, or the request was refused."""
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    """How long the flow stood; of a refused request, from the request to the answer."""
    dns_seconds: float | None = None
    dial_seconds: float | None = None

    def line(self, wall: float) -> bytes:
        """See `Entry`."""
        return _encode(self)


class Entry(Protocol):
    """What becomes a line."""

    def line(self, wall: float) -> bytes:
        """The line, without its end. `wall` plus a time of CLOCK_MONOTONIC is the time of day, in seconds since 1970.
        Raises ValueError for text that is no Unicode."""


_encode = msgspec.json.Encoder().encode


def flow_line(
    wall: float,
    flow: int,
    worker: int,
    client: str,
    way: tuple[str, str],
    target: str,
    address: str,
    reason: str,
    bytes_up: int,
    bytes_down: int,
    seconds: float,
    dns_seconds: float,
    dial_seconds: float,
) -> bytes:
    """What an `AccessRecord` of a flow would be encoded to, in a third of the time: there is one for each connection.

    `wall` is the time in seconds since 1970; `way` is what `way_of` gives; `target` has been `quoted`, and `client` and
    `address` have nothing that would have to be.
    """
    second = int(wall)
    before, behind = way
    return (
        f'{{"time":"{_whole_second(second)}.{int((wall - second) * 1e6):06d}Z","flow":{flow},"worker":{worker},'
        f'"client":"{client}",{before}{target},"address":"{address}",{behind}"{reason}","bytes_up":{bytes_up},'
        f'"bytes_down":{bytes_down},"seconds":{seconds:.6f},'
        f'"dns_seconds":{f"{dns_seconds:.6f}" if dns_seconds else "null"},'
        f'"dial_seconds":{f"{dial_seconds:.6f}" if dial_seconds else "null"}}}'
    ).encode()


@lru_cache(1024)
def way_of(listener: str, user: str, protocol: str, command: str, rule: str, via: str) -> tuple[str, str]:
    """The parts of a line in front of the target and behind the address, which many flows share. Raises ValueError for
    text that is no Unicode."""
    return (
        f'"listener":{quoted(listener)},"user":{quoted(user)},"protocol":"{protocol}","command":"{command}","target":',
        f'"rule":{quoted(rule)},"via":{quoted(via)},"reply":"SUCCEEDED","reason":',
    )


@lru_cache(4096)
def quoted(text: str) -> str:
    """`text` as JSON. Raises ValueError where it is no Unicode."""
    return _encode(text).decode()


@lru_cache(2)
def _whole_second(second: int) -> str:
    """RFC 3339, UTC, without fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class AccessLog:
    """Appends records to the file at `path`; "-" is stdout.

    To be made anywhere, and used in one loop. Raises UsageError where the file cannot be opened; later on, nothing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            fd = _open(path)
        except OSError as error:
            raise UsageError(
                f"access_log: {path}: cannot be written: {error.strerror}; its folder must exist, and be writable for "
                f"this user"
            ) from error
        self._entries: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writer = _Writer(path, fd)
        self._lost = 0  # here; the writer counts for itself
        self._told = 0

    def write(self, entry: Entry) -> None:
        """Log `entry`, soon: it must not change any more."""
        entries = self._entries
        entries.append(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        elif len(entries) >= BATCH_LINES:
            self._flush()

    def reopen(self) -> None:
        """What follows goes to the file that is at the path by then: the old one was moved away (logrotate)."""
        self._flush()
        self._writer.put(_REOPEN)

    def close(self) -> None:
        """Write what there is, and close the file."""
        self._flush()
        self._writer.close()

    def take_lost(self) -> int:
        """How many lines were lost since this was last asked."""
        lost = self._lost + self._writer.lost
        new, self._told = lost - self._told, lost
        return new

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        entries, self._entries = self._entries, []
        lines, wall = [], time.time() - time.monotonic()
        for entry in entries:
            try:
                lines.append(entry.line(wall))
            except ValueError:  # text that is no Unicode
                self._lost += 1
        if lines and not self._writer.put(b"\n".join(lines) + b"\n"):
            self._lost += len(lines)


class _Writer:
    """The thread, which starts with the first block: threads do not survive a fork."""

    def __init__(self, path: str, fd: int) -> None:
        self.lost = 0
        self._path = path
        self._fd = fd
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put = 0  # bytes, by the loop
        self._got = 0  # bytes, by the thread
        self._thread: threading.Thread | None = None
        self._torn = False  # the last line in the file has no end
        self._warned = -WARN_SECONDS
        self._unreported = 0

    def put(self, block: bytes | None) -> bool:
        """Hand over lines, or a word; False where too much waits."""
        size = len(block or b"")
        if size and self._put - self._got + size > QUEUE_BYTES:
            return False
        self._put += size
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()
        self._blocks.put(block)
        return True

    def close(self) -> None:
        """Let the thread write what it has, and close the file."""
        if self._thread is not None:
            self.put(_STOP)
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                log.warning("access_log_hangs", path=self._path, bytes=self._put - self._got)
                return
        os.close(self._fd)

    def _run(self) -> None:
        while (block := self._blocks.get()) is not _STOP:
            if block == _REOPEN:
                self._reopen()
            else:
                self._write(block)
                self._got += len(block)

    def _write(self, block: bytes) -> None:
        done, view = 0, memoryview(block)
        try:
            whole = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._torn:
                os.write(self._fd, b"\n")
                self._torn = False
            while done < len(block):
                end = len(block) if whole else piece_end(block, done)
                done += os.write(self._fd, view[done:end])
        except OSError as error:
            self._torn = block[done - 1] != ord("\n") if done else self._torn
            lost = block.count(b"\n", done)
            self.lost += lost
            self._unreported += lost
            self._warn(error)

    def _reopen(self) -> None:
        try:
            fd = _open(self._path)
        except OSError as error:
            self._warn(error)  # the old file will do
            return
        self._torn = self._torn and os.path.sameopenfile(self._fd, fd)
        os.close(self._fd)
        self._fd = fd

    def _warn(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._warned >= WARN_SECONDS:
            log.warning("access_log_failed", path=self._path, error=error.strerror, lost=self._unreported)
            self._warned, self._unreported = now, 0


def _open(path: str) -> int:
    """The file, to append to it. Everybody's umask decides who may read it."""
    if path == "-":
        return os.dup(1)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def piece_end(lines: bytes, start: int) -> int:
    """Where to end a write that begins at `start`: behind the last line that ATOMIC_BYTES have room for, or behind the
    one line that is longer."""
    return lines.rfind(b"\n", start, start + ATOMIC_BYTES) + 1 or lines.find(b"\n", start) + 1
