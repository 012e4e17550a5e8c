from __future__ import annotations

import asyncio

import pytest

from client import inboxes as module
from client.sender import Sender
from client.settings import DialSettings, ResolverSettings
from tests.integration.client.world import DIRECT_ADDRESS, NAME, Gate, World

BY_THE_GATE = {"resolver": ResolverSettings(hosts={NAME: (DIRECT_ADDRESS,)})}


@pytest.fixture
async def direct(messenger: World) -> Gate:
    return await messenger.gate()


@pytest.fixture
async def sender(messenger: World) -> Sender:
    """A sender without a gate before it."""
    resolver = ResolverSettings(hosts={NAME: ("127.0.0.1",)})
    return messenger.start_sender(messenger.settings({}, resolver=resolver))


async def test_it_comes_back_after_a_silence(messenger: World, direct: Gate, sender: Sender) -> None:
    await messenger.stop_receiver()
    messenger.start_receiver(keepalive_seconds=0.1, dial=DialSettings(tls_seconds=0.5), **BY_THE_GATE)
    await messenger.log.until("peer_joined", 2, peer="bob")
    direct.stalled = True
    sender.submit(b"lost on the way, and not lost")
    await messenger.log.until("message_sent")
    await direct.until_accepted(2)
    direct.stalled = False
    assert await sender.drain(10)
    assert messenger.shown == [1]


async def test_an_idle_connection_that_answers_pings_is_kept(messenger: World, direct: Gate) -> None:
    await messenger.stop_receiver()
    messenger.start_receiver(keepalive_seconds=0.1, **BY_THE_GATE)
    await messenger.log.until("peer_joined", 2, peer="bob")
    await asyncio.sleep(0.5)
    assert direct.accepted == 1


async def test_it_waits_for_an_origin_that_is_not_there_yet(messenger: World, sender: Sender) -> None:
    await messenger.stop_origin()
    await messenger.log.until("route_failed", 2, route="direct", failure="connection_refused")
    sender.submit(b"x")
    await messenger.start_origin()
    assert await sender.drain(15)
    assert messenger.shown == [1]


async def test_a_second_receiver_begins_where_the_first_ended(messenger: World, sender: Sender) -> None:
    for _ in range(5):
        sender.submit(b"x")
    assert await sender.drain(5)
    await messenger.stop_receiver()
    for _ in range(5):
        sender.submit(b"x")
    messenger.start_receiver()
    assert await sender.drain(5)
    assert messenger.shown == list(range(1, 11))


async def test_two_lives_of_a_sender_are_two_sessions(
    messenger: World, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 1)
    sender.submit(b"x")
    assert await sender.drain(5)
    again = messenger.start_sender(messenger.settings({}, resolver=ResolverSettings(hosts={NAME: ("127.0.0.1",)})))
    again.submit(b"y")
    assert await again.drain(5)
    assert messenger.shown == [1, 1]
    assert not messenger.log.of("message_shown_twice")
