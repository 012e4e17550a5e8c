"""The origin's side of the proxy list: a file of signed documents, one a line, read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

from client.proxy_list import ListError, claimed, part_for
from sidedoor.events import Emit
from sidedoor.settings import SettingsError


class ListShelf:
    """What the origin passes on of the file at `path`. Raises SettingsError if that cannot be used at the start; later
    the documents stay what they were (event `proxy_list_unusable`). Signatures are the clients' to check."""

    def __init__(self, path: str, emit: Emit) -> None:
        self._path = Path(path)
        self._emit = emit
        self._documents: dict[int, bytes] = {}
        self._version = 0
        self._parts = 1
        self._seen: tuple[int, int, int] | None = None
        self._trouble = ""
        try:
            self._read()
        except (OSError, ListError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"proxy_list {path}: {reason}; `sidedoor client proxies sign` makes it") from error

    def document(self, known_version: int, address: str) -> bytes:
        """The document for a client at `address` that knows this version already; empty: it has nothing newer."""
        self._look()
        if self._version <= known_version:
            return b""
        return self._documents.get(part_for(address, self._parts), b"")

    def _look(self) -> None:
        try:
            self._read()
        except (OSError, ListError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._emit("proxy_list_unusable", file=str(self._path), detail=self._trouble)

    def _read(self) -> None:
        status = os.stat(self._path)
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return
        self._seen, self._trouble = seen, ""
        documents = [line for line in self._path.read_bytes().splitlines() if line.strip()]
        headers = [claimed(document) for document in documents]
        versions = {(header.version, header.parts) for header in headers}
        whole = sorted(header.part for header in headers) == list(range(len(headers)))
        if not headers or not whole or versions != {(headers[0].version, len(headers))}:
            raise ListError("malformed", "expected all parts of one version of a list, one a line")
        self._documents = {header.part: document for header, document in zip(headers, documents, strict=True)}
        self._version, self._parts = headers[0].version, headers[0].parts
        self._emit("proxy_list_loaded", version=self._version, parts=self._parts)
