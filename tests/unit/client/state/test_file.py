from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.state import file as module
from client.state.file import StateFile
from sidedoor.settings import UsageError

SCHEMA = "CREATE TABLE things (id INTEGER PRIMARY KEY, thing TEXT); CREATE TABLE others (id INTEGER)"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


@pytest.fixture
def state(path: str) -> Iterator[StateFile]:
    state = StateFile(path, "sender alice to bob", SCHEMA)
    yield state
    state.close()


def things(state: StateFile) -> list[str]:
    return [thing for (thing,) in state.execute("SELECT thing FROM things ORDER BY id")]


def add(state: StateFile, thing: str) -> None:
    state.execute("INSERT INTO things (thing) VALUES (?)", (thing,))


def test_what_is_committed_is_there_in_the_next_life_and_for_its_owner_only(path: str) -> None:
    first = StateFile(path, "sender alice to bob", SCHEMA)
    add(first, "kept")
    first.close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    second = StateFile(path, "sender alice to bob", SCHEMA)
    assert things(second) == ["kept"]
    second.close()


def test_a_transaction_is_kept_whole_or_not_at_all(state: StateFile) -> None:
    with state.transaction():
        add(state, "a")
        add(state, "b")

    def half() -> None:
        with state.transaction():
            add(state, "c")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert things(state) == ["a", "b"]


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "CHECKPOINT_COMMITS", 1)
    state = StateFile(None, "receiver bob", SCHEMA)
    add(state, "a")
    assert things(state) == ["a"]
    state.close()
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time(state: StateFile, path: str) -> None:
    with pytest.raises(UsageError, match=rf"state.db: in use by another process \(pid {os.getpid()}\)"):
        StateFile(path, "sender alice to bob", SCHEMA)
    add(state, "the first one is not disturbed")


def test_a_lock_without_a_pid_is_one_too(state: StateFile, path: str) -> None:
    Path(f"{path}.lock").write_text("")
    with pytest.raises(UsageError, match=r"in use by another process$"):
        StateFile(path, "sender alice to bob", SCHEMA)


def test_another_ends_file_is_refused(path: str) -> None:
    StateFile(path, "sender alice to bob", SCHEMA).close()
    with pytest.raises(UsageError, match="belongs to sender alice to bob, not to receiver bob"):
        StateFile(path, "receiver bob", SCHEMA)
    StateFile(path, "sender alice to bob", SCHEMA).close()


def test_another_programs_database_is_refused_and_left_alone(path: str) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (id INTEGER)")
    database.close()
    before = Path(path).read_bytes()
    with pytest.raises(UsageError, match="another program"):
        StateFile(path, "receiver bob", SCHEMA)
    assert Path(path).read_bytes() == before


def test_a_newer_format_is_refused(path: str) -> None:
    StateFile(path, "receiver bob", SCHEMA).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(UsageError, match="is of format 7, and this version knows 1 only"):
        StateFile(path, "receiver bob", SCHEMA)


def test_what_is_no_database_is_refused(path: str) -> None:
    Path(path).write_bytes(b"a letter to a friend\n" * 100)
    with pytest.raises(UsageError, match="cannot be used: file is not a database"):
        StateFile(path, "receiver bob", SCHEMA)


def test_a_folder_that_is_not_there_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be used: No such file"):
        StateFile(str(tmp_path / "nowhere" / "state.db"), "receiver bob", SCHEMA)
    with pytest.raises(UsageError, match="cannot be used: Is a directory"):
        StateFile(str(tmp_path), "receiver bob", SCHEMA)


def test_who_is_refused_leaves_what_was_there_and_no_more(tmp_path: Path, path: str) -> None:
    Path(path).write_bytes(b"a letter to a friend\n" * 100)
    with pytest.raises(UsageError, match="cannot be used: file is not a database"):
        StateFile(path, "receiver bob", SCHEMA)
    assert list(tmp_path.iterdir()) == [Path(path)]


def test_who_cannot_begin_leaves_nothing(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="cannot be used: near"):
        StateFile(path, "receiver bob", "CREATE NONSENSE")
    assert not list(tmp_path.iterdir())


def test_what_is_abandoned_is_removed_if_it_is_new(tmp_path: Path, path: str) -> None:
    StateFile(path, "receiver bob", SCHEMA).abandon()
    assert not list(tmp_path.iterdir())
    StateFile(path, "receiver bob", SCHEMA).close()
    before = sorted(tmp_path.iterdir())
    StateFile(path, "receiver bob", SCHEMA).abandon()
    assert sorted(tmp_path.iterdir()) == before == [Path(path), Path(f"{path}.lock")]


def test_a_lock_that_another_one_has_removed_meanwhile_is_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one had made the file, was refused, and removed it between this one's open and flock."""
    flock = fcntl.flock
    locked: list[int] = []

    def remove_first(descriptor: int, operation: int) -> None:
        if not locked:
            os.unlink(f"{path}.lock")
        locked.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    state = StateFile(path, "sender alice to bob", SCHEMA)
    assert len(locked) == 2
    with pytest.raises(UsageError, match="in use by another process"):
        StateFile(path, "sender alice to bob", SCHEMA)
    state.close()


def test_a_full_disk_is_told_and_what_was_there_stays(state: StateFile) -> None:
    add(state, "kept")
    (pages,) = state.execute("PRAGMA page_count").fetchone()
    state.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UsageError, match="cannot be written: database or disk is full"), state.transaction():
        add(state, "x" * 100_000)
    assert things(state) == ["kept"]


def test_checkpoints_keep_the_log_short(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_COMMITS", 10)
    state = StateFile(path, "receiver bob", SCHEMA)
    for _ in range(500):
        add(state, "x" * 1000)
        if state._checkpoint is not None:
            state._checkpoint.join()
    assert os.path.getsize(f"{path}-wal") < 200_000
    assert len(things(state)) == 500
    state.close()
    assert not os.path.exists(f"{path}-wal")


@pytest.mark.parametrize(("limit_bytes", "waits"), [(1 << 20, False), (1 << 10, True)], ids=["short", "long"])
def test_only_a_log_that_grew_long_makes_the_writer_wait(
    path: str, monkeypatch: pytest.MonkeyPatch, limit_bytes: int, waits: bool
) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT_BYTES", limit_bytes)
    state = StateFile(path, "receiver bob", SCHEMA)
    add(state, "x")
    statements: list[str] = []

    class Told(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            statements.append(sql)
            return super().execute(sql, *arguments)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **options: connect(*a, **options, factory=Told))
    module._checkpoint(path)
    assert ("PRAGMA wal_checkpoint(RESTART)" in statements) is waits
    state.close()


def test_a_checkpoint_at_a_time_and_one_that_fails_is_left(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(threading.Thread):
        def is_alive(self) -> bool:
            return True

        def join(self, timeout: float | None = None) -> None: ...

    monkeypatch.setattr(module, "CHECKPOINT_COMMITS", 1)
    state = StateFile(path, "receiver bob", SCHEMA)
    endless = Endless()
    monkeypatch.setattr(state, "_checkpoint", endless)
    add(state, "x")
    assert state._checkpoint is endless
    state.close()
    module._checkpoint("/proc/nowhere/state.db")
