"""The walk-through of docs/client.md: two chats in an interactive lab, and a block in the middle of the talk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from lab.scenario import SHIPPED
from sidedoor.api import Lab
from tests.integration.client.terminal import Terminal, terminal

NAME = "test-chat"


@pytest.fixture
def lab() -> Iterator[Lab]:
    command = [sys.executable, "-m", "sidedoor", "lab"]
    subprocess.run([*command, "up", "--name", NAME], timeout=90, check=True, capture_output=True)
    yield Lab.find(NAME)
    subprocess.run([*command, "down", "--name", NAME], timeout=90, check=True, capture_output=True)


async def end(stack: AsyncExitStack, lab: Lab, host: str, *arguments: str) -> Terminal:
    """A `sidedoor client` command on the host, in a terminal."""
    ca_file = lab.status()["ca_file"]
    to = ["--origin", "messenger.example", "--ca-file", ca_file, "--proxy", "proxy1=198.51.100.11:1080"]
    client = [sys.executable, "-m", "sidedoor", "client", *arguments, *to]
    return await stack.enter_async_context(terminal("lab", "exec", "--name", NAME, host, "--", *client))


@pytest.mark.netns
async def test_a_chat_through_a_block_and_back(lab: Lab) -> None:
    async with AsyncExitStack() as stack:
        bob = await end(stack, lab, "receiver", "chat", "--name", "bob", "--peer", "alice")
        alice = await end(stack, lab, "client", "chat", "--name", "alice", "--peer", "bob")
        for one in (alice, bob):
            await one.until("connected to origin messenger.example:443")
        alice.type("hello\r")
        await bob.until(" alice: hello\n")
        await alice.until(" alice: hello ✓✓\n")
        await asyncio.to_thread(lab.apply, (SHIPPED / "quickstart" / "address.toml").read_text())
        alice.type("still there?\r")
        await alice.until(" alice: still there? ✓✓\n", "-- messages go by proxy1 now", "vanish")
        await bob.until(" alice: still there?\n")
        bob.type("yes\r")
        await alice.until(" bob: yes\n")
        probe = await end(stack, lab, "client", "probe")
        await probe.until("direct: packets to the address vanish", "Messages would go by proxy1.")
        assert await probe.end() == 0
        await asyncio.to_thread(lab.clear)
        await alice.until("-- messages go direct now")
        for one in (alice, bob):
            one.type("\x04")
            assert await one.end() == 0
