from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from client.attachments import source as module
from client.attachments.source import SourceChanged, open_source, reopen_source
from sidedoor.settings import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"0123456789")
    return path


def test_a_file_is_read_in_pieces(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 3)
    monkeypatch.chdir(file.parent)
    source = open_source("letter.txt")
    assert (source.path, source.size) == (str(file), 10)
    assert source.sha256 == hashlib.sha256(b"0123456789").digest()
    assert (source.read(0, 4), source.read(8, 4)) == (b"0123", b"89")
    source.close()


@pytest.mark.parametrize("text", [b"012345678", b"01234567890", b"9876543210"], ids=["shorter", "longer", "as long"])
def test_a_file_that_is_changed_meanwhile_is_noticed(file: Path, text: bytes) -> None:
    source = open_source(str(file))
    file.write_bytes(text)
    os.utime(file, ns=(1, 1))
    with pytest.raises(SourceChanged, match="was changed while"):
        source.read(0, 4)
    source.close()
    with pytest.raises(SourceChanged, match="was changed before"):
        reopen_source(str(file), 10, hashlib.sha256(b"0123456789").digest())


def test_a_file_that_is_the_same_goes_on(file: Path) -> None:
    first = open_source(str(file))
    os.utime(file, ns=(1, 1))
    second = reopen_source(str(file), first.size, first.sha256)
    assert second.read(0, 10) == b"0123456789"
    first.close()
    second.close()


def test_a_file_that_cannot_be_read_any_more(file: Path) -> None:
    source = open_source(str(file))
    source.close()
    with pytest.raises(SourceChanged, match="cannot be read any more"):
        source.read(0, 1)
    file.unlink()
    with pytest.raises(SourceChanged, match=r"letter.txt: cannot be read: No such file"):
        reopen_source(str(file), 10, b"")


def test_what_is_no_attachment(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_BYTES", 9)
    with pytest.raises(UsageError, match=r"letter.txt: has 10 bytes, and 9 \(64 MB\) are the most"):
        open_source(str(file))
    with pytest.raises(UsageError, match="is not a file"):
        open_source(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file"):
        open_source(str(tmp_path / "pipe"))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        open_source(str(tmp_path / "nowhere"))


def test_a_file_that_fails_while_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(UsageError, match="cannot be read: Input/output error"):
        open_source(str(file))
