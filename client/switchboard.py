"""The origin's decisions: which record goes to which connection, and what is kept meanwhile. Sans-IO.

For each sender session the switchboard keeps the messages that their receiver has not acknowledged, and the highest
acknowledged id. It forwards one copy to the receiver and drops the others; it forwards acks to each connection by which
a copy came, and to the one of the sender that said hello last: any of them may lead nowhere by now. An ack that is lost
all the same is no loss: the sender's next copy of that message is answered with the ack again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from client.messages import Accepted, Ack, Hello, Message, Ping, Pong, Record
from sidedoor.events import Emit, discard

PENDING_LIMIT = 2048
"""Messages kept for one session. A sender's window is far smaller (client.delivery): only a broken one gets here."""
SESSION_LIMIT = 1024
"""Sessions remembered; the one unused for longest is forgotten first."""

Outgoing = list[tuple[int, Record]]
"""Records to send: (connection number, record), in order."""


class Misbehaviour(Exception):
    """A peer that does what no sender or receiver does: its connection is to be closed."""


@dataclass(slots=True)
class _Session:
    shown_id: int = 0
    pending: dict[int, Message] = field(default_factory=dict)
    came_by: dict[int, set[int]] = field(default_factory=dict)  # id of a pending message -> connections of its copies


class Switchboard:
    """State of one origin. `receive` takes each record, `left` each end of a connection."""

    def __init__(self, emit: Emit = discard) -> None:
        self._emit = emit
        self._connections: dict[str, list[int]] = {}  # peer -> its connections, the newest last
        self._sessions: dict[tuple[str, str, int], _Session] = {}

    def receive(self, connection: int, record: Record) -> Outgoing:
        """One record from `connection`; what to send in consequence. Raises Misbehaviour."""
        match record:
            case Message():
                return self._message(connection, record)
            case Ack():
                return self._ack(record)
            case Ping(number=number):
                return [(connection, Pong(number))]
            case Hello(peer=peer):
                return self._hello(connection, peer)
            case _:
                raise Misbehaviour(f"{type(record).__name__} is for the origin to say")

    def left(self, connection: int) -> None:
        """The connection has ended."""
        for peer, connections in list(self._connections.items()):
            if connection in connections:
                connections.remove(connection)
                if not connections:
                    del self._connections[peer]
                    self._emit("peer_left", peer=peer)

    def _hello(self, connection: int, peer: str) -> Outgoing:
        known = peer in self._connections
        connections = self._connections.setdefault(peer, [])
        if connection in connections:
            connections.remove(connection)
        connections.append(connection)
        if not known:
            self._emit("peer_joined", peer=peer)
        return [
            (connection, _rebased(message, session))
            for (_, receiver, _), session in self._sessions.items()
            if receiver == peer
            for _, message in sorted(session.pending.items())
        ]

    def _message(self, connection: int, message: Message) -> Outgoing:
        session = self._session(message.sender, message.receiver, message.session)
        accepted = (connection, Accepted(message.id))
        if message.id <= session.shown_id:
            self._emit("message_duplicate", id=message.id, sender=message.sender)
            ack = Ack(message.sender, message.receiver, message.session, message.id)
            return [accepted, (connection, ack)]
        if message.id in session.pending:
            session.came_by[message.id].add(connection)
            self._emit("message_duplicate", id=message.id, sender=message.sender)
            return [accepted]
        if len(session.pending) >= PENDING_LIMIT:
            raise Misbehaviour(f"{PENDING_LIMIT} messages of {message.sender} wait for {message.receiver} already")
        session.pending[message.id] = message
        session.came_by[message.id] = {connection}
        return [accepted, *self._to(message.receiver, _rebased(message, session))]

    def _ack(self, ack: Ack) -> Outgoing:
        session = self._session(ack.sender, ack.receiver, ack.session)
        session.shown_id = max(session.shown_id, ack.id)
        session.pending.pop(ack.id, None)
        came_by = session.came_by.pop(ack.id, set())
        newest = [connection for connection, _ in self._to(ack.sender, ack)]
        return [(connection, ack) for connection in sorted(came_by.union(newest))]

    def _to(self, peer: str, record: Record) -> Outgoing:
        connections = self._connections.get(peer)
        return [(connections[-1], record)] if connections else []

    def _session(self, sender: str, receiver: str, number: int) -> _Session:
        """The session, created when new, and marked as the one used last."""
        key = (sender, receiver, number)
        session = self._sessions.pop(key) if key in self._sessions else _Session()
        self._sessions[key] = session
        if len(self._sessions) > SESSION_LIMIT:
            del self._sessions[next(iter(self._sessions))]
        return session


def _rebased(message: Message, session: _Session) -> Message:
    """The message with the base that the origin knows: it may have seen acks that the sender has not yet."""
    if message.base > session.shown_id:
        return message
    return Message(
        message.sender,
        message.receiver,
        message.session,
        message.id,
        session.shown_id + 1,
        message.queued_at,
        message.body,
    )
