"""The sender's queue on disk: what has no ack yet, and under which sessions and ids it goes.

A life of the sender that finds something unfinished goes on with the session and the ids of the one before, so that the
receiver knows the copies; else it begins a new session. A lane's session is its own.

After a reboot the end of the file may be missing (a power failure), ids included that were given and sent: to go on
with them would give a second message an id that the receiver has shown. So what is in the file goes out under a new
session then; a message that was shown before the power failed may be shown again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from client.messages import ATTACHMENTS, MESSAGES
from client.state.file import StateFile

_SCHEMA = """
CREATE TABLE boot (id TEXT NOT NULL);
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, session INTEGER NOT NULL, acked_id INTEGER, used_id INTEGER);
CREATE TABLE messages (id INTEGER PRIMARY KEY, queued_at REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE attachments (
    number INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 BLOB NOT NULL, first_id INTEGER NOT NULL, failure TEXT NOT NULL
)
"""


class QueuedMessage(msgspec.Struct, frozen=True):
    """A message without an ack, `age_seconds` old."""

    id: int
    age_seconds: float
    body: bytes


class QueuedAttachment(msgspec.Struct, frozen=True):
    """An attachment that is not done. `path`: absolute; `first_id`: of its offer, 0: it has not begun; `failure`: why
    it is to be taken back, empty: it is not."""

    number: int
    path: str
    name: str
    size: int
    sha256: bytes
    first_id: int
    failure: str


class Lane(msgspec.Struct, frozen=True):
    """A lane as the earlier life left it: its session, the last id that was acknowledged, the last that was given."""

    session: int
    acked_id: int
    used_id: int


def boot_id() -> str:
    """What tells this boot of the machine from others; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SendingState:
    """The queue in the file at `path` (None: in memory). Raises UsageError, each of its calls included (`StateFile`).

    `draw` gives session numbers: random, 63 bits. `wall`: seconds since the epoch, so that ages span lives.
    """

    def __init__(
        self,
        path: str | None,
        *,
        name: str,
        peer: str,
        draw: Callable[[], int],
        boot: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._file = StateFile(path, f"sender {name} to {peer}", _SCHEMA)
        self._wall = wall
        try:
            with self._file.transaction():
                rebooted = self._rebooted(boot)
                self.messages_lane = self._messages_lane(draw, rebooted)
                self.attachments_lane = self._attachments_lane(draw, rebooted)
        except BaseException:
            self._file.close()
            raise

    @property
    def messages(self) -> list[QueuedMessage]:
        """What is queued, in order of ids, without gaps."""
        rows = self._file.execute("SELECT id, queued_at, body FROM messages ORDER BY id")
        now = self._wall()
        return [QueuedMessage(id_, max(0.0, now - queued_at), body) for id_, queued_at, body in rows]

    def add_message(self, id_: int, body: bytes) -> None:
        """On disk when this returns."""
        self._file.execute("INSERT INTO messages VALUES (?, ?, ?)", (id_, self._wall(), body))

    def remove_messages(self, id_: int) -> None:
        """All up to this id have their ack."""
        self._file.execute("DELETE FROM messages WHERE id <= ?", (id_,))

    @property
    def attachments(self) -> list[QueuedAttachment]:
        """Those not done, in order."""
        rows = self._file.execute(
            "SELECT number, path, name, size, sha256, first_id, failure FROM attachments ORDER BY number"
        )
        return [QueuedAttachment(*row) for row in rows]

    def add_attachment(self, path: str, name: str, size: int, sha256: bytes) -> int:
        """Returns its number."""
        cursor = self._file.execute(
            "INSERT INTO attachments (path, name, size, sha256, first_id, failure) VALUES (?, ?, ?, ?, 0, '')",
            (path, name, size, sha256),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def begin_attachment(self, number: int, first_id: int) -> None:
        """Its offer has this id."""
        self._file.execute("UPDATE attachments SET first_id = ? WHERE number = ?", (first_id, number))

    def fail_attachment(self, number: int, failure: str) -> None:
        """It is to be taken back."""
        self._file.execute("UPDATE attachments SET failure = ? WHERE number = ?", (failure, number))

    def remove_attachment(self, number: int) -> None:
        """It is done."""
        self._file.execute("DELETE FROM attachments WHERE number = ?", (number,))

    def use_piece(self, id_: int) -> None:
        """This id of the attachments' lane is given, before anything goes out under it."""
        self._file.execute("UPDATE lanes SET used_id = ? WHERE lane = ?", (id_, ATTACHMENTS))

    def acked_piece(self, id_: int) -> None:
        """All up to this id of the attachments' lane have their ack."""
        self._file.execute("UPDATE lanes SET acked_id = ? WHERE lane = ?", (id_, ATTACHMENTS))

    def close(self) -> None:
        """Let others have the file."""
        self._file.close()

    def _rebooted(self, boot: str) -> bool:
        row = self._file.execute("SELECT id FROM boot").fetchone()
        self._file.execute("DELETE FROM boot")
        self._file.execute("INSERT INTO boot VALUES (?)", (boot,))
        return row is not None and row[0] != boot

    def _messages_lane(self, draw: Callable[[], int], rebooted: bool) -> Lane:
        queued = self.messages
        session = self._session(MESSAGES)
        if queued and session is not None and not rebooted:
            return Lane(session, queued[0].id - 1, queued[-1].id)
        if queued:
            self._file.execute("UPDATE messages SET id = id - ?", (queued[0].id - 1,))
        return Lane(self._begin(MESSAGES, draw()), 0, len(queued))

    def _attachments_lane(self, draw: Callable[[], int], rebooted: bool) -> Lane:
        session = self._session(ATTACHMENTS)
        if self.attachments and session is not None and not rebooted:
            row = self._file.execute("SELECT acked_id, used_id FROM lanes WHERE lane = ?", (ATTACHMENTS,)).fetchone()
            return Lane(session, *row)
        self._file.execute("UPDATE attachments SET first_id = 0")
        return Lane(self._begin(ATTACHMENTS, draw()), 0, 0)

    def _session(self, lane: int) -> int | None:
        row = self._file.execute("SELECT session FROM lanes WHERE lane = ?", (lane,)).fetchone()
        return None if row is None else row[0]

    def _begin(self, lane: int, session: int) -> int:
        self._file.execute("INSERT OR REPLACE INTO lanes VALUES (?, ?, 0, 0)", (lane, session))
        return session
