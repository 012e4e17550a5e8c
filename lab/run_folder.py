"""A run's folder: made or emptied, the results that lie in it moved aside, and locked while the run goes on.

The lock is flock(2) on the folder itself: it leaves no file, and goes with its process however that ends.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidedoor.settings import UsageError

_KNOWN = frozenset({"summary.json", "events.jsonl", "ooni.jsonl", "report.html", "capture", "logs"})


@dataclass(frozen=True, slots=True)
class RunFolder:
    """An empty run folder. `moved`: what became of the results that lay there, in words, or None."""

    path: Path
    moved: str | None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[RunFolder]:
    """A run folder at `path` that nobody else writes to meanwhile.

    What an earlier run left goes; if it left results, all of it is kept in `NAME.previous`, in place of what lies
    there. Raises UsageError for a folder of anything but runs, one that is in use, and one that cannot be made.
    """
    lock = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        folder = _locked(path, lock)
    except OSError as error:
        _close(lock)
        raise UsageError(f"{path}: cannot be made a run's folder: {error.strerror}; name another with --out") from error
    except BaseException:
        _close(lock)
        raise
    try:
        yield folder
    finally:
        _close(lock)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _locked(path: Path, lock: int) -> RunFolder:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{path}: another run is writing to it; wait for it, or name another with --out") from None
    resolved = path.resolve()
    _check(path)
    moved = _move_aside(path, resolved) if (path / "summary.json").exists() else None
    _empty(path)
    (path / "capture").mkdir()
    (path / "logs").mkdir()
    return RunFolder(resolved, moved)


def _check(path: Path) -> None:
    """Raises UsageError for a folder with anything in it that no run has left."""
    found = {entry.name: entry for entry in path.iterdir()}
    strange = found.keys() - _KNOWN
    if not strange and "events.jsonl" not in found:  # every run that did anything has left its events
        strange = {name for name, entry in found.items() if not entry.is_dir() or any(entry.iterdir())}
    if strange:
        raise UsageError(f"{path}: is not a run's folder ({sorted(strange)[0]} is in it); name another with --out")


def _move_aside(path: Path, resolved: Path) -> str:
    """The contents, not the folder: it may be a link, somebody's working folder, and it is locked."""
    written = datetime.datetime.fromtimestamp((path / "summary.json").stat().st_mtime)
    previous = resolved.with_name(f"{resolved.name}.previous")
    previous.mkdir(exist_ok=True)
    _check(previous)
    _empty(previous)
    for entry in path.iterdir():
        entry.rename(previous / entry.name)
    shown = previous if path.is_absolute() else os.path.relpath(previous)
    return f"the results of {written:%Y-%m-%d %H:%M} that were in {path} are in {shown} now"


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
