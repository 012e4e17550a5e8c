"""Both ends in one: what comes to this end goes on by another route, as what it sends does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.delivery import Delivery
from client.greetings import HOME_SECONDS
from client.messenger import RECEIVED, Messenger
from client.policies.sidedoor_settings import SidedoorSettings
from client.sender import Sender
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


class Hedging:
    """Two ends that chat; Bob's hedge has gone by his standby, behind `before_proxy`, as his direct path is late."""

    def __init__(self, messenger: World, gate: Gate, before_proxy: Gate) -> None:
        self.before_proxy = before_proxy
        self._gate = gate
        policy = SidedoorSettings(keepalive_seconds=30.0, verdict_seconds=10.0)
        proxies = {"proxy1": before_proxy.port}
        self.bob = End(messenger, chatting(messenger, "bob", "alice", proxies, policy=policy))
        self.alice = End(messenger, chatting(messenger, "alice", "bob", {}, resolver=UNGATED))

    async def begin(self) -> None:
        await self.bob.log.until("route_dialed", route="proxy1")
        self.bob.sender.submit(b"tells how fast the direct path is")
        assert await self.bob.sender.drain(5)
        self._gate.delay_seconds = 0.5  # late, and not lost: there is no switch
        self.bob.sender.submit(b"goes by both")
        await self.bob.log.until("message_acked", route="proxy1")

    def alice_says(self, text: str) -> None:
        self.alice.sender.submit(text.encode())

    async def finish(self, *shown: str) -> None:
        assert await self.alice.sender.drain(10)
        assert self.bob.shown == [f"alice: {text}" for text in shown]
        assert not self.bob.log.of("route_switched")


@pytest.fixture
async def hedging(messenger: World, gate: Gate, proxy: int) -> Hedging:
    # The proxy's way is longer, so that the direct path is the first that stands.
    made = Hedging(messenger, gate, await messenger.gate(0.05, proxy_port=proxy))
    await made.begin()
    return made


async def test_what_was_lost_with_the_line_that_said_hello_last_comes_by_the_one_in_use(hedging: Hedging) -> None:
    """A hedge says hello by the standby, so that what others send comes that way: and then that way is cut."""
    assert hedging.bob.sender.status.line.startswith("direct in doubt, copies go by proxy1 | standby proxy1")
    hedging.before_proxy.stalled = True
    hedging.alice_says("by the standby, and lost there")
    await hedging.before_proxy.until_dropped()
    hedging.before_proxy.reset()
    await hedging.finish("by the standby, and lost there")


async def test_what_comes_takes_the_line_in_use_again_when_no_copies_go_by_the_standby_any_more(
    hedging: Hedging, gate: Gate
) -> None:
    gate.delay_seconds = 0.0
    await asyncio.sleep(HOME_SECONDS + 0.5)
    hedging.bob.sender.submit(b"is answered in time")
    assert await hedging.bob.sender.drain(5)
    hedging.before_proxy.stalled = True
    hedging.alice_says("by the line in use")
    await hedging.finish("by the line in use")


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
