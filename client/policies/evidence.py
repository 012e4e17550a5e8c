"""What one connection has shown of itself: sent, answered, how old the oldest unanswered copy is. Sans-IO.

The evidence is the data itself: every message and ping that goes out is to be answered by the origin, in order. So the
age of the oldest unanswered one tells how far behind the path is, whether it has gone silent or only trickles.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from client.policies.rtt import RttEstimate


@dataclass(slots=True)
class Evidence:
    """Unanswered copies of one connection, its last sign of life, and the RTT estimate of its route.

    `answered_bytes`: of messages, since it was established. `ambiguous`: answers are no RTT samples meanwhile.
    """

    rtt: RttEstimate
    heard_at: float
    answered_bytes: int = 0
    answered_at: float | None = None
    ambiguous: bool = False
    _messages: dict[int, tuple[float, int]] = field(default_factory=dict)  # id -> when sent and size, oldest first
    _uncopied: dict[int, float] = field(default_factory=dict)  # those that no other connection was asked to carry
    _pings: dict[int, float] = field(default_factory=dict)

    def sent(self, id_: int, now: float, size: int = 0) -> None:
        """Message `id_` of `size` bytes went out."""
        if id_ not in self._messages:
            self._messages[id_] = now, size
            self._uncopied[id_] = now

    def pinged(self, number: int, now: float) -> None:
        """Ping `number` went out."""
        self._pings[number] = now

    def answered(self, id_: int, now: float) -> None:
        """The origin answered message `id_`; an RTT sample, since every copy has a connection of its own."""
        sent_at, size = self._messages.pop(id_, (None, 0))
        self._uncopied.pop(id_, None)
        self.answered_bytes += size
        self._sample(sent_at, now)

    def ponged(self, number: int, now: float) -> None:
        """The origin answered ping `number`."""
        self._sample(self._pings.pop(number, None), now)

    def heard(self, now: float) -> None:
        """A sign of life that answers nothing in particular."""
        self.heard_at = now

    @property
    def unanswered(self) -> int:
        """Copies and pings without an answer."""
        return len(self._messages) + len(self._pings)

    @property
    def waiting_since(self) -> float | None:
        """When the oldest unanswered copy or ping went out; None when no answer is awaited."""
        message = next(iter(self._messages.values()), None)
        ping = next(iter(self._pings.values()), None)
        if message is None or ping is None:
            return ping if message is None else message[0]
        return min(message[0], ping)

    @property
    def silent_since(self) -> float | None:
        """Since when an answer is awaited without a sign of life, as TCP restarts its timer with each ACK of new data
        (RFC 6298 section 5.3); None when none is awaited."""
        since = self.waiting_since
        return None if since is None else max(since, self.heard_at)

    def take_overdue(self, delay: float, now: float) -> tuple[int, ...]:
        """Ids of unanswered messages that went out `delay` seconds ago or earlier, oldest first, each once."""
        taken = []
        for id_, sent_at in self._uncopied.items():
            if sent_at + delay > now:
                break
            taken.append(id_)
        for id_ in taken:
            del self._uncopied[id_]
        return tuple(taken)

    @property
    def first_untaken(self) -> float | None:
        """When the oldest unanswered message that was not taken went out."""
        return next(iter(self._uncopied.values()), None)

    def take(self, id_: int) -> None:
        """Message `id_` is taken."""
        self._uncopied.pop(id_, None)

    def return_taken(self) -> None:
        """What was taken and is unanswered can be taken again."""
        self._uncopied = {id_: sent_at for id_, (sent_at, _) in self._messages.items()}

    def waits_for(self, id_: int) -> bool:
        """Whether message `id_` went out by this connection and has no answer."""
        return id_ in self._messages

    def _sample(self, sent_at: float | None, now: float) -> None:
        self.heard_at = now
        if sent_at is not None:
            self.answered_at = now
            if not self.ambiguous:
                self.rtt.sample(now - sent_at, now)
