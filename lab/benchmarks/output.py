"""The files that a benchmark is asked to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sidedoor.settings import UsageError


def check_folders(paths: dict[str, str | None]) -> None:
    """Before anything is measured: option -> path, None where it is not given. Raises UsageError."""
    for option, path in paths.items():
        if path and not Path(path).resolve().parent.is_dir():
            raise UsageError(f"{option}: {path}: there is no such folder")


def write_files(wanted: list[tuple[str, str | None, Callable[[], str]]]) -> None:
    """(option, path, what makes the text); nothing is made where the path is None. Raises UsageError."""
    for option, path, text in wanted:
        if path:
            try:
                Path(path).write_text(text(), encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{option}: {path}: cannot be written: {error.strerror}") from error
