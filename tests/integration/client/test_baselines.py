"""The policies to compare with, on real sockets: each notices in its own time, and nothing is lost or shown twice."""

from __future__ import annotations

import asyncio

import pytest

from client.policies.outline import OutlineSettings
from client.policies.tdlib_settings import TdlibSettings
from client.policies.tg_android_settings import TgAndroidSettings
from client.sender import Sender
from client.settings import DialSettings
from tests.integration.client.world import Gate, World, own_proxy, send_steadily


@pytest.fixture
async def direct(messenger: World) -> Gate:
    """The gate of the direct path: 20 ms one way."""
    return await messenger.gate(0.02)


async def finish(messenger: World, sender: Sender, traffic: asyncio.Task[int], ended: asyncio.Event) -> None:
    """Stop sending; everything sent was shown, once and in order."""
    ended.set()
    last = await traffic
    assert await sender.drain(10), f"{sender.unacknowledged} not acknowledged"
    assert messenger.shown == list(range(1, last + 1))
    assert not messenger.log.of("message_shown_twice")


@pytest.mark.alone
@pytest.mark.parametrize(
    ("policy", "least_seconds", "most_seconds"),
    [
        pytest.param(TdlibSettings(), 3.9, 5.5, id="tdlib: 2.5 r after the last pong"),
        pytest.param(TgAndroidSettings(), 3.9, 4.5, id="tg-android: 4 s after the last data"),
    ],
)
async def test_silence_and_no_proxy_by_itself(
    messenger: World,
    direct: Gate,
    policy: TdlibSettings | TgAndroidSettings,
    least_seconds: float,
    most_seconds: float,
) -> None:
    async with own_proxy() as port, asyncio.TaskGroup() as group:
        sender = messenger.start_sender(messenger.settings({"proxy1": port}, policy=policy))
        ended = asyncio.Event()
        traffic = group.create_task(send_steadily(sender, lambda: not ended.is_set()), name="traffic")
        await messenger.log.until("message_acked", 100, route="direct")
        t0 = asyncio.get_running_loop().time()
        direct.stalled = True
        bad = await messenger.log.until("path_bad", route="direct", reason="ack_overdue")
        assert least_seconds < bad["t"] - t0 < most_seconds
        direct.stalled = False
        acked = len(messenger.log.of("message_acked"))
        await messenger.log.until("message_acked", acked + 100)
        await finish(messenger, sender, traffic, ended)
        assert not messenger.log.of("route_dialed", route="proxy1")


async def test_outline_takes_a_proxy_when_the_direct_route_fails_its_test_and_stays(
    messenger: World, direct: Gate
) -> None:
    direct.shut = True
    async with own_proxy() as port, asyncio.TaskGroup() as group:
        sender = messenger.start_sender(messenger.settings({"proxy1": port}, policy=OutlineSettings()))
        ended = asyncio.Event()
        traffic = group.create_task(send_steadily(sender, lambda: not ended.is_set()), name="traffic")
        await messenger.log.until("message_acked", 50, route="proxy1")
        direct.shut = False
        await messenger.log.until("message_acked", 100, route="proxy1")
        await finish(messenger, sender, traffic, ended)
    assert len(messenger.log.of("route_switched")) == 1
    assert not messenger.log.of("failed_back")


async def test_the_driver_waits_as_long_as_the_policy(messenger: World, direct: Gate) -> None:
    direct.stalled = True
    settings = messenger.settings({}, policy=OutlineSettings(test_seconds=1.0), dial=DialSettings(tls_seconds=0.1))
    t0 = asyncio.get_running_loop().time()
    messenger.start_sender(settings)
    bad = await messenger.log.until("path_bad")
    assert bad["t"] - t0 >= 1.0
    assert not messenger.log.of("route_failed")


async def test_tg_android_rotates_among_proxies(messenger: World) -> None:
    policy = TgAndroidSettings(proxies="rotation", rotation_seconds=1.0, idle_seconds=0.5)
    async with own_proxy() as first, own_proxy() as second, asyncio.TaskGroup() as group:
        gates = {"proxy1": await messenger.gate(0.02, first), "proxy2": await messenger.gate(0.02, second)}
        ports: dict[str, int] = {name: gate.port for name, gate in gates.items()}
        sender = messenger.start_sender(messenger.settings(ports, policy=policy))
        ended = asyncio.Event()
        traffic = group.create_task(send_steadily(sender, lambda: not ended.is_set()), name="traffic")
        await messenger.log.until("message_acked", 50, route="proxy1")
        gates["proxy1"].stalled = True
        await messenger.log.until("message_acked", 50, route="proxy2")
        probed = [event["route"] for event in messenger.log.of("probe_started")]
        assert sorted(probed) == ["proxy1", "proxy2"]
        await finish(messenger, sender, traffic, ended)
