"""One state file for one process: an SQLite database (WAL), with a lock beside it and checkpoints in a thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from sidedoor.settings import UsageError

APPLICATION_ID = 0x53446F72
"""In the header of each state file ("SDor"; SQLite's `PRAGMA application_id`)."""
FORMAT = 1
CHECKPOINT_COMMITS = 2000
"""Commits between two checkpoints. A checkpoint waits for the disk, so it is not for the thread of the event loop."""
LOG_LIMIT_BYTES = 32 << 20
"""A log that is longer is moved even if the writer has to wait for it."""
_PAGE_BYTES = 4096  # SQLite's default.

_META = "CREATE TABLE meta (owner TEXT NOT NULL)"


class StateFile:
    """The database at `path`, made if there is none; in memory if `path` is None.

    `owner` says whose it is, as "sender alice to bob"; `schema`: its CREATE statements. Raises UsageError: the file is
    in use, is no state file, belongs to another end or is of a newer format, or cannot be read or written.
    """

    def __init__(self, path: str | None, owner: str, schema: str) -> None:
        self._path = path
        self._commits = 0
        self._checkpoint: threading.Thread | None = None
        self._made: list[str] = []  # the files that were not there before
        self._lock = None if path is None else self._take_lock(path)
        try:
            with self._told("cannot be used"):
                self._database = self._open(owner, schema)
        except BaseException:
            self._remove_made()
            self._unlock()
            raise

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement; outside a `transaction`, one that is committed when this returns. Raises UsageError."""
        with self._told("cannot be written"):
            cursor = self._database.execute(statement, values)
        if not self._database.in_transaction:
            self._count()
        return cursor

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements within are committed together, or none if an exception leaves it. Raises UsageError."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite has ended it itself when the disk is full.
                self._database.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Leave the file whole, without its log, and let others have it."""
        if self._checkpoint is not None:
            self._checkpoint.join()
        self._database.close()
        self._unlock()

    def abandon(self) -> None:
        """Close it, and remove it if it is new: its end does not come to life after all."""
        self._database.close()
        self._remove_made()
        self._unlock()

    def _take_lock(self, path: str) -> int:
        with _translated(f"state_file {path}: cannot be used"):
            lock, is_new = _lock(path)
        if is_new:
            self._made.append(f"{path}.lock")
        return lock

    def _open(self, owner: str, schema: str) -> sqlite3.Connection:
        if self._path is not None:
            descriptor, is_new = _opened(self._path)
            os.close(descriptor)
            if is_new:
                self._made.append(self._path)
        database = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=1.0)
        try:
            # Before anything is written: the file may be another program's.
            if not self._is_new(database):
                self._check(database, owner)
            elif self._path is None:
                _create(database, owner, schema)
            else:
                database.execute("PRAGMA journal_mode = WAL")
                _create(database, owner, schema)
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            database.close()
            raise
        return database

    def _is_new(self, database: sqlite3.Connection) -> bool:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        return not tables and not application

    def _check(self, database: sqlite3.Connection, owner: str) -> None:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (format_,) = database.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise UsageError(f"state_file {self._path}: is a database of another program; name another file")
        if format_ != FORMAT:
            raise UsageError(
                f"state_file {self._path}: is of format {format_}, and this version knows {FORMAT} only; "
                "use the version that wrote it, or name another file"
            )
        (found,) = database.execute("SELECT owner FROM meta").fetchone()
        if found != owner:
            raise UsageError(f"state_file {self._path}: belongs to {found}, not to {owner}; name another file")

    def _count(self) -> None:
        self._commits += 1
        if self._path is None or self._commits < CHECKPOINT_COMMITS:
            return
        if self._checkpoint is not None and self._checkpoint.is_alive():
            return
        self._commits = 0
        self._checkpoint = threading.Thread(target=_checkpoint, args=(self._path,), name="checkpoint", daemon=True)
        self._checkpoint.start()

    def _told(self, what: str) -> AbstractContextManager[None]:
        return _translated(f"state_file {self._path}: {what}")

    def _remove_made(self) -> None:
        """While it is locked."""
        for path in self._made:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise UsageError(f"{what}: {error}") from error


def _create(database: sqlite3.Connection, owner: str, schema: str) -> None:
    """All in one transaction: a file that is cut short is a new one."""
    database.execute("BEGIN")
    for statement in (_META, *filter(None, (text.strip() for text in schema.split(";")))):
        database.execute(statement)
    database.execute("INSERT INTO meta VALUES (?)", (owner,))
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")


def _opened(path: str) -> tuple[int, bool]:
    """A descriptor of the file, and whether it is new. Raises OSError."""
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_EXCL, 0o600), True
    except FileExistsError:
        return os.open(path, flags, 0o600), False


def _lock(path: str) -> tuple[int, bool]:
    """A lock on a file beside it, which ends with the process, and whether that file is new. Not on the file itself:
    SQLite has locks there. Raises OSError; UsageError: another process has it."""
    while True:
        lock, is_new = _opened(f"{path}.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            raise UsageError(
                f"state_file {path}: in use by another process" + (f" (pid {holder})" if holder else "")
            ) from error
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)  # Whoever had made it was refused and has removed it meanwhile: it locks nobody out.
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock, is_new


def _checkpoint(path: str) -> None:
    """Move what the log has into the database.

    The log begins anew if nothing was added meanwhile, as between messages that a person writes. One that grew long
    under a steady load is moved once more with the writer waiting until the disk has it, some 10 ms.
    """
    try:
        database = sqlite3.connect(path, isolation_level=None)
        try:
            _, frames, _ = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames * _PAGE_BYTES > LOG_LIMIT_BYTES:
                database.execute("PRAGMA wal_checkpoint(RESTART)")
        finally:
            database.close()
    except sqlite3.Error:
        pass  # A full disk, say: the writer is told by its own statements.
