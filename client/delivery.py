"""Delivery: every message shown once and in order, whatever paths its copies take. Sans-IO.

The sender keeps a message in its `Outbox` until the receiver's end-to-end ack is back. When a connection is lost, all
that went out by it and has no ack yet goes out again, lowest id first, under the same id. The receiver's `Inbox` drops
copies and holds back what came too early, so that loss, duplication and reordering by changing paths end here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from client.messages import Message

WINDOW_MESSAGES = 256
"""How far the sender may be ahead of its lowest unacknowledged id. The receiver holds back up to four times as many."""
WINDOW_BYTES = 8 << 20
"""How many bytes the sender may have under way. The origin keeps a little more for each session."""


@dataclass(slots=True)
class Entry:
    """One message in the outbox. `connections`: those by which copies went out, and that have not been lost since."""

    id: int
    body: bytes
    queued_at: float
    attempts: int = 0
    connections: set[int] = field(default_factory=set)


class Outbox:
    """The sender's messages that have no end-to-end ack yet. Ids count from 1."""

    def __init__(
        self,
        *,
        window_messages: int = WINDOW_MESSAGES,
        window_bytes: int = WINDOW_BYTES,
        limit_messages: int = 4096,
        last_id: int = 0,
    ) -> None:
        """`last_id`: the last one that an earlier life had acknowledged; ids go on behind it."""
        self._window = window_messages
        self._window_bytes = window_bytes
        self._limit = limit_messages
        self._entries: dict[int, Entry] = {}  # In order of ids, and without gaps: acks are cumulative.
        self._ready: list[int] = []  # A heap of ids to (re)send; ids acknowledged meanwhile are skipped when popped.
        self._last_id = last_id
        self._under_way_bytes = 0
        self.duplicate_acks = 0
        self.peak = 0

    def __len__(self) -> int:
        """Messages without an ack, sent or not."""
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether `submit` would exceed the limit: the time for back-pressure."""
        return len(self._entries) >= self._limit

    @property
    def last_id(self) -> int:
        """The id that was given last."""
        return self._last_id

    @property
    def base(self) -> int:
        """The lowest id without an ack; the next id when there is none."""
        return self._last_id - len(self._entries) + 1

    def submit(self, body: bytes, now: float) -> int:
        """Queue a message and return its id. Raises OverflowError when the outbox is full."""
        self.check_room()
        return self.restore(body, now)

    def check_room(self) -> None:
        """Raises OverflowError when the outbox is full."""
        if self.full:
            raise OverflowError(f"{self._limit} messages wait for an ack already")

    def restore(self, body: bytes, queued_at: float) -> int:
        """As `submit`, for what an earlier life of the sender had queued, whatever the limit is now."""
        self._last_id += 1
        self._entries[self._last_id] = Entry(self._last_id, body, queued_at)
        heapq.heappush(self._ready, self._last_id)
        self.peak = max(self.peak, len(self._entries))
        return self._last_id

    def next(self, connection: int) -> Entry | None:
        """The message to send on `connection` now, marked as sent on it; None: none is due or the window is full."""
        while self._ready:
            entry = self._entries.get(self._ready[0])
            if entry is not None and not self._in_window(entry):
                return None
            heapq.heappop(self._ready)
            if entry is not None:
                if connection in entry.connections:
                    continue  # It went by this connection as a hedge; lost with another one, it is not lost.
                if not entry.attempts:
                    self._under_way_bytes += len(entry.body)
                entry.attempts += 1
                entry.connections.add(connection)
                return entry
        return None

    def _in_window(self, entry: Entry) -> bool:
        """One message may go out however long it is."""
        if entry.attempts or entry.id == self.base:
            return True
        fits = self._under_way_bytes + len(entry.body) <= self._window_bytes
        return fits and entry.id < self.base + self._window

    def copy(self, id_: int, connection: int) -> Entry | None:
        """The message to send on `connection`, too, marked so; None: it has its ack, or went there, or nowhere yet."""
        entry = self._entries.get(id_)
        if entry is None or not entry.attempts or connection in entry.connections:
            return None
        entry.attempts += 1
        entry.connections.add(connection)
        return entry

    def lost(self, connection: int) -> int:
        """`connection` is gone: what went out by it and has no ack is to be sent again. Returns how many.

        What went by another connection as well is sent again, too: only the one in use tells whether it arrived.
        """
        again = [entry for entry in self._entries.values() if connection in entry.connections]
        for entry in again:
            entry.connections.discard(connection)
            heapq.heappush(self._ready, entry.id)
        return len(again)

    def acked(self, id_: int, now: float) -> list[tuple[int, float]]:
        """The end-to-end ack of `id_`, and so of all before it: (id, seconds since queued) of each that had none.

        An ack of what was never submitted is none.
        """
        if id_ < self.base:
            self.duplicate_acks += 1
            return []
        if id_ > self._last_id:
            return []
        acked = [self._entries.pop(each) for each in range(self.base, id_ + 1)]
        self._under_way_bytes -= sum(len(entry.body) for entry in acked if entry.attempts)
        return [(entry.id, now - entry.queued_at) for entry in acked]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the receiver's application gets it.

    `position` grows from delivery to delivery, across lives of the receiver. `again`: an earlier life handed this one
    out, too, and died before the application had confirmed it.
    """

    position: int
    sender: str
    session: int
    id: int
    body: bytes
    again: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of one copy that arrived.

    `shown`: the messages to show now, in order, each with whether it was reordered (RFC 4737 section 3.3: it arrived
    after one with a higher id). `duplicate`: this message had arrived before. `ack_again`: it had been shown before, so
    that its ack may have been lost.
    """

    shown: tuple[tuple[Message, bool], ...] = ()
    duplicate: bool = False
    ack_again: bool = False


@dataclass(slots=True)
class Inbox:
    """The receiver's side of one sender session. `next_id` is the id to show next."""

    window_messages: int = 4 * WINDOW_MESSAGES
    next_id: int = 1
    delivered: int = 0
    duplicates: int = 0
    reordered: int = 0
    refused: int = 0
    _held: dict[int, tuple[Message, bool]] = field(default_factory=dict)
    _highest: int = 0

    def receive(self, message: Message) -> Arrival:
        """Take one copy. Beyond the window it is dropped without an ack (`refused`) and the sender keeps it."""
        self._skip_to(message.base)
        if message.id < self.next_id or message.id in self._held:
            self.duplicates += 1
            return Arrival(duplicate=True, ack_again=message.id < self.next_id)
        if message.id >= self.next_id + self.window_messages:
            self.refused += 1
            return Arrival()
        late = message.id < self._highest
        self._highest = max(self._highest, message.id)
        self._held[message.id] = (message, late)
        self.reordered += late
        shown = tuple(self._release())
        self.delivered += len(shown)
        return Arrival(shown=shown)

    def _skip_to(self, base: int) -> None:
        """All below `base` has been shown, by this receiver or the one before it."""
        if base > self.next_id:
            self.next_id = base
            self._held = {id_: held for id_, held in self._held.items() if id_ >= base}

    def _release(self) -> Iterator[tuple[Message, bool]]:
        while (held := self._held.pop(self.next_id, None)) is not None:
            self.next_id += 1
            yield held
