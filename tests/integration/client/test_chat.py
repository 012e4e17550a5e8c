"""Two chats at one origin: alice in a terminal, bob with plain lines."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.client.terminal import Terminal, terminal
from tests.integration.client.test_cli import command, first_line
from tests.integration.client.world import DIRECT_ADDRESS, NAME, World, own_proxy


@pytest.fixture
async def stack(messenger: World) -> AsyncIterator[AsyncExitStack]:
    """The world's own receiver is gone: bob is a chat."""
    await messenger.stop_receiver()
    async with AsyncExitStack() as made:
        yield made


def arguments(messenger: World, name: str, peer: str, address: str = "127.0.0.1") -> list[str]:
    end = ["--origin", f"{NAME}:{messenger.port}", "--ca-file", str(messenger.files.ca)]
    return ["chat", "--name", name, "--peer", peer, *end, "--resolve", f"{NAME}={address}"]


async def bob(messenger: World, stack: AsyncExitStack, *more: str) -> Process:
    made = await stack.enter_async_context(command(*arguments(messenger, "bob", "alice"), *more))
    await first_line(made.stderr, "connected to origin")
    return made


async def alice(messenger: World, stack: AsyncExitStack, *more: str, address: str = "127.0.0.1") -> Terminal:
    made = await stack.enter_async_context(terminal("client", *arguments(messenger, "alice", "bob", address), *more))
    await made.until("connected to origin", "\n>")
    return made


def type_line(process: Process, line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line + b"\n")


async def test_a_block_in_the_middle_of_a_talk(messenger: World, stack: AsyncExitStack) -> None:
    gate = await messenger.gate()
    port = await stack.enter_async_context(own_proxy())
    other = await bob(messenger, stack)
    person = await alice(messenger, stack, "--proxy", f"proxy1=127.0.0.1:{port}", address=DIRECT_ADDRESS)
    person.type("hello\r")
    assert (await first_line(other.stdout)).endswith(" alice: hello\n")
    await person.until(" alice: hello ✓✓\n", " direct ", "standby proxy1")
    gate.stalled = True
    type_line(other, b"can you \x1b[2J read this?")
    await person.until(" bob: can you \ufffd[2J read this?", "-- messages go by proxy1 now")
    person.type("yes\r")
    await person.until(" alice: yes ✓✓\n")
    person.forget()
    person.type("/routes\r/help\r/rout\r")
    await person.until("-- proxy1: in use", "-- direct: ", "-- /send FILE", "did you mean /routes?")
    assert (await first_line(other.stdout, "yes")).endswith(" alice: yes\n")
    person.type("\x04")  # Ctrl-D
    assert await person.end() == 0


async def test_what_is_not_delivered_is_said_and_goes_out_in_the_next_chat(
    messenger: World, stack: AsyncExitStack, tmp_path: Path
) -> None:
    state = ["--state", str(tmp_path / "alice.state"), "--timeout", "0.1"]
    person = await alice(messenger, stack, *state)
    person.type("nobody is there\r")
    await person.until("alice: nobody is there", "✓")
    person.type("/x\r")  # Whatever is printed has all that is below it drawn anew, in one piece.
    await person.until("alice: nobody is there ✓\n", "1 message not there yet")
    person.type("\x03")  # Ctrl-C
    assert await person.end() == 1
    kept = f"1 message to bob is not acknowledged: kept in {state[1]} for the next chat"
    await person.until("-- not acknowledged: ", kept)
    other = await bob(messenger, stack)
    person = await alice(messenger, stack, *state)
    await person.until("-- 1 message to bob is under way from an earlier chat")
    assert (await first_line(other.stdout)).endswith(" alice: nobody is there\n")
    person.type("/quit\r")
    assert await person.end() == 0


async def test_a_file_and_its_progress(messenger: World, stack: AsyncExitStack, tmp_path: Path) -> None:
    source, folder = tmp_path / "my photo.jpg", tmp_path / "received"
    source.write_bytes(bytes(range(256)) * 8192)
    other = await bob(messenger, stack, "--attachments", str(folder))
    person = await alice(messenger, stack)
    person.type(f"/send {source}\r/send {tmp_path}/missing\r")
    await person.until("my photo.jpg", " %", "-- sent my photo.jpg (2097152 bytes)", "missing: cannot be read: No such")
    await first_line(other.stderr, "received", "my photo.jpg from alice")
    assert (folder / source.name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_order(messenger: World, stack: AsyncExitStack, number: signal.Signals) -> None:
    other = await bob(messenger, stack, "--timeout", "0.1")
    type_line(other, b"nobody is there")
    await messenger.log.until("peer_joined", 2, peer="bob")
    other.send_signal(number)
    _, errors = await asyncio.wait_for(other.communicate(), 20)
    assert other.returncode in (0, 1)  # The line may not have been read yet.
    told = (
        "sidedoor: 1 message to alice is not acknowledged: what the origin has already it may still deliver; "
        "with --state FILE the rest would be kept for the next chat\n"
    )
    assert (told in errors.decode()) == (other.returncode == 1)


@pytest.mark.parametrize(("more", "ready"), [([], "\n>"), (["--plain"], "connected")], ids=["drawn", "plain"])
async def test_the_second_ctrl_c_ends_the_waiting_and_it_is_said_what_is_left(
    messenger: World, stack: AsyncExitStack, more: list[str], ready: str
) -> None:
    words = [*arguments(messenger, "alice", "bob"), "--timeout", "60", *more]
    person = await stack.enter_async_context(terminal("client", *words))
    await person.until("connected to origin", ready)
    person.type("nobody is there\r/x\r")
    await person.until("there is no /x")
    person.type("\x03")
    await person.until("waiting for what is under way, 60 s at most; Ctrl-C ends it now")
    person.type("\x03")
    assert await person.end() == 1
    await person.until("not acknowledged: ", "1 message to bob is not acknowledged: what the origin has already it may")


async def test_ctrl_d_is_a_key_of_the_chat_as_long_as_that_lasts(messenger: World, stack: AsyncExitStack) -> None:
    person = await alice(messenger, stack)
    assert person.end_of_file == b"\0"  # Else one that is pressed while something is printed would be lost.
    person.type("\x04")
    assert await person.end() == 0
    assert person.end_of_file == b"\x04"


@pytest.mark.parametrize("typed", ["", "half a li"])
async def test_another_chat_of_the_name_ends_it_in_order(messenger: World, stack: AsyncExitStack, typed: str) -> None:
    person = await alice(messenger, stack)
    person.type(f"nobody hears this\r{typed}")
    await person.until("alice: nobody hears this", typed)
    another = await alice(messenger, stack)
    assert await person.end() == 2
    await person.until("not acknowledged: ", "1 message to bob is not acknowledged: what the origin has already it may")
    await person.until(
        "sidedoor: another alice has connected to the origin, and gets what is sent to alice from now on"
    )
    assert person.end_of_file == b"\x04"
    other = await bob(messenger, stack)
    type_line(other, b"who is there?")
    await another.until(" bob: who is there?\n")


async def test_events_in_the_terminal_of_the_chat_make_it_plain(messenger: World, stack: AsyncExitStack) -> None:
    words = [*arguments(messenger, "alice", "bob"), "--events", "-"]
    person = await stack.enter_async_context(terminal("client", *words))
    await person.until("so the chat is plain lines, as with --plain", '"event":"route_dialed"', "connected to origin")
    person.type("\x04")
    assert await person.end() == 0
    assert "\n>" not in person.text


async def test_a_line_too_long_is_refused_and_the_end_of_stdin_is_the_end(
    messenger: World, stack: AsyncExitStack
) -> None:
    person = await alice(messenger, stack)
    other = await bob(messenger, stack)
    output, errors = await other.communicate(b"x" * 600_000 + b"\nshort\n")
    assert other.returncode == 0
    assert "that has 600000 bytes; 524288 are the most" in errors.decode()
    assert output.decode().endswith(" bob: short ✓✓\n")
    await person.until(" bob: short\n")
