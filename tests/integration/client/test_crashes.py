"""Real SIGKILLs of a sending and of a receiving process, amid thousands of messages and in the middle of a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.delivery import Delivery
from client.keys import draw_key, public_key
from client.receiver import run_receiver
from client.settings import OriginAddress, ReceiverSettings, ResolverSettings
from tests.integration.client.world import NAME, World

COUNT = 3000
ALICE, BOB = draw_key(), draw_key()
DIRECTLY = ResolverSettings(hosts={NAME: ("127.0.0.1",)})
BODIES = [b"message %d" % number for number in range(1, COUNT + 1)]


async def until(measure: Callable[[], int], goal: int) -> None:
    """Wait for something that another process does to a file."""
    async with asyncio.timeout(60):
        while measure() < goal:  # noqa: ASYNC110 - other processes set no events of this one.
            await asyncio.sleep(0.005)


async def kill(process: Process) -> None:
    process.kill()
    await process.wait()


@asynccontextmanager
async def running(*arguments: str, **options: Any) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, stdout=DEVNULL, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def origin(messenger: World) -> World:
    """The origin alone; the tests have receivers of their own."""
    await messenger.stop_receiver()
    return messenger


def receiver_settings(messenger: World, folder: Path, **more: Any) -> ReceiverSettings:
    defaults: dict[str, Any] = {
        "state_file": str(folder / "bob.db"),
        "private_key": BOB,
        "peer_key": public_key(ALICE),
        "resolver": DIRECTLY,
    }
    origin = OriginAddress(NAME, messenger.port)
    return ReceiverSettings(name="bob", origin=origin, ca_file=str(messenger.files.ca), **(defaults | more))


def receiving(messenger: World, folder: Path, **more: Any) -> Any:
    """The application's process; `log` in `folder` is what it has."""
    (folder / "bob.json").write_bytes(msgspec.json.encode(receiver_settings(messenger, folder, **more)))
    return running("tests.integration.client.receiving_process", str(folder / "bob.json"), str(folder / "log"))


def logged(folder: Path) -> list[bytes]:
    """The bodies that the application has."""
    log = folder / "log"
    return [line.split(b" ", 1)[1] for line in log.read_bytes().splitlines()] if log.exists() else []


def sending(messenger: World, folder: Path, *more: str) -> Any:
    key = folder / "alice.key"
    if not key.exists():
        key.touch(0o600)
        key.write_text(ALICE)
    end = [
        "--origin",
        f"{NAME}:{messenger.port}",
        "--ca-file",
        str(messenger.files.ca),
        "--resolve",
        f"{NAME}=127.0.0.1",
    ]
    keys = ["--key", str(key), "--peer-key", public_key(BOB), "--state", str(folder / "alice.db")]
    arguments = [
        "sidedoor",
        "client",
        "send",
        "--name",
        "alice",
        "--peer",
        "bob",
        *end,
        *keys,
        "--timeout",
        "60",
        *more,
    ]
    return running(*arguments, stdin=PIPE)


async def test_a_sender_that_is_killed_loses_and_repeats_nothing(origin: World, tmp_path: Path) -> None:
    shown: list[bytes] = []

    def show(delivery: Delivery) -> None:
        shown.append(delivery.body)

    events = tmp_path / "events"
    events.touch()
    async with sending(origin, tmp_path, "--events", str(events)) as process:
        process.stdin.write(b"\n".join(BODIES) + b"\n")
        await process.stdin.drain()
        await until(lambda: events.read_bytes().count(b'"message_queued"'), COUNT)
        await kill(process)
    origin.start(run_receiver(receiver_settings(origin, tmp_path), origin.log, show=show), "bob")
    for goal in (COUNT // 3, 2 * COUNT // 3):
        async with sending(origin, tmp_path) as process:
            await until(lambda: len(shown), goal)
            await kill(process)
        assert len(shown) < COUNT, "it was killed in the middle"
    async with sending(origin, tmp_path) as process:
        await process.communicate(b"and one more\n")
        assert process.returncode == 0
    assert shown == [*BODIES, b"and one more"]
    assert not origin.log.of("message_undecryptable")


async def test_a_receiver_that_is_killed_is_shown_nothing_twice(origin: World, tmp_path: Path) -> None:
    keys = {"private_key": ALICE, "peer_key": public_key(BOB)}
    sender = origin.start_sender(origin.settings({}, resolver=DIRECTLY, **keys))
    for body in BODIES:
        await sender.room()
        sender.submit(body)
    for part in range(1, 6):
        async with receiving(origin, tmp_path) as process:
            await until(lambda: len(logged(tmp_path)), part * COUNT // 6)
            await kill(process)
        assert len(logged(tmp_path)) < COUNT, "it was killed in the middle"
    async with receiving(origin, tmp_path):
        assert await sender.drain(60)
    assert logged(tmp_path) == BODIES


async def test_both_ends_are_killed_in_the_middle_of_an_attachment(origin: World, tmp_path: Path) -> None:
    data = os.urandom(16 << 20)
    (tmp_path / "photo.raw").write_bytes(data)
    folder = tmp_path / "in"
    folder.mkdir()

    def received() -> int:
        return sum(path.stat().st_size for path in folder.iterdir())

    async with receiving(origin, tmp_path, attachments_folder=str(folder)) as receiver:
        async with sending(origin, tmp_path, "--attach", str(tmp_path / "photo.raw")) as sender:
            await until(received, 4 << 20)
            await kill(sender)
        async with sending(origin, tmp_path):
            await until(received, 8 << 20)
            await kill(receiver)
    async with receiving(origin, tmp_path, attachments_folder=str(folder)), sending(origin, tmp_path) as sender:
        await sender.communicate(b"")
        assert sender.returncode == 0
    (file,) = folder.iterdir()
    assert file.name == "photo.raw"
    assert file.read_bytes() == data
