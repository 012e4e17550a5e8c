"""The receiver's sessions: what becomes of each copy that arrives, from decryption to the ack.

A message of which it is the turn is recorded, handed out, and forgotten when `show` has returned: that is the
application's confirmation. Then it is acknowledged. Who dies between recording and forgetting hands it out again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from client.attachments.incoming import IncomingAttachments
from client.delivery import Arrival, Delivery, Inbox
from client.encryption import Encryption, Undecryptable
from client.messages import ATTACHMENTS, Ack, Hello, Message, Replaced
from client.state.receiving import ReceivingState
from sidedoor.events import Emit
from sidedoor.settings import UsageError

SESSION_LIMIT = 256
"""Sessions in memory; the one unused for longest goes first, and what its inbox held back with it."""

Show = Callable[[Delivery], None]
Key = tuple[str, int]  # sender, session


class Inboxes:
    """All sessions of one receiver. Every call raises UsageError when the state cannot be written.

    `hello`: what tells the origin to send here what is for `name`; another receiver's hello ends that.
    """

    def __init__(
        self,
        name: str,
        state: ReceivingState,
        encryption: Encryption | None,
        attachments: IncomingAttachments,
        emit: Emit,
        show: Show,
    ) -> None:
        self.hello = Hello(name, 1 + secrets.randbits(62))
        self._name = name
        self._state = state
        self._encryption = encryption
        self._attachments = attachments
        self._emit = emit
        self._show = show
        self._inboxes: dict[Key, Inbox] = {}
        self._shown: dict[Key, int] = {}  # The highest id shown; kept apart from the inbox to check on it.

    def resume(self, taken: int) -> None:
        """Hand out what an earlier life had recorded and the application has not: it has all up to position `taken`."""
        self._state.confirm(taken)
        for recorded in self._state.unconfirmed:
            self._hand_out(
                Delivery(recorded.position, recorded.sender, recorded.session, recorded.id, recorded.body, again=True),
                reordered=False,
            )

    def receive(self, record: Message | Replaced) -> list[Ack]:
        """Take one copy; returns the acks to send. Raises UsageError: another receiver has the name now, so none of
        what is sent to it comes here any more."""
        if isinstance(record, Replaced):
            raise UsageError(
                f"another {self._name} has connected to the origin, and gets what is sent to {self._name} from now on: "
                "a name is for one listen or chat at a time; use another --name, or start this again to take it back"
            )
        try:
            message = self._opened(record)
        except Undecryptable as error:
            # No ack: the sender keeps it, and who repairs the keys loses nothing. For the origin it is under way.
            self._emit("message_undecryptable", sender=record.sender, id=record.id, reason=str(error))
            return []
        inbox = self._inbox(message)
        arrival = inbox.receive(message)
        if arrival.duplicate:
            self._emit("message_duplicate", id=message.id, sender=message.sender)
        if arrival.ack_again:
            refusal = self._attachments.refusal(message.sender, message.session)
            return [self._ack(message, refusal)]
        if not arrival.shown:
            return []
        if message.lane == ATTACHMENTS:
            return self._take_pieces(arrival, inbox)
        return self._take_messages(arrival, inbox)

    def _opened(self, message: Message) -> Message:
        if self._encryption is not None:
            return self._encryption.open(message)
        if message.key:
            raise Undecryptable("it is encrypted, and this end has no key")
        return message

    def _inbox(self, message: Message) -> Inbox:
        key = (message.sender, message.session)
        inbox = self._inboxes.pop(key, None) or Inbox(next_id=self._state.next_id(*key))
        self._inboxes[key] = inbox
        if len(self._inboxes) > SESSION_LIMIT:
            forgotten = next(iter(self._inboxes))
            del self._inboxes[forgotten]
            self._shown.pop(forgotten, None)
        return inbox

    def _take_messages(self, arrival: Arrival, inbox: Inbox) -> list[Ack]:
        messages = [message for message, _ in arrival.shown]
        positions = self._state.record(messages, inbox.next_id)
        for position, (message, reordered) in zip(positions, arrival.shown, strict=True):
            delivery = Delivery(position, message.sender, message.session, message.id, message.body)
            self._hand_out(delivery, reordered=reordered)
        return [self._ack(message) for message in messages]

    def _hand_out(self, delivery: Delivery, *, reordered: bool) -> None:
        key = (delivery.sender, delivery.session)
        if delivery.id <= self._shown.get(key, 0):
            self._emit("message_shown_twice", id=delivery.id, sender=delivery.sender)
        self._shown[key] = delivery.id
        self._show(delivery)
        self._state.confirm(delivery.position)
        self._emit(
            "message_delivered",
            t=time.monotonic(),
            session=delivery.session,
            id=delivery.id,
            sender=delivery.sender,
            bytes=len(delivery.body),
            reordered=reordered,
            again=delivery.again,
        )

    def _take_pieces(self, arrival: Arrival, inbox: Inbox) -> list[Ack]:
        acks = []
        for message, _ in arrival.shown:
            refused = self._attachments.take(message.sender, message.session, message.body)
            acks.append(self._ack(message, refused))
        last, _ = arrival.shown[-1]
        self._state.advance(last.sender, last.session, inbox.next_id)
        return acks

    def _ack(self, message: Message, refused: str = "") -> Ack:
        ack = Ack(message.sender, self._name, message.session, message.id, refused)
        return ack if self._encryption is None else self._encryption.prove(ack)
