from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.policies.sidedoor_settings import SidedoorSettings
from client.sender import Sender
from tests.integration.client.world import Gate, World, own_proxy


@pytest.fixture
async def direct(messenger: World) -> Gate:
    return await messenger.gate(0.005)


@pytest.fixture
async def proxy(messenger: World) -> AsyncIterator[Gate]:
    async with own_proxy() as port:
        yield await messenger.gate(0.005, port)


@pytest.fixture
async def folder(messenger: World, tmp_path: Path) -> Path:
    """Where a receiver takes attachments."""
    await messenger.stop_receiver()
    messenger.start_receiver(attachments_folder=str(tmp_path / "in"), attachment_limit_bytes=17 << 20)
    return tmp_path / "in"


def file(folder: Path, size: int, name: str = "photo.raw") -> str:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return str(path)


async def until_sent(messenger: World, percent: int) -> None:
    await messenger.log.until("attachment_progress", percent, timeout=60)


async def test_three_forced_switches_leave_every_bit_in_its_place(
    messenger: World, direct: Gate, proxy: Gate, folder: Path, tmp_path: Path
) -> None:
    path = file(tmp_path, 16 << 20)
    policy = SidedoorSettings(standby="warm", probe_direct="never")
    sender = messenger.start_sender(messenger.settings({"proxy1": proxy.port}, policy=policy))
    await messenger.log.until("route_dialed", route="proxy1")
    await sender.attach(path)
    await until_sent(messenger, 25)
    direct.reset()
    await messenger.log.until("route_switched", new="proxy1")
    await until_sent(messenger, 50)
    proxy.reset()
    await until_sent(messenger, 75)
    proxy.reset()
    direct.reset()
    assert await sender.drain(60)
    assert (folder / "photo.raw").read_bytes() == Path(path).read_bytes()
    assert [path.name for path in folder.iterdir()] == ["photo.raw"]
    assert len(messenger.log.of("path_bad")) + len(messenger.log.of("route_failed")) >= 3


async def test_messages_do_not_wait_for_the_attachment(
    messenger: World, direct: Gate, folder: Path, tmp_path: Path
) -> None:
    sender: Sender = messenger.start_sender(messenger.settings({}))
    await sender.attach(file(tmp_path, 4 << 20))
    await until_sent(messenger, 10)
    sender.submit(b"in between")
    await messenger.log.until("message_acked")
    assert not messenger.log.of("attachment_sent")
    assert await sender.drain(60)
    assert messenger.log.of("attachment_received")[0]["bytes"] == 4 << 20


async def test_a_refusal_comes_back_and_the_next_one_goes(
    messenger: World, direct: Gate, folder: Path, tmp_path: Path
) -> None:
    sender = messenger.start_sender(messenger.settings({}))
    await sender.attach(file(tmp_path, 18 << 20))
    await sender.attach(file(tmp_path, 5, "small"))
    assert await sender.drain(30)
    (failed,) = messenger.log.of("attachment_failed")
    assert failed["reason"] == (
        "the receiver refuses it: it has 18874368 bytes, and 17825792 are the most that are taken here"
    )
    assert [path.name for path in folder.iterdir()] == ["small"]


async def test_a_file_that_is_changed_on_its_way_is_taken_back(
    messenger: World, direct: Gate, folder: Path, tmp_path: Path
) -> None:
    path = file(tmp_path, 8 << 20)
    sender = messenger.start_sender(messenger.settings({}))
    await sender.attach(path)
    await until_sent(messenger, 20)
    Path(path).write_bytes(b"something else")
    await messenger.log.until("attachment_failed")
    await messenger.log.until("attachment_refused")
    assert list(folder.iterdir()) == []
