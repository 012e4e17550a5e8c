"""What users have open and have used, in memory that all workers share.

The processes fork after the `Ledger` was made. Each user has a slot, which every process finds by the user's name.
What is read, changed and written back is locked with a record lock (fcntl) on the slot: the kernel drops it with its
process, so that a worker that is killed leaves none held. What it wrote until then harms nobody, wherever it stopped:
quotas are charged before anything else, so that at most one reservation is charged for bytes that nobody carried.

Names and quotas are in a file where they are to outlive a restart; connections and token buckets never do. Record locks
belong to processes: in each, one thread at a time may use the ledger.
"""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_UN, lockf
from mmap import mmap

from proxy.relay.bucket import BURST_SECONDS, WAIT_SECONDS
from sidedoor.settings import SettingsError

SLOTS = 4096
UNNAMED = 0
"""The slot of clients without a name, and of the user whose name is empty."""
UP, DOWN = 0, 1
"""Directions: to the target, to the client."""

_NAME_BYTES = 256  # a length byte, then at most 255 bytes of UTF-8
_HEADER = struct.Struct("=8sIII")
_HEADER_BYTES = 64  # the rest of it is for the number of names, in its last 8 bytes
_KNOWN = _HEADER.pack(b"sidedoor", 1, SLOTS, _NAME_BYTES)
_COUNT = 7  # the cell of that number
_USED = _HEADER_BYTES
_BEGAN = _USED + 8 * SLOTS
_NAMES = _BEGAN + 8 * SLOTS
FILE_BYTES = _NAMES + _NAME_BYTES * SLOTS
_TABLE = SLOTS  # the byte whose lock protects the names


class Ledger:
    """The users' connections, rates and quotas, over all workers.

    `places` is the number of workers, which are at the places 0, 1, ...; `path` is the file for names and quotas, made
    where there is none (mode 0600); empty: memory. Raises SettingsError, naming `state`, for a file that cannot be
    used. `wall` is the clock of quotas, in seconds since 1970.
    """

    def __init__(self, places: int, path: str = "", *, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        self._charged: dict[int, float] = {}  # slot -> the beginning of the quota that `take` last charged here
        self._fd = _open_file(path) if path else _open_memory()
        try:
            self._lasting = _map(self._fd, path)
        except BaseException:
            os.close(self._fd)
            raise
        lasting = memoryview(self._lasting)
        self._header = lasting[:_HEADER_BYTES].cast("Q")
        self._used = lasting[_USED:_BEGAN].cast("Q")  # bytes since the quota began
        self._began = lasting[_BEGAN:_NAMES].cast("d")  # wall clock
        lasting.release()
        passing = memoryview(mmap(-1, 8 * SLOTS * (4 + places)))
        self._tokens = passing[: 16 * SLOTS].cast("d")  # by slot and direction
        self._filled = passing[16 * SLOTS : 32 * SLOTS].cast("d")  # when tokens were last added, monotonic
        self._flows = passing[32 * SLOTS :].cast("Q")  # by place and slot
        self._nothing = memoryview(bytes(8 * SLOTS)).cast("Q")
        try:
            self._learn()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; what is in it stays there."""
        for view in (self._header, self._used, self._began):
            view.release()
        self._lasting.close()
        os.close(self._fd)

    # Names

    def slot_of(self, name: str) -> int:
        """The slot of the user `name`, in every process the same; a new one for a new name. Raises SettingsError when
        there is none left."""
        slot = self._slots.get(name)
        if slot is None:
            with self._locked(_TABLE):
                self._learn()
                slot = self._slots.get(name)
                if slot is None:
                    slot = self._append(name)
        return slot

    def names(self) -> list[str]:
        """The names of all slots, in their order."""
        self._learn()
        return list(self._names)

    def _learn(self) -> None:
        """Read the names that other processes have added."""
        count = self._header[_COUNT]
        if count > SLOTS:
            raise _misfit(self._path, f"it says that it has {count} names, more than it has room for")
        for slot in range(len(self._names), count):
            start = _NAMES + slot * _NAME_BYTES
            end = start + 1 + self._lasting[start]
            try:
                name = self._lasting[start + 1 : end].decode()
            except UnicodeDecodeError:
                raise _misfit(self._path, f"the name in slot {slot} is not UTF-8") from None
            self._names.append(name)
            self._slots[name] = slot

    def _append(self, name: str) -> int:
        slot, data = len(self._names), name.encode()
        if slot == SLOTS:
            remedy = f"end the proxy and remove {self._path}" if self._path else "restart the proxy"
            raise SettingsError(
                f"users: {name!r} would be the {SLOTS}th name since the limits of users are being counted, one too "
                f"many; {remedy}, then old names are forgotten (and quotas begin anew)"
            )
        if len(data) >= _NAME_BYTES:
            raise SettingsError(f"users: {name!r} is longer than the 255 bytes SOCKS5 carries")
        start = _NAMES + slot * _NAME_BYTES
        self._lasting[start : start + 1 + len(data)] = bytes((len(data),)) + data
        self._header[_COUNT] = slot + 1  # the name comes first: who is killed in between has added none
        self._names.append(name)
        self._slots[name] = slot
        return slot

    # Connections

    def open_flow(self, slot: int, place: int, max_flows: int) -> bool:
        """Count one more connection of the user, unless there are `max_flows` (0: no limit) over all places."""
        cell = place * SLOTS + slot
        if not max_flows:
            self._flows[cell] += 1  # its own worker writes it only: no lock
            return True
        with self._locked(slot):
            if self.flows(slot) >= max_flows:
                return False
            self._flows[cell] += 1
            return True

    def close_flow(self, slot: int, place: int) -> None:
        """One that `open_flow` counted is over."""
        self._flows[place * SLOTS + slot] -= 1

    def flows(self, slot: int) -> int:
        """The user's open connections, over all places."""
        return sum(self._flows[slot::SLOTS])

    def forget_place(self, place: int) -> None:
        """The worker at `place` is dead, its connections are gone. To be called before its successor starts."""
        self._flows[place * SLOTS : (place + 1) * SLOTS] = self._nothing

    # Rate and quota

    def take(
        self, slot: int, direction: int, want: int, now: float, rate: float, quota: int, quota_seconds: float
    ) -> int:
        """Reserve up to `want` bytes in one direction; returns how many, 0 where none may go.

        `rate` (bytes per second, each direction) lets BURST_SECONDS of itself through at once after a pause; `quota`
        (bytes, both directions) begins anew `quota_seconds` after the first byte of the last one. 0: no limit. `now` is
        monotonic. What is reserved counts as used; what is not used goes to `give_back`.
        """
        fd = self._fd
        lockf(fd, LOCK_EX, 1, slot)
        try:
            size = want
            bucket, tokens = 2 * slot + direction, 0.0
            if rate:
                tokens, filled = self._tokens[bucket], self._filled[bucket]
                if now > filled:
                    tokens += (now - filled) * rate
                    self._filled[bucket] = now
                tokens = min(tokens, max(1.0, rate * BURST_SECONDS))
                if tokens < size:
                    size = int(tokens)
            if not quota:
                self._charged.pop(slot, None)
            else:
                wall = self._wall()
                # A clock that was set back by less than a window does not make a new one.
                began = self._began[slot]
                if not abs(wall - began) < quota_seconds:
                    self._used[slot] = 0
                    self._began[slot] = began = wall
                self._charged[slot] = began
                used = self._used[slot]
                size = max(0, min(size, quota - used))
                self._used[slot] = used + size
            if rate:
                self._tokens[bucket] = tokens - size
            return size
        finally:
            lockf(fd, LOCK_UN, 1, slot)

    def give_back(self, slot: int, direction: int, size: int) -> None:
        """Return `size` bytes that `take` reserved last, and that did not go. Where the quota has begun anew meanwhile,
        they belonged to the old one, and are not returned to the new."""
        with self._locked(slot):
            self._tokens[2 * slot + direction] += size  # without a rate nobody looks there
            if self._charged.get(slot) == self._began[slot]:
                self._used[slot] -= min(size, self._used[slot])

    def wait_seconds(self, slot: int, direction: int, rate: float) -> float:
        """After `take` gave nothing: how long to wait before asking again."""
        if not rate:
            return WAIT_SECONDS  # others have reserved the rest of the quota, and may give some of it back
        return max((1 - self._tokens[2 * slot + direction]) / rate, WAIT_SECONDS)

    def exhausted(self, slot: int, quota: int, quota_seconds: float, now_wall: float) -> bool:
        """Whether nothing is left of the quota (0: there is none) at `now_wall`. What others have reserved and will
        give back counts as used: ask again after a moment before ending a flow for it."""
        return 0 < quota <= self._used[slot] and abs(now_wall - self._began[slot]) < quota_seconds

    def used(self, slot: int) -> int:
        """Bytes charged to the user's quota since that began."""
        return self._used[slot]

    @contextmanager
    def _locked(self, byte: int) -> Iterator[None]:
        lockf(self._fd, LOCK_EX, 1, byte)
        try:
            yield
        finally:
            lockf(self._fd, LOCK_UN, 1, byte)


def _open_memory() -> int:
    """A file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sidedoor-ledger", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _open_file(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"state: {path}: cannot be opened: {error.strerror}; its folder must exist, and be writable for this user"
        ) from error


def _map(fd: int, path: str) -> mmap:
    """The file as memory; an empty one is filled first. Raises SettingsError."""
    try:
        lockf(fd, LOCK_EX, 1, _TABLE)
        try:
            if not os.fstat(fd).st_size:
                _fill(fd)
            size, header = os.fstat(fd).st_size, os.pread(fd, _HEADER.size, 0)
            if size == FILE_BYTES and header == _KNOWN:
                return mmap(fd, FILE_BYTES)
        finally:
            lockf(fd, LOCK_UN, 1, _TABLE)
    except OSError as error:
        raise SettingsError(f"state: {path}: cannot be used: {error.strerror}; choose another file") from error
    raise _misfit(path, f"{size} bytes that begin with {header[:12]!r}; expected {FILE_BYTES} and {_KNOWN[:12]!r}")


def _fill(fd: int) -> None:
    """Write all of it: memory over a hole in a file, on a disk that is full by then, would kill the process."""
    content = bytearray(FILE_BYTES)
    content[: len(_KNOWN)] = _KNOWN
    struct.pack_into("=Q", content, 8 * _COUNT, 1)  # UNNAMED
    view, done = memoryview(content), 0
    try:
        while done < FILE_BYTES:
            done += os.pwrite(fd, view[done:], done)
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, 0)
        raise


def _misfit(path: str, found: str) -> SettingsError:
    return SettingsError(
        f"state: {path}: is no state of this version of sidedoor: {found}; remove it (quotas begin anew), or choose "
        f"another file"
    )
