"""The three commands as processes, one message each way of giving it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.integration.client.world import free_port


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidedoor", "client", *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def first_event(process: Process, name: str) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while json.loads(await process.stderr.readline())["event"] != name:
            pass


async def test_origin_receiver_and_sender(tmp_path: Path) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem"), "--resolve", "localhost=127.0.0.1"]
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(
            command("origin", "--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path), "--events", "-")
        )
        await first_event(origin, "origin_listening")
        receiver = await stack.enter_async_context(command("receive", "--name", "bob", *end))
        events = tmp_path / "events.jsonl"
        sender = await stack.enter_async_context(
            command("send", "--name", "alice", "--peer", "bob", *end, "--events", str(events))
        )
        _, errors = await sender.communicate(b"first\nsecond\n")
        assert (sender.returncode, errors) == (0, b"")
        assert receiver.stdout is not None
        assert [await receiver.stdout.readline() for _ in range(2)] == [b"first\n", b"second\n"]
        assert [json.loads(line)["event"] for line in events.read_text().splitlines()].count("message_acked") == 2


async def test_a_sender_without_an_origin_says_so_and_exits_1(tmp_path: Path) -> None:
    from client.certificates import write_self_signed

    files = write_self_signed(tmp_path, ["localhost"])
    arguments = ["--name", "alice", "--peer", "bob", "--origin", f"127.0.0.1:{free_port()}"]
    async with command(
        "send", *arguments, "--ca-file", str(files.ca), "--count", "1", "--interval", "0", "--timeout", "0.3"
    ) as sender:
        _, errors = await sender.communicate()
    assert sender.returncode == 1
    assert b"1 messages to bob are not acknowledged after 0.3 s" in errors
