"""`send` and `listen` in a terminal: what is typed, what is not read, what is cleaned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.client.terminal import terminal
from tests.integration.client.test_cli import command, first_line
from tests.integration.client.world import NAME, World

RED = b"\x1b[31mred\x1b]0;title\x07"


@pytest.fixture
async def stack(messenger: World) -> AsyncIterator[AsyncExitStack]:
    """The world's own receiver is gone: bob listens in a process of his own."""
    await messenger.stop_receiver()
    async with AsyncExitStack() as made:
        yield made


def end(messenger: World, name: str) -> list[str]:
    where = ["--origin", f"{NAME}:{messenger.port}", "--ca-file", str(messenger.files.ca)]
    return ["--name", name, *where, "--resolve", f"{NAME}=127.0.0.1"]


def sending(messenger: World) -> list[str]:
    return ["send", *end(messenger, "alice"), "--peer", "bob"]


async def send(messenger: World, body: bytes) -> None:
    async with command(*sending(messenger)) as sender:
        _, errors = await sender.communicate(body)
    assert (sender.returncode, errors) == (0, b"")


async def test_control_characters_are_replaced_in_a_terminal(messenger: World, stack: AsyncExitStack) -> None:
    listener = await stack.enter_async_context(terminal("client", "listen", *end(messenger, "bob")))
    await listener.until("connected to origin")
    await send(messenger, RED)
    await listener.until("\ufffd[31mred\ufffd]0;title\ufffd\n")


async def test_so_are_those_of_a_name_that_is_told_on_stderr(messenger: World, stack: AsyncExitStack) -> None:
    listener = await stack.enter_async_context(terminal("client", "listen", *end(messenger, "bob")))
    await listener.until("connected to origin")
    words = ["send", *end(messenger, "al\x1b[31mice"), "--peer", "bob", "--attach", str(messenger.files.ca)]
    async with command(*words) as sender:
        await sender.communicate(b"")
    assert sender.returncode == 1
    await listener.until("ca.pem from al\ufffd[31mice was not received: attachments are not taken here without --att")


async def test_a_pipe_gets_the_bytes_as_they_came(messenger: World, stack: AsyncExitStack) -> None:
    listener = await stack.enter_async_context(command("listen", *end(messenger, "bob")))
    await first_line(listener.stderr, "connected to origin")
    await send(messenger, RED + b"\xff")
    assert listener.stdout is not None
    assert await asyncio.wait_for(listener.stdout.readline(), 20) == RED + b"\xff\n"


async def test_who_types_is_told_how_to_end(messenger: World, stack: AsyncExitStack) -> None:
    listener = await stack.enter_async_context(command("listen", *end(messenger, "bob")))
    await first_line(listener.stderr, "connected to origin")
    sender = await stack.enter_async_context(terminal("client", *sending(messenger)))
    await sender.until("sidedoor: type lines; Ctrl-D ends\n")
    sender.type("hello\r")
    assert await first_line(listener.stdout) == "hello\n"
    sender.type("\x04")
    assert await sender.end() == 0


async def test_a_terminal_is_not_read_beside_attachments(
    messenger: World, stack: AsyncExitStack, tmp_path: Path
) -> None:
    folder = str(tmp_path / "received")
    listener = await stack.enter_async_context(command("listen", *end(messenger, "bob"), "--attachments", folder))
    await first_line(listener.stderr, "connected to origin")
    words = [*sending(messenger), "--attach", str(messenger.files.ca)]
    sender = await stack.enter_async_context(terminal("client", *words))
    assert await sender.end() == 0
    await sender.until("sidedoor: sent ca.pem")
    assert "type lines" not in sender.text
