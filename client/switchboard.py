"""The origin's decisions: which record goes to which connection, and what is kept meanwhile. Sans-IO.

For each sender session the switchboard keeps the messages that their receiver has not acknowledged, and the ack of the
highest id, which stands for all below. It forwards one copy to the receiver and drops the others; a name has one
receiver, the one that came last, and whoever it replaced is told so and not let in again. It forwards acks to
each connection by which a copy came, and to the one of the sender that said hello last: any of them may lead nowhere by
now. An ack that is lost all the same is no loss: the sender's next copy of that message is answered with the last ack.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from client.delivery import WINDOW_BYTES
from client.messages import Accepted, Ack, Hello, Message, Ping, Pong, Record, Replaced
from sidedoor.events import Emit, discard

PENDING_LIMIT = 2048
"""Messages kept for one session. A sender's window is far smaller (client.delivery): only a broken one gets here."""
PENDING_LIMIT_BYTES = WINDOW_BYTES + (1 << 20)
"""Bytes of their bodies: a sender's window, and one message of any length that may go beyond it."""
TOTAL_LIMIT_BYTES = 256 << 20
"""Bytes of the bodies kept for all sessions together."""
SESSION_LIMIT = 1024
"""Sessions remembered; the one unused for longest is forgotten first."""
NAME_LIMIT = 1024
"""Names remembered with their receivers; of those without a connection, the oldest is forgotten first."""
REPLACED_LIMIT = 16
"""Receivers of one name remembered that another has replaced."""

Outgoing = list[tuple[int, Record]]
"""Records to send: (connection number, record), in order."""


class Misbehaviour(Exception):
    """A peer that does what no sender or receiver does: its connection is to be closed."""


@dataclass(slots=True)
class _Session:
    last_ack: Ack | None = None
    pending: dict[int, Message] = field(default_factory=dict)
    pending_bytes: int = 0
    came_by: dict[int, set[int]] = field(default_factory=dict)  # id of a pending message -> connections of its copies

    @property
    def shown_id(self) -> int:
        return 0 if self.last_ack is None else self.last_ack.id


@dataclass(slots=True)
class _Receiving:
    """Who shows what is sent to one name."""

    receiver: int = 0
    connections: list[int] = field(default_factory=list)  # the newest last
    replaced: deque[int] = field(default_factory=lambda: deque(maxlen=REPLACED_LIMIT))


class Switchboard:
    """State of one origin. `receive` takes each record, `left` each end of a connection."""

    def __init__(self, emit: Emit = discard) -> None:
        self._emit = emit
        self._connections: dict[str, list[int]] = {}  # peer -> its connections, the newest last
        self._receiving: dict[str, _Receiving] = {}
        self._sessions: dict[tuple[str, str, int], _Session] = {}
        self._kept_bytes = 0

    def receive(self, connection: int, record: Record) -> Outgoing:
        """One record from `connection`; what to send in consequence. Raises Misbehaviour."""
        match record:
            case Message():
                return self._message(connection, record)
            case Ack():
                return self._ack(record)
            case Ping(number=number):
                return [(connection, Pong(number))]
            case Hello(peer=peer, receiver=receiver):
                self._joined(connection, peer)
                return self._received_by(connection, peer, receiver) if receiver else []
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
        for receiving in self._receiving.values():
            if connection in receiving.connections:
                receiving.connections.remove(connection)

    def _joined(self, connection: int, peer: str) -> None:
        known = peer in self._connections
        connections = self._connections.setdefault(peer, [])
        if connection in connections:
            connections.remove(connection)
        connections.append(connection)
        if not known:
            self._emit("peer_joined", peer=peer)

    def _received_by(self, connection: int, name: str, receiver: int) -> Outgoing:
        """This receiver gets what is for the name from now on, by this connection, unless another has replaced it."""
        receiving = self._receiving.setdefault(name, _Receiving(receiver))
        if len(self._receiving) > NAME_LIMIT:
            idle = (other for other, one in self._receiving.items() if not one.connections and one is not receiving)
            self._receiving.pop(next(idle, ""), None)
        if receiver in receiving.replaced:
            return [(connection, Replaced(name))]
        told: Outgoing = []
        if receiver != receiving.receiver:
            told = [(former, Replaced(name)) for former in receiving.connections]
            receiving.replaced.append(receiving.receiver)
            receiving.receiver, receiving.connections = receiver, []
            if told:
                self._emit("receiver_replaced", peer=name)
        if connection in receiving.connections:
            receiving.connections.remove(connection)
        receiving.connections.append(connection)
        return [
            *told,
            *(
                (connection, _rebased(message, session))
                for (_, wanted, _), session in self._sessions.items()
                if wanted == name
                for _, message in sorted(session.pending.items())
            ),
        ]

    def _message(self, connection: int, message: Message) -> Outgoing:
        session = self._session(message.sender, message.receiver, message.session)
        accepted = (connection, Accepted(message.id, message.session))
        if session.last_ack is not None and message.id <= session.last_ack.id:
            self._emit("message_duplicate", id=message.id, sender=message.sender)
            return [accepted, (connection, session.last_ack)]
        if message.id in session.pending:
            session.came_by[message.id].add(connection)
            self._emit("message_duplicate", id=message.id, sender=message.sender)
            return [accepted]
        self._keep(session, connection, message)
        receiving = self._receiving.get(message.receiver)
        if receiving is None or not receiving.connections:
            return [accepted]
        return [accepted, (receiving.connections[-1], _rebased(message, session))]

    def _keep(self, session: _Session, connection: int, message: Message) -> None:
        """Raises Misbehaviour when too much is kept already."""
        size = len(message.body)
        waiting = f"of {message.sender} wait for {message.receiver} already"
        if len(session.pending) >= PENDING_LIMIT:
            raise Misbehaviour(f"{PENDING_LIMIT} messages {waiting}")
        if session.pending_bytes + size > PENDING_LIMIT_BYTES:
            raise Misbehaviour(f"{session.pending_bytes} bytes {waiting}")
        if self._kept_bytes + size > TOTAL_LIMIT_BYTES:
            raise Misbehaviour(f"{self._kept_bytes} bytes are kept already, for all together")
        session.pending[message.id] = message
        session.pending_bytes += size
        self._kept_bytes += size
        session.came_by[message.id] = {connection}

    def _ack(self, ack: Ack) -> Outgoing:
        session = self._session(ack.sender, ack.receiver, ack.session)
        if ack.id >= session.shown_id:
            session.last_ack = ack
        came_by: set[int] = set()
        for id_ in [pending for pending in session.pending if pending <= ack.id]:
            came_by |= session.came_by.pop(id_)
            self._release(session, session.pending.pop(id_))
        came_by.update(self._connections.get(ack.sender, ())[-1:])
        return [(connection, ack) for connection in sorted(came_by)]

    def _release(self, session: _Session, message: Message) -> None:
        session.pending_bytes -= len(message.body)
        self._kept_bytes -= len(message.body)

    def _session(self, sender: str, receiver: str, number: int) -> _Session:
        """The session, created when new, and marked as the one used last."""
        key = (sender, receiver, number)
        session = self._sessions.pop(key) if key in self._sessions else _Session()
        self._sessions[key] = session
        if len(self._sessions) > SESSION_LIMIT:
            forgotten = self._sessions.pop(next(iter(self._sessions)))
            self._kept_bytes -= forgotten.pending_bytes
        return session


def _rebased(message: Message, session: _Session) -> Message:
    """The message with the base that the origin knows: it may have seen acks that the sender has not yet."""
    ack = session.last_ack
    if ack is None or message.base > ack.id:
        return message
    return msgspec.structs.replace(message, base=ack.id + 1, shown=ack.proof)
