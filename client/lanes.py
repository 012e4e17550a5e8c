"""What the sender has to send: its messages and, behind them, its attachments; queued on disk, sealed as it goes out.

Each lane is a session with ids of its own. To the policy a piece of an attachment is the negative of its id, so that no
two things have one number; pieces are never sent as hedges, which are for messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.attachments.lane import AttachmentLane
from client.attachments.pieces import CHUNK_BYTES
from client.attachments.source import Source
from client.attachments.window import PieceWindow
from client.delivery import Entry, Outbox
from client.encryption import Encryption
from client.messages import ATTACHMENTS, MESSAGES, Accepted, Ack, Message
from client.settings import SenderSettings
from client.state.sending import SendingState
from sidedoor.events import Emit


@dataclass(frozen=True, slots=True)
class Due:
    """What goes out by a connection now. `number`: the policy's; `attempt`: 1 for the first copy."""

    number: int
    attempt: int
    message: Message


class Lanes:
    """The two lanes of one sender. `now` is on the monotonic clock, in seconds. Raises UsageError as `SendingState`."""

    def __init__(
        self, settings: SenderSettings, state: SendingState, encryption: Encryption | None, emit: Emit, now: float
    ) -> None:
        self._settings = settings
        self._state = state
        self._encryption = encryption
        lane = state.messages_lane
        self._session = lane.session
        self._outbox = Outbox(
            window_messages=settings.window_messages, limit_messages=settings.limit_messages, last_id=lane.acked_id
        )
        for queued in state.messages:
            self._outbox.restore(queued.body, now - queued.age_seconds)
        most = max(1, settings.attachment_window_bytes // CHUNK_BYTES)
        self.attachments = AttachmentLane(state, emit, window=PieceWindow(most))

    @property
    def session(self) -> int:
        """Of the messages."""
        return self._session

    @property
    def messages(self) -> int:
        """How many messages have no ack, sent or not."""
        return len(self._outbox)

    @property
    def peak(self) -> int:
        """The most that `messages` was."""
        return self._outbox.peak

    @property
    def full(self) -> bool:
        """Whether `submit` would exceed the limit."""
        return self._outbox.full

    @property
    def empty(self) -> bool:
        """Whether everything has its ack."""
        return not len(self._outbox) and not len(self.attachments)

    def submit(self, body: bytes, now: float) -> int:
        """Queue a message, on disk when this returns its id. Raises OverflowError (full), UsageError (disk)."""
        self._outbox.check_room()
        self._state.add_message(self._outbox.last_id + 1, body)
        return self._outbox.submit(body, now)

    def attach(self, source: Source) -> int:
        """Queue an attachment; its number."""
        return self.attachments.add(source, Path(source.path).name)

    def next(self, connection: int, now: float) -> Due | None:
        """What to send on `connection` now: messages first."""
        if (entry := self._outbox.next(connection)) is not None:
            return self._due(entry, MESSAGES)
        if (entry := self.attachments.next(connection, now)) is not None:
            return self._due(entry, ATTACHMENTS)
        return None

    def copy(self, number: int, connection: int) -> Due | None:
        """The message of this number to send on `connection`, too; None: it has its ack, went there, or is a piece."""
        entry = self._outbox.copy(number, connection)
        return None if entry is None else self._due(entry, MESSAGES)

    def lost(self, connection: int) -> None:
        """`connection` is gone: what went out by it and has no ack is to be sent again."""
        self._outbox.lost(connection)
        self.attachments.lost(connection)

    def number(self, accepted: Accepted) -> int:
        """The policy's number of what was accepted."""
        return -accepted.id if accepted.session == self.attachments.session else accepted.id

    def acked(self, ack: Ack, now: float) -> list[tuple[int, float]]:
        """(id, seconds since it was queued) of each message that has its ack by this one; pieces are not among them.

        An ack for an earlier life's session is none. Raises Undecryptable for one that the receiver did not give.
        """
        if ack.session not in (self._session, self.attachments.session):
            return []
        if self._encryption is not None:
            self._encryption.check(ack)
        if ack.session == self.attachments.session:
            self.attachments.acked(ack, now)
            return []
        acked = self._outbox.acked(ack.id, now)
        if acked:
            self._state.remove_messages(ack.id)
        return acked

    def close(self) -> None:
        """Let go of the files, the state's included."""
        self.attachments.close()
        self._state.close()

    def _due(self, entry: Entry, lane: int) -> Due:
        bulk = lane == ATTACHMENTS
        message = Message(
            sender=self._settings.name,
            receiver=self._settings.peer,
            session=self.attachments.session if bulk else self._session,
            id=entry.id,
            base=self.attachments.base if bulk else self._outbox.base,
            queued_at=entry.queued_at,
            body=entry.body,
            lane=lane,
        )
        if self._encryption is not None:
            message = self._encryption.seal(message)
        return Due(-entry.id if bulk else entry.id, entry.attempts, message)
