"""A driver for tests: verdict by password, every request succeeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proxy.handshake import CredentialsPresented, Event, Handshake, Refused, Requested
from proxy.handshake.handshake import PROTOCOLS
from proxy.wire import Address, Command

BOUND = Address.of("127.0.0.1", 40000)
PEER = Address.of("192.0.2.7", 50000)


class Driven(NamedTuple):
    """What came of it; `early` is empty unless a request succeeded."""

    events: list[Event]
    sent: bytes
    early: bytes


def drive(segments: Iterable[bytes], *, authenticate: bool = False, protocols: tuple[str, ...] = PROTOCOLS) -> Driven:
    """Feed segments as a driver does."""
    handshake = Handshake(authenticate=authenticate, protocols=protocols)
    events: list[Event] = []
    sent, succeeded = b"", False
    for segment in segments:
        handshake.receive(segment)
        while (event := handshake.next_event()) is not None:
            events.append(event)
            match event:
                case CredentialsPresented(_, password):
                    if (refused := handshake.verdict(password == b"secret")) is not None:
                        events.append(refused)
                case Requested(command):
                    if command is Command.BIND:
                        handshake.listening(BOUND)
                    handshake.succeed(PEER if command is Command.BIND else BOUND)
                    succeeded = True
        sent += handshake.data_to_send()
    early = handshake.early_data() if succeeded else b""
    assert not (succeeded and handshake.early_data())
    assert handshake.data_to_send() == b""
    assert handshake.next_event() is None
    return Driven(events, sent, early)


def refusal(driven: Driven) -> Refused:
    """The refusal that it ended with."""
    last = driven.events[-1]
    assert isinstance(last, Refused)
    return last


def check_every_cut(stream: bytes, *, authenticate: bool = False) -> Driven:
    """However `stream` is cut in two, or into bytes, nothing changes. Returns what comes of it."""
    whole = drive([stream], authenticate=authenticate)
    for index in range(len(stream) + 1):
        assert drive([stream[:index], stream[index:]], authenticate=authenticate) == whole
    assert drive([bytes((value,)) for value in stream], authenticate=authenticate) == whole
    return whole
