"""An origin that lies about everything it carries: the ends notice, and what is shown is what was sent."""

from __future__ import annotations

import msgspec
import pytest

from client import origin as module
from client.delivery import Delivery
from client.keys import draw_key, public_key
from client.messages import Accepted, Ack, Message, Record
from client.receiver import run_receiver
from client.settings import OriginAddress, ReceiverSettings, ResolverSettings
from client.switchboard import Outgoing, Switchboard
from tests.integration.client.world import NAME, World

DIRECTLY = ResolverSettings(hosts={NAME: ("127.0.0.1",)})


class LyingSwitchboard(Switchboard):
    """Every message is followed or preceded by lies about it; acks come before their time."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # Passed on as they are.
        self._seen: list[Message] = []

    def receive(self, connection: int, record: Record) -> Outgoing:
        lied: Outgoing = []
        for number, honest in super().receive(connection, record):
            if isinstance(honest, Message):
                lied += [(number, lie) for lie in self._lies(honest)]
            lied.append((number, honest))
            if isinstance(honest, Accepted):
                lied.append((number, Ack("alice", "bob", honest.session, honest.id)))
        return lied

    def _lies(self, message: Message) -> list[Message]:
        replace = msgspec.structs.replace
        self._seen.append(message)
        other = self._seen[len(self._seen) // 2]
        return [
            replace(message, body=other.body, key=other.key, id=message.id + (message is other)),  # swapped
            replace(message, session=message.session ^ 1),  # replayed in a session of its own
            other,  # replayed
            replace(message, body=b"invented", key=b""),
            replace(message, base=message.id + 5, id=message.id),  # so that others would be left out
        ]


@pytest.mark.parametrize("window", [1, 64], ids=["one by one", "many under way"])
async def test_what_is_shown_is_what_was_sent(messenger: World, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    await messenger.stop_receiver()
    monkeypatch.setattr(module, "Switchboard", LyingSwitchboard)
    await messenger.restart_origin()
    alice, bob = draw_key(), draw_key()
    shown: list[bytes] = []

    def show(delivery: Delivery) -> None:
        shown.append(delivery.body)

    settings = ReceiverSettings(
        name="bob",
        origin=OriginAddress(NAME, messenger.port),
        ca_file=str(messenger.files.ca),
        resolver=DIRECTLY,
        private_key=bob,
        peer_key=public_key(alice),
    )
    messenger.start(run_receiver(settings, messenger.log, show=show), "bob")
    keys = {"private_key": alice, "peer_key": public_key(bob)}
    sender = messenger.start_sender(messenger.settings({}, resolver=DIRECTLY, window_messages=window, **keys))
    bodies = [b"message %d" % number for number in range(1, 201)]
    for body in bodies:
        sender.submit(body)
    assert await sender.drain(30)
    assert shown == bodies
    reasons = {event["reason"] for event in messenger.log.of("message_undecryptable")}
    assert "it is not encrypted" in reasons
    assert any("of another place" in reason for reason in reasons)
    assert messenger.log.of("ack_refused")
    assert not messenger.log.of("message_shown_twice")
