"""The whole messenger on loopback: paths are stalled, reset and shut; nothing may be lost or shown twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from client.policies.sidedoor_settings import SidedoorSettings
from client.sender import Sender
from tests.integration.client.world import Gate, World, microsocks, own_proxy, send_steadily

FAST = {"probe_seconds": 0.3, "probe_timeout_seconds": 1.0}
COLD = SidedoorSettings(standby="cold", **FAST)  # type: ignore[arg-type] # numbers only
WARM = SidedoorSettings(standby="warm", **FAST)  # type: ignore[arg-type] # numbers only


@pytest.fixture
async def direct(messenger: World) -> Gate:
    """The gate of the direct path: 20 ms one way."""
    return await messenger.gate(0.02)


@pytest.fixture(params=["microsocks", "own"])
async def proxy(request: pytest.FixtureRequest, messenger: World) -> AsyncIterator[Gate]:
    """A gate in front of a real SOCKS5 proxy, other people's or ours."""
    if request.param == "microsocks" and shutil.which("microsocks") is None:
        pytest.skip("microsocks is not installed (apt install microsocks)")
    async with microsocks() if request.param == "microsocks" else own_proxy() as port:
        yield await messenger.gate(0.04, port)


class Traffic:
    """Steady messages from alice to bob, from `start` until `finish`."""

    def __init__(self, messenger: World, sender: Sender) -> None:
        self._messenger = messenger
        self._sender = sender
        self._ended = False
        self._task = messenger.start(self._send(), "traffic")

    async def _send(self) -> None:
        self.last = await send_steadily(self._sender, lambda: not self._ended)

    async def finish(self) -> None:
        """Everything sent was shown, once and in order."""
        self._ended = True
        await self._task
        assert await self._sender.drain(10), f"{self._sender.unacknowledged} not acknowledged"
        assert self._messenger.shown == list(range(1, self.last + 1))
        assert not self._messenger.log.of("message_shown_twice")
        assert len(self._messenger.log.of("message_acked")) == self.last


async def start(messenger: World, proxies: dict[str, int], policy: SidedoorSettings) -> Traffic:
    sender = messenger.start_sender(messenger.settings(proxies, policy=policy))
    traffic = Traffic(messenger, sender)
    await messenger.log.until("message_acked", 20, route="direct")
    if policy.standby == "warm":
        await messenger.log.until("route_dialed", route="proxy1")
    return traffic


@pytest.mark.parametrize("policy", [COLD, WARM], ids=["cold", "warm"])
async def test_silence_then_the_proxy_then_back(
    messenger: World, direct: Gate, proxy: Gate, policy: SidedoorSettings
) -> None:
    traffic = await start(messenger, {"proxy1": proxy.port}, policy)
    t0 = asyncio.get_running_loop().time()
    direct.stalled = True
    bad = await messenger.log.until("path_bad", route="direct", reason="ack_overdue")
    assert 0.2 < bad["t"] - t0 < 1.5
    assert await messenger.log.until("route_switched", old="direct", new="proxy1")
    await messenger.log.until("message_acked", 20, route="proxy1")
    direct.stalled = False
    assert await messenger.log.until("failed_back", old="proxy1", new="direct")
    acked = len(messenger.log.of("message_acked", route="direct"))
    await messenger.log.until("message_acked", acked + 20, route="direct")
    await traffic.finish()
    assert len(messenger.log.of("route_switched")) == len(messenger.log.of("failed_back")) == 1


@pytest.mark.parametrize("policy", [COLD, WARM], ids=["cold", "warm"])
async def test_a_reset_is_acted_upon_at_once(
    messenger: World, direct: Gate, proxy: Gate, policy: SidedoorSettings
) -> None:
    traffic = await start(messenger, {"proxy1": proxy.port}, policy)
    direct.shut = True
    direct.reset()
    bad = await messenger.log.until("path_bad")
    assert bad["reason"] == "reset"
    await messenger.log.until("message_acked", 20, route="proxy1")
    if policy is WARM:
        spare = messenger.log.of("route_dialed", route="proxy1")[0]
        assert spare["t"] < bad["t"]
        assert messenger.log.of("message_sent", route="proxy1")[0]["connection"] == spare["connection"]
    await traffic.finish()


async def test_proxies_are_blocked_one_by_one(messenger: World, direct: Gate) -> None:
    async with AsyncExitStack() as stack:
        gates = {
            name: await messenger.gate(0.02, await stack.enter_async_context(own_proxy()))
            for name in ("proxy1", "proxy2")
        }
        traffic = await start(messenger, {name: gate.port for name, gate in gates.items()}, COLD)
        direct.stalled = gates["proxy1"].stalled = True
        await messenger.log.until("message_acked", 20, route="proxy2")
        gates["proxy1"].stalled = False
        gates["proxy2"].shut = True
        gates["proxy2"].reset()
        await messenger.log.until("message_acked", 20, route="proxy1")
        await traffic.finish()


async def test_an_origin_that_restarts_loses_nothing(messenger: World, direct: Gate) -> None:
    traffic = await start(messenger, {}, COLD)
    acked = len(messenger.log.of("message_acked"))
    await messenger.restart_origin()
    await messenger.log.until("message_acked", acked + 50)
    await traffic.finish()


async def test_a_receiver_that_comes_late_gets_everything_and_is_no_reason_to_switch(
    messenger: World, direct: Gate, proxy: Gate
) -> None:
    await messenger.stop_receiver()
    sender = messenger.start_sender(messenger.settings({"proxy1": proxy.port}, policy=COLD))
    traffic = Traffic(messenger, sender)
    await messenger.log.until("message_sent", 60)
    assert not messenger.log.of("message_acked")
    messenger.start_receiver()
    await messenger.log.until("message_acked", 60)
    await traffic.finish()
    assert not messenger.log.of("path_bad")


async def test_user_and_password(messenger: World, direct: Gate) -> None:
    direct.shut = True
    async with own_proxy(alice="secret") as port:
        settings = messenger.settings({}, policy=COLD)
        routes = (*settings.routes, messenger.proxy_route("proxy1", port, username="alice", password="secret"))
        sender = messenger.start_sender(messenger.settings({}, policy=COLD, routes=routes))
        sender.submit(b"hello")
        assert await sender.drain(5)
        assert messenger.log.of("message_acked", route="proxy1")


async def test_a_full_outbox_holds_back_and_all_ids_are_acknowledged(messenger: World, direct: Gate) -> None:
    sender = messenger.start_sender(messenger.settings({}, limit_messages=8, window_messages=4))
    for _ in range(50):
        await sender.room()
        sender.submit(b"x")
    assert await sender.drain(5)
    assert messenger.shown == list(range(1, 51))
    assert max(event["length"] for event in messenger.log.of("queue_length")) == 8


async def test_drain_gives_up_after_its_timeout(messenger: World, direct: Gate) -> None:
    direct.stalled = True
    sender = messenger.start_sender(messenger.settings({}))
    sender.submit(b"x")
    assert not await sender.drain(0.05)
    assert sender.unacknowledged == 1
