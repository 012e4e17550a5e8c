from __future__ import annotations

import os
from pathlib import Path

import pytest

from client import private_file
from sidedoor.settings import SettingsError


def test_the_old_content_or_the_new_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as reader:
        private_file.replace(path, b"new")
        assert reader.read() == b"old"  # Who has it open reads on in the old one.
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        private_file.replace(tmp_path / "folder", b"new")
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(FileNotFoundError):
        private_file.replace(tmp_path / "missing" / "file", b"new")


def test_the_folder_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    private_file.check_folder("file", "memory_file")
    with pytest.raises(SettingsError, match=r"memory_file no/file: there is no folder .*/no; make it or name another"):
        private_file.check_folder("no/file", "memory_file")
