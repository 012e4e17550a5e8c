"""The receiver's memory on disk: up to where each session was taken, and what its application has not confirmed yet.

A message is recorded, with its session's next id, before it is handed out; it is forgotten when the application has
confirmed it. A receiver that dies in between hands it out again, under the same position. Positions only grow, so that
an application that keeps the last position together with what it made of the message has each message exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from client.messages import Message
from client.state.file import StateFile

SESSION_LIMIT = 1024
"""Sessions remembered; the one unused for longest is forgotten first."""

_SCHEMA = """
CREATE TABLE sessions (
    sender TEXT NOT NULL, session INTEGER NOT NULL, next_id INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (sender, session)
) WITHOUT ROWID;
CREATE INDEX sessions_by_use ON sessions (used);
CREATE TABLE inbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, sender TEXT NOT NULL, session INTEGER NOT NULL, id INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE partials (
    sender TEXT NOT NULL, session INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 BLOB NOT NULL, part TEXT NOT NULL, received INTEGER NOT NULL, final TEXT NOT NULL,
    done INTEGER NOT NULL, refusal TEXT NOT NULL, PRIMARY KEY (sender, session)
) WITHOUT ROWID
"""


class Recorded(msgspec.Struct, frozen=True):
    """A message that the application has not confirmed."""

    position: int
    sender: str
    session: int
    id: int
    body: bytes


class Partial(msgspec.Struct, frozen=True):
    """The attachment that came last in a session: its first `received` bytes are in the file `part`.

    `final`: what it is to be called once it is verified, empty before. Both are names in the attachments' folder.
    `done`: it is there; `refusal`: why it is not taken, empty if it is.
    """

    sender: str
    session: int
    number: int
    name: str
    size: int
    sha256: bytes
    part: str
    received: int = 0
    final: str = ""
    done: bool = False
    refusal: str = ""


class ReceivingState:
    """The memory in the file at `path` (None: in memory). Raises UsageError, each of its calls included."""

    def __init__(self, path: str | None, *, name: str) -> None:
        self._file = StateFile(path, f"receiver {name}", _SCHEMA)
        try:
            (self._used,) = self._file.execute("SELECT coalesce(max(used), 0) FROM sessions").fetchone()
        except BaseException:
            self._file.close()
            raise

    def next_id(self, sender: str, session: int) -> int:
        """The lowest id that was not taken; 1 for a session that is not known."""
        row = self._file.execute(
            "SELECT next_id FROM sessions WHERE sender = ? AND session = ?", (sender, session)
        ).fetchone()
        return 1 if row is None else row[0]

    def record(self, messages: Sequence[Message], next_id: int) -> list[int]:
        """These messages of one session are about to be handed out; their positions."""
        first = messages[0]
        with self._file.transaction():
            positions = [
                self._file.execute(
                    "INSERT INTO inbox (sender, session, id, body) VALUES (?, ?, ?, ?)",
                    (message.sender, message.session, message.id, message.body),
                ).lastrowid
                or 0
                for message in messages
            ]
            self.advance(first.sender, first.session, next_id)
        return positions

    def advance(self, sender: str, session: int, next_id: int) -> None:
        """All below `next_id` was taken."""
        self._used += 1
        known = self._file.execute(
            "UPDATE sessions SET next_id = ?, used = ? WHERE sender = ? AND session = ?",
            (next_id, self._used, sender, session),
        ).rowcount
        if not known:
            self._file.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (sender, session, next_id, self._used))
            self._file.execute(
                "DELETE FROM sessions WHERE (sender, session) IN "
                "(SELECT sender, session FROM sessions ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (SESSION_LIMIT,),
            )

    def confirm(self, position: int) -> None:
        """The application has taken all up to this position."""
        self._file.execute("DELETE FROM inbox WHERE position <= ?", (position,))

    @property
    def unconfirmed(self) -> list[Recorded]:
        """What was recorded and not confirmed, in order."""
        rows = self._file.execute("SELECT position, sender, session, id, body FROM inbox ORDER BY position")
        return [Recorded(*row) for row in rows]

    @property
    def partials(self) -> list[Partial]:
        """All of them."""
        rows = self._file.execute(
            "SELECT sender, session, number, name, size, sha256, part, received, final, done, refusal FROM partials"
        )
        return [Partial(*(*row[:9], bool(row[9]), row[10])) for row in rows]

    def put_partial(self, partial: Partial) -> None:
        """New, or as it is now."""
        self._file.execute(
            "INSERT OR REPLACE INTO partials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(partial)
        )

    def remove_partial(self, sender: str, session: int) -> None:
        """Another one takes its place."""
        self._file.execute("DELETE FROM partials WHERE sender = ? AND session = ?", (sender, session))

    def close(self) -> None:
        """Let others have the file."""
        self._file.close()

    def abandon(self) -> None:
        """As `StateFile.abandon`."""
        self._file.abandon()
