"""The file that is sent: referred to by its path, size and SHA-256, not copied. It has to stay as it is meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from client.attachments.pieces import LIMIT_BYTES
from sidedoor.settings import UsageError

_BLOCK_BYTES = 1 << 20


class SourceChanged(Exception):
    """The file is not what it was when it was attached; the text says in what."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open file; `stamp`: what changes when somebody writes to it."""

    path: str
    size: int
    sha256: bytes
    descriptor: int
    stamp: tuple[int, int]

    def read(self, offset: int, count: int) -> bytes:
        """Raises SourceChanged."""
        try:
            facts = os.fstat(self.descriptor)
            data = os.pread(self.descriptor, count, offset)
        except OSError as error:
            raise SourceChanged(f"it cannot be read any more: {error.strerror}") from error
        if _stamp(facts) != self.stamp or len(data) < min(count, self.size - offset):
            raise SourceChanged("the file was changed while it was sent")
        return data

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self.descriptor)


def open_source(path: str) -> Source:
    """The file at `path`, read for its hash (0.2 s for 64 MB). Raises UsageError: no file, too large, unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # Opening a pipe may wait for ever.
    except OSError as error:
        raise UsageError(f"attachment {path}: cannot be read: {error.strerror}") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"attachment {path}: is not a file")
        if facts.st_size > LIMIT_BYTES:
            raise UsageError(f"attachment {path}: has {facts.st_size} bytes, and {LIMIT_BYTES} (64 MB) are the most")
        return Source(str(Path(path).absolute()), facts.st_size, _sha256(descriptor), descriptor, _stamp(facts))
    except OSError as error:
        os.close(descriptor)
        raise UsageError(f"attachment {path}: cannot be read: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise


def reopen_source(path: str, size: int, sha256: bytes) -> Source:
    """The file that an earlier life of the sender had attached. Raises SourceChanged."""
    try:
        source = open_source(path)
    except UsageError as error:
        raise SourceChanged(str(error)) from error
    if (source.size, source.sha256) != (size, sha256):
        source.close()
        raise SourceChanged("the file was changed before it was sent")
    return source


def _stamp(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def _sha256(descriptor: int) -> bytes:
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(descriptor, _BLOCK_BYTES, offset):
        digest.update(block)
        offset += len(block)
    return digest.digest()
