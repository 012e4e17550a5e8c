"""Both ends in one: what comes to this end goes on by another route, as what it sends does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.delivery import Delivery
from client.messenger import RECEIVED, Messenger
from client.policies.sidedoor_settings import SidedoorSettings
from client.sender import HOME_SECONDS, Sender
from client.settings import ChatSettings, ListenerSettings, OriginAddress, ResolverSettings
from tests.integration.client.world import DIRECT_ADDRESS, NAME, Gate, Log, World, own_proxy

ATTENTIVE = SidedoorSettings(keepalive_seconds=0.3)
UNGATED = ResolverSettings(hosts={NAME: ("127.0.0.1",)})
GATED = ResolverSettings(hosts={NAME: (DIRECT_ADDRESS,)})


class End:
    """A running messenger, with a log and an inbox of its own."""

    def __init__(self, world: World, settings: ChatSettings) -> None:
        self.log = Log()
        self.shown: list[str] = []
        self.messenger = Messenger(settings, self.log, self._show)
        self.task = world.start(self.messenger.run(), settings.name)

    @property
    def sender(self) -> Sender:
        return self.messenger.sender

    def _show(self, delivery: Delivery) -> None:
        self.shown.append(f"{delivery.sender}: {delivery.body.decode()}")
        self.log("shown")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def gate(messenger: World) -> Gate:
    """In front of the direct path of those who are `GATED`. The world's own receiver is gone."""
    await messenger.stop_receiver()
    return await messenger.gate()


@pytest.fixture
async def proxy() -> AsyncIterator[int]:
    async with own_proxy() as port:
        yield port


def chatting(world: World, name: str, peer: str, proxies: dict[str, int], **more: object) -> ChatSettings:
    sender = world.settings(proxies)
    defaults: dict[str, object] = {"policy": ATTENTIVE, "resolver": GATED}
    return ChatSettings(
        name=name,
        peer=peer,
        origin=sender.origin,
        ca_file=sender.ca_file,
        routes=sender.routes,
        **(defaults | more),  # type: ignore[arg-type]  # The tests' own, of many types.
    )


async def test_a_listener_survives_the_block_of_its_direct_path(messenger: World, gate: Gate, proxy: int) -> None:
    settings = messenger.settings({"proxy1": proxy})
    bob = End(
        messenger,
        ListenerSettings(
            name="bob",
            origin=OriginAddress(NAME, messenger.port),
            ca_file=settings.ca_file,
            routes=settings.routes,
            policy=ATTENTIVE,
            resolver=GATED,
        ),
    )
    alice = messenger.start_sender(messenger.settings({}, resolver=UNGATED))
    alice.submit(b"before")
    await bob.log.until("shown")
    gate.stalled = True
    alice.submit(b"lost on bob's direct path")
    await bob.log.until("route_switched", new="proxy1")
    assert await alice.drain(10)
    assert bob.shown == ["alice: before", "alice: lost on bob's direct path"]
    assert not bob.log.of("message_shown_twice")
    assert bob.sender.status.route == "proxy1"


async def test_a_chat_goes_on_both_ways_under_the_block(messenger: World, gate: Gate, proxy: int) -> None:
    alice = End(messenger, chatting(messenger, "alice", "bob", {"proxy1": proxy}))
    bob = End(messenger, chatting(messenger, "bob", "alice", {"proxy1": proxy}))
    alice.sender.submit(b"hello")
    bob.sender.submit(b"hi")
    assert await alice.sender.drain(5)
    assert await bob.sender.drain(5)
    gate.stalled = True
    for end in (alice, bob):
        end.sender.submit(b"still there?")
    assert await alice.sender.drain(15)
    assert await bob.sender.drain(15)
    assert alice.shown == ["bob: hi", "bob: still there?"]
    assert bob.shown == ["alice: hello", "alice: still there?"]


async def test_what_was_lost_with_the_line_that_said_hello_last_comes_by_the_one_in_use(
    messenger: World, gate: Gate, proxy: int
) -> None:
    """A hedge says hello by the standby, so that what others send comes that way: and then that way is cut."""
    before_proxy = await messenger.gate(0.05, proxy_port=proxy)  # so the direct path is the first that stands
    policy = SidedoorSettings(keepalive_seconds=30.0, verdict_seconds=10.0)
    bob = End(messenger, chatting(messenger, "bob", "alice", {"proxy1": before_proxy.port}, policy=policy))
    alice = End(messenger, chatting(messenger, "alice", "bob", {}, resolver=UNGATED))
    await bob.log.until("route_dialed", route="proxy1")
    bob.sender.submit(b"tells how fast the direct path is")
    assert await bob.sender.drain(5)
    gate.delay_seconds = 0.5  # late, and not lost: there is no switch
    bob.sender.submit(b"goes by both")
    await bob.log.until("message_acked", route="proxy1")
    assert bob.sender.status.line.startswith("direct in doubt, copies go by proxy1 | standby proxy1")
    before_proxy.stalled = True
    alice.sender.submit(b"by the standby, and lost there")
    await before_proxy.until_dropped()
    before_proxy.reset()
    assert await alice.sender.drain(10)
    assert bob.shown == ["alice: by the standby, and lost there"]
    assert not bob.log.of("route_switched")


async def test_what_comes_takes_the_line_in_use_again_when_no_copies_go_by_the_standby_any_more(
    messenger: World, gate: Gate, proxy: int
) -> None:
    before_proxy = await messenger.gate(0.05, proxy_port=proxy)  # so the direct path is the first that stands
    policy = SidedoorSettings(keepalive_seconds=30.0, verdict_seconds=10.0)
    bob = End(messenger, chatting(messenger, "bob", "alice", {"proxy1": before_proxy.port}, policy=policy))
    alice = End(messenger, chatting(messenger, "alice", "bob", {}, resolver=UNGATED))
    await bob.log.until("route_dialed", route="proxy1")
    bob.sender.submit(b"tells how fast the direct path is")
    assert await bob.sender.drain(5)
    gate.delay_seconds = 0.5
    bob.sender.submit(b"goes by both")
    await bob.log.until("message_acked", route="proxy1")
    gate.delay_seconds = 0.0
    await asyncio.sleep(HOME_SECONDS + 0.5)
    bob.sender.submit(b"is answered in time")
    assert await bob.sender.drain(5)
    before_proxy.stalled = True
    alice.sender.submit(b"by the line in use")
    assert await alice.sender.drain(5)
    assert bob.shown == ["alice: by the line in use"]
    assert not bob.log.of("route_switched")


async def test_what_an_earlier_life_had_queued_and_shown_is_known_to_the_next(
    messenger: World, gate: Gate, tmp_path: Path
) -> None:
    state = str(tmp_path / "bob.state")
    settings = chatting(messenger, "bob", "alice", {}, state_file=state, resolver=UNGATED)
    bob = End(messenger, settings)
    alice = messenger.start_sender(messenger.settings({}, resolver=UNGATED))
    alice.submit(b"one")
    assert await alice.drain(5)
    bob.sender.submit(b"nobody is there to take this")
    missing = bob.messenger.missing
    await bob.stop()
    assert missing.of("alice") == "1 message to alice is"
    assert (tmp_path / f"bob.state{RECEIVED}").exists()
    again = End(messenger, settings)
    assert again.messenger.missing == missing
    alice.submit(b"two")
    assert await alice.drain(5)
    assert again.shown == ["alice: two"]
