"""What one run of the sender remembers of a network, and the next one begins with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from client import surroundings as module
from client.network import Network
from client.policies import NetworkChanged, Recollection, Remember
from client.policies.sidedoor_settings import SidedoorSettings
from client.sender import Sender
from client.settings import SenderSettings
from client.surroundings import Surroundings
from sidedoor.settings import SettingsError
from tests.integration.client.watched_policy import WatchedPolicies, watch_policies
from tests.integration.client.world import Gate, Log, World, own_proxy

HOME = Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:05", "192.0.2.7")
CAFE = Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:66", "192.0.2.7")


class Place:
    """Where this host is taken to be."""

    network: Network | None = HOME


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    where = Place()
    monkeypatch.setattr(module, "read_network", lambda: where.network)
    return where


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> WatchedPolicies:
    return watch_policies(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "networks.json"


@pytest.fixture
async def direct(messenger: World) -> Gate:
    return await messenger.gate(0.01)


@pytest.fixture
async def proxy(messenger: World) -> AsyncIterator[Gate]:
    async with own_proxy() as port:
        yield await messenger.gate(0.0, port)


def settings(messenger: World, file: Path, **more: Any) -> SenderSettings:
    return messenger.settings(more.pop("proxies", {}), memory_file=str(file), network_poll_seconds=0.05, **more)


async def run_once(messenger: World, settings: SenderSettings) -> float:
    """A life of the sender with one message; seconds until it was acknowledged."""
    began = time.monotonic()
    sender = Sender(settings, messenger.log)
    running = messenger.start(sender.run(), "alice")
    sender.submit(b"x")
    assert await sender.drain(15)
    took = time.monotonic() - began
    running.cancel()
    await asyncio.wait([running])
    return took


async def test_the_second_start_begins_with_what_the_first_remembered(
    messenger: World, direct: Gate, place: Place, watch: WatchedPolicies, file: Path
) -> None:
    watch.orders = [Remember("direct", 0.02), Remember("gone", 0.03)]
    await run_once(messenger, settings(messenger, file))
    watch.orders = []
    await run_once(messenger, settings(messenger, file))
    place.network = CAFE
    await run_once(messenger, settings(messenger, file))
    first, second, elsewhere = watch.recollections
    assert first == elsewhere == Recollection()
    assert set(second.rtt_seconds) == {"direct"}  # Of the routes that there are.
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_second_start_inside_a_block_goes_to_the_proxy_that_worked(
    messenger: World, direct: Gate, proxy: Gate, place: Place, file: Path
) -> None:
    blocked = [direct, *[await messenger.gate(0.0, proxy.port) for _ in range(3)]]
    for gate in blocked:
        gate.stalled = True
    proxies = {f"proxy{number}": gate.port for number, gate in enumerate([*blocked[1:], proxy], 1)}
    given = settings(messenger, file, proxies=proxies, policy=SidedoorSettings(standby="cold"))
    first = await run_once(messenger, given)
    tried = [gate.accepted for gate in blocked[1:]]
    assert all(tried)
    second = await run_once(messenger, given)
    print(f"first start {first:.3f} s, second start {second:.3f} s")
    assert [gate.accepted for gate in blocked[1:]] == tried  # The censor sees no proxy in vain either.
    assert second < first


async def test_the_policy_is_told_of_another_network_and_what_is_remembered_of_it(
    messenger: World, direct: Gate, place: Place, watch: WatchedPolicies, file: Path
) -> None:
    watch.orders = [Remember("direct", 0.02)]
    messenger.start_sender(settings(messenger, file))
    await messenger.log.until("route_dialed")
    place.network = CAFE
    await messenger.log.until("network_changed", remembered=False)
    place.network = None
    await messenger.log.until("route_dialed")
    place.network = HOME
    await messenger.log.until("network_changed", remembered=True)
    assert [isinstance(told, NetworkChanged) for told in watch.told] == [True, True]
    assert "direct" in watch.told[1].recollection.rtt_seconds  # type: ignore[union-attr] # by the line above


async def test_a_broken_file_is_reported_and_begun_anew(
    messenger: World, direct: Gate, place: Place, watch: WatchedPolicies, file: Path
) -> None:
    file.write_bytes(b'{"format": 1, "salt": "cut o')
    watch.orders = [Remember("direct", 0.02)]
    await run_once(messenger, settings(messenger, file))
    assert messenger.log.of("memory_unreadable", file=str(file))
    assert json.loads(file.read_bytes())["networks"][0]["routes"]["direct"]["worked_at"] > 0


async def test_a_folder_that_is_not_there_is_the_users_mistake(messenger: World, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"memory_file .*/missing/file: there is no folder .*/missing; make it"):
        Sender(settings(messenger, tmp_path / "missing" / "file"), messenger.log)


async def test_a_file_that_cannot_be_written_is_reported_once(
    place: Place, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    log = Log()
    surroundings = Surroundings(str(file), 0.01, log)
    file.mkdir()
    places = iter([HOME, CAFE])
    changes = asyncio.Event()

    def changed() -> None:
        place.network = next(places, None)
        if place.network is None:
            changes.set()

    place.network = CAFE
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(surroundings.watch(changed), name="surroundings")
        await changes.wait()
        watching.cancel()
    assert len(log.of("memory_unwritable", detail="Is a directory")) == 1


async def test_the_file_is_written_only_so_often_and_at_the_end(place: Place, file: Path) -> None:
    surroundings = Surroundings(str(file), 0.01, Log())
    looked = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(surroundings.watch(looked.set), name="surroundings")
        place.network = CAFE
        await asyncio.wait_for(looked.wait(), 5)
        written = file.stat().st_mtime_ns
        surroundings.diagnosed("direct", "tcp", 0.9)
        looked.clear()
        place.network = HOME
        await asyncio.wait_for(looked.wait(), 5)
        assert file.stat().st_mtime_ns == written
        watching.cancel()
    assert b'"diagnosis":{"route":"direct","kind":"tcp"' in file.read_bytes()
