"""Files that only this user can read, and that are always whole: the old content or the new, whenever a crash comes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from sidedoor.settings import SettingsError


def check_folder(path: str | Path, setting: str) -> None:
    """Whether `replace` can have a place for the file that `setting` names. Raises SettingsError."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise SettingsError(f"{setting} {path}: there is no folder {folder}; make it or name another file")


def replace(path: str | Path, content: bytes) -> None:
    """Put `content` into the file at `path`, mode 0600. Raises OSError, and then all is as before.

    No fsync(2), which can hold up the event loop for a second: after a crash of the machine, not of this program, there
    may be an empty file. Whoever reads must live with that.
    """
    folder, name = os.path.split(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
