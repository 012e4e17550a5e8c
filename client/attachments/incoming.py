"""The receiver's attachments: pieces go into a `.part` file, which is verified and renamed when it is complete.

`take` is given the pieces of each session in order, and may be given one twice, when the receiver died before it noted
that it had it: then nothing happens. A refusal is a text for the sender; it goes back with the ack.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from client.attachments.pieces import Chunk, Offer, decode, safe_name
from client.state.receiving import Partial, ReceivingState
from sidedoor.events import Emit
from sidedoor.settings import UsageError

if TYPE_CHECKING:
    from hashlib import _Hash

NOT_TAKEN = "attachments are not taken here without --attachments DIR"
_BLOCK_BYTES = 1 << 20

Key = tuple[str, int]  # sender, session


class IncomingAttachments:
    """Attachments go to `folder`, made if it is not there; None: all are refused. Raises UsageError: it cannot be made
    or written.

    Events: attachment_offered, attachment_received, attachment_refused.
    """

    def __init__(self, folder: str | None, limit_bytes: int, state: ReceivingState, emit: Emit) -> None:
        self._made: list[Path] = []
        self._folder = None if folder is None else self._open(Path(folder))
        self._limit_bytes = limit_bytes
        self._state = state
        self._emit = emit
        self._partials: dict[Key, Partial] = {(partial.sender, partial.session): partial for partial in state.partials}
        self._digests: dict[Key, _Hash] = {}

    def abandon(self) -> None:
        """Remove the folder if it is new: its end does not come to life after all."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def take(self, sender: str, session: int, body: bytes) -> str:
        """One piece; why it is refused, empty if it is not."""
        try:
            piece = decode(body)
        except ValueError:
            return "it is no piece of an attachment"
        key = (sender, session)
        partial = self._partials.get(key)
        if partial is not None and partial.number != piece.number:
            partial = None
        if isinstance(piece, Offer):
            return self._offered(key, piece) if partial is None else partial.refusal
        if isinstance(piece, Chunk):
            return "its beginning is not known here" if partial is None else self._chunk(key, partial, piece)
        if partial is not None:
            self._give_up(key, partial, f"the sender takes it back: {piece.reason}")
        return ""

    def refusal(self, sender: str, session: int) -> str:
        """Why the attachment that came last is refused; empty if it is not. For pieces that come once more."""
        partial = self._partials.get((sender, session))
        return "" if partial is None else partial.refusal

    def _open(self, folder: Path) -> Path:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"attachments_folder {folder}: cannot be made: {error.strerror}") from error
        self._made = missing
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.abandon()
            raise UsageError(f"attachments_folder {folder}: cannot be written: {error.strerror}") from error
        return folder

    def _offered(self, key: Key, offer: Offer) -> str:
        for other, earlier in list(self._partials.items()):
            if other[0] == key[0]:
                self._give_up(other, earlier, "the sender begins another one")
                self._forget(other)
        name = safe_name(offer.name)
        part = f"{name}.{key[1] % 2**32:08x}-{offer.number}.part"
        partial = Partial(key[0], key[1], offer.number, name, offer.size, offer.sha256, part)
        self._emit("attachment_offered", sender=key[0], name=name, bytes=offer.size)
        if self._folder is None:
            return self._give_up(key, partial, NOT_TAKEN)
        if offer.size > self._limit_bytes:
            return self._give_up(
                key, partial, f"it has {offer.size} bytes, and {self._limit_bytes} are the most that are taken here"
            )
        try:
            (self._folder / part).write_bytes(b"")
        except OSError as error:
            return self._give_up(key, partial, f"it cannot be written: {error.strerror}")
        self._digests[key] = hashlib.sha256()
        self._put(key, partial)
        return self._complete(key, partial) if not offer.size else ""

    def _chunk(self, key: Key, partial: Partial, chunk: Chunk) -> str:
        if partial.done or partial.refusal:
            return partial.refusal
        if self._folder is None:
            return self._give_up(key, partial, NOT_TAKEN)
        end = chunk.offset + len(chunk.data)
        if end > partial.received:
            if chunk.offset != partial.received or end > partial.size:
                return self._give_up(key, partial, "its pieces do not fit together")
            try:
                self._append(key, partial, chunk.data)
            except OSError as error:
                return self._give_up(key, partial, f"it cannot be written: {error.strerror}")
            partial = self._put(key, msgspec.structs.replace(partial, received=end))
        return self._complete(key, partial) if partial.received == partial.size else ""

    def _append(self, key: Key, partial: Partial, data: bytes) -> None:
        """At its place, whatever the file has behind it from a life that ended before it noted so."""
        assert self._folder is not None
        with open(self._folder / partial.part, "r+b") as file:
            digest = self._digest(key, partial)
            file.seek(partial.received)
            file.write(data)
        digest.update(data)

    def _digest(self, key: Key, partial: Partial) -> _Hash:
        """Of what was received; read from the file after a restart. Raises OSError when the file has less than that."""
        assert self._folder is not None
        if key not in self._digests:
            digest, left = hashlib.sha256(), partial.received
            with open(self._folder / partial.part, "rb") as file:
                while left and (block := file.read(min(left, _BLOCK_BYTES))):
                    digest.update(block)
                    left -= len(block)
            if left:
                raise OSError(0, "its .part file was changed")
            self._digests[key] = digest
        return self._digests[key]

    def _complete(self, key: Key, partial: Partial) -> str:
        """Verify and rename. The name is noted before: who dies in between finds the file under one of the two."""
        assert self._folder is not None
        try:
            if not partial.final:
                if self._digest(key, partial).digest() != partial.sha256:
                    return self._give_up(key, partial, "its SHA-256 is not the one that was announced")
                os.truncate(self._folder / partial.part, partial.size)
                partial = self._put(key, msgspec.structs.replace(partial, final=self._free_name(partial.name)))
            if (self._folder / partial.part).exists():
                (self._folder / partial.part).rename(self._folder / partial.final)
        except OSError as error:
            return self._give_up(key, partial, f"it cannot be written: {error.strerror}")
        self._digests.pop(key, None)
        self._put(key, msgspec.structs.replace(partial, done=True))
        path = str(self._folder / partial.final)
        self._emit("attachment_received", sender=key[0], name=partial.name, path=path, bytes=partial.size)
        return ""

    def _free_name(self, name: str) -> str:
        """The name, or with a number if there is a file of this name."""
        assert self._folder is not None
        stem, dot, ending = name.rpartition(".")
        stem, ending = (stem, dot + ending) if dot else (name, "")
        taken = 1
        while (self._folder / name).exists():
            taken += 1
            name = f"{stem} ({taken}){ending}"
        return name

    def _give_up(self, key: Key, partial: Partial, reason: str) -> str:
        """Refuse it from now on, unless it is over already; no more of it is kept. Returns the reason."""
        if partial.done or partial.refusal:
            return partial.refusal
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / partial.part).unlink(missing_ok=True)
        self._digests.pop(key, None)
        self._put(key, msgspec.structs.replace(partial, refusal=reason))
        self._emit("attachment_refused", sender=key[0], name=partial.name, reason=reason)
        return reason

    def _put(self, key: Key, partial: Partial) -> Partial:
        self._partials[key] = partial
        self._state.put_partial(partial)
        return partial

    def _forget(self, key: Key) -> None:
        del self._partials[key]
        self._digests.pop(key, None)
        self._state.remove_partial(*key)
