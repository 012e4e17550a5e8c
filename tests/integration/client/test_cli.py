"""The three commands as processes, one message each way of giving it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client.certificates import CertificateFiles, write_self_signed
from tests.integration.client.world import free_port


@asynccontextmanager
async def command(*arguments: str, **options: Any) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidedoor", "client", *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def first_line(stream: asyncio.StreamReader | None, *words: str) -> str:
    """The first line that has all these words."""
    assert stream is not None
    async with asyncio.timeout(20):
        while line := (await stream.readline()).decode():
            if all(word in line for word in words):
                return line
    raise AssertionError(f"no line has {words}")


async def test_origin_receiver_and_sender(tmp_path: Path) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(command("origin", *listen, "--events", "-"))
        assert await first_line(origin.stdout, "origin_listening")
        receiver = await stack.enter_async_context(command("receive", "--name", "bob", *end))
        assert await first_line(receiver.stderr) == f"sidedoor: connected to origin localhost:{port}\n"
        events = tmp_path / "events.jsonl"
        sender = await stack.enter_async_context(
            command("send", "--name", "alice", "--peer", "bob", *end, "--events", str(events))
        )
        _, errors = await sender.communicate(b"first\r\nsecond")
        assert (sender.returncode, errors) == (0, b"")
        assert receiver.stdout is not None
        assert [await receiver.stdout.readline() for _ in range(2)] == [b"first\n", b"second\n"]
        assert [json.loads(line)["event"] for line in events.read_text().splitlines()].count("message_acked") == 2


async def test_a_sender_by_a_bridge(tmp_path: Path) -> None:
    """The bridge's key comes from the environment: others on the machine see the options of commands."""
    port, bridge_port, key = free_port(), free_port(), "c0" * 32
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with AsyncExitStack() as stack:
        origin = command("origin", "--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path))
        await first_line((await stack.enter_async_context(origin)).stderr, "listening")
        receiver = await stack.enter_async_context(command("receive", "--name", "bob", *end))
        await first_line(receiver.stderr, "connected")
        listen = ["--listen", f"127.0.0.1:{bridge_port}", "--target", f"127.0.0.1:{port}"]
        environment = os.environ | {"SIDEDOOR_BRIDGE_KEY": key}
        bridge = await stack.enter_async_context(command("bridge", *listen, env=environment))
        assert await first_line(bridge.stderr) == f"sidedoor: bridge: listening on 127.0.0.1:{bridge_port}\n"
        route = f"b=obfuscated://{key}@127.0.0.1:{bridge_port}"
        events = tmp_path / "events.jsonl"
        sender = await stack.enter_async_context(
            command("send", "--name", "alice", "--peer", "bob", *end, "--route", route, "--events", str(events))
        )
        _, errors = await sender.communicate(b"hello")
        assert (sender.returncode, errors) == (0, b"")
        assert await first_line(receiver.stdout) == "hello\n"
        dialed = [
            event for event in map(json.loads, events.read_text().splitlines()) if event["event"] == "route_dialed"
        ]
        assert {event["route"] for event in dialed} == {"b"}


async def test_keys_state_and_attachments(tmp_path: Path) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    public = {}
    for name in ("alice", "bob"):
        async with command("key", "--file", str(tmp_path / f"{name}.key")) as made:
            output, _ = await made.communicate()
            public[name] = output.decode().strip()
    alice = ["--key", str(tmp_path / "alice.key"), "--peer-key", public["bob"], "--state", str(tmp_path / "alice.db")]
    bob = ["--key", str(tmp_path / "bob.key"), "--peer-key", public["alice"], "--state", str(tmp_path / "bob.db")]
    (tmp_path / "photo.jpg").write_bytes(b"photo" * 20_000)
    send = ["send", "--name", "alice", "--peer", "bob", *end, "--attach", str(tmp_path / "photo.jpg")]
    async with AsyncExitStack() as stack:
        listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
        origin = await stack.enter_async_context(command("origin", *listen))
        await first_line(origin.stderr, "listening")
        receive = ["receive", "--name", "bob", *end, *bob, "--attachments", str(tmp_path / "in")]
        receiver = await stack.enter_async_context(command(*receive))
        await first_line(receiver.stderr, "connected")
        sender = await stack.enter_async_context(command(*send, *alice))
        _, errors = await sender.communicate(b"secret")
        assert (sender.returncode, errors) == (0, b"sidedoor: sent photo.jpg (100000 bytes)\n")
        assert await first_line(receiver.stderr, "received") == (
            f"sidedoor: received {tmp_path}/in/photo.jpg from alice (100000 bytes)\n"
        )
        assert (tmp_path / "in" / "photo.jpg").read_bytes() == b"photo" * 20_000
        plain = await stack.enter_async_context(command(*send, "--timeout", "0.5"))
        _, errors = await plain.communicate(b"")
        assert plain.returncode == 1
        assert "1 attachment to bob is not acknowledged after 0.5 s" in errors.decode()
        assert await first_line(receiver.stderr, "cannot be decrypted: it is not encrypted")


async def test_an_attachment_that_is_refused_is_told_and_exits_1(tmp_path: Path) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with AsyncExitStack() as stack:
        listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
        origin = await stack.enter_async_context(command("origin", *listen))
        await first_line(origin.stderr, "listening")
        await stack.enter_async_context(command("receive", "--name", "bob", *end))
        send = ["send", "--name", "alice", "--peer", "bob", *end, "--attach", str(tmp_path / "ca.pem")]
        sender = await stack.enter_async_context(command(*send))
        _, errors = await sender.communicate(b"")
    assert sender.returncode == 1
    assert errors.decode() == (
        "sidedoor: ca.pem was not sent: the receiver refuses it: "
        "attachments are not taken here without --attachments DIR\n"
    )


async def test_who_only_sends_takes_nothing_from_the_listener_of_its_name(tmp_path: Path) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with AsyncExitStack() as stack:
        listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
        await first_line((await stack.enter_async_context(command("origin", *listen))).stderr, "listening")
        bob = await stack.enter_async_context(command("listen", "--name", "bob", *end))
        await first_line(bob.stderr, "connected")
        also_bob = command("send", "--name", "bob", "--peer", "carol", *end, "--events", "-")
        also_bob_sends = await stack.enter_async_context(also_bob)
        assert also_bob_sends.stdin is not None
        also_bob_sends.stdin.write(b"is anybody there?\n")
        await also_bob_sends.stdin.drain()
        await first_line(also_bob_sends.stdout, "message_sent")
        alice = await stack.enter_async_context(command("send", "--name", "alice", "--peer", "bob", *end))
        _, errors = await alice.communicate(b"for who listens")
        assert (alice.returncode, errors) == (0, b"")
        assert await first_line(bob.stdout) == "for who listens\n"


@pytest.mark.parametrize("first", [["listen"], ["chat", "--peer", "alice"]], ids=["listen", "chat"])
async def test_a_name_is_for_one_receiver_and_the_first_is_told_by_whom_it_is_replaced(
    tmp_path: Path, first: list[str]
) -> None:
    port = free_port()
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with AsyncExitStack() as stack:
        listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
        await first_line((await stack.enter_async_context(command("origin", *listen))).stderr, "listening")
        former = await stack.enter_async_context(command(*first, "--name", "bob", *end))
        await first_line(former.stderr, "connected")
        later = await stack.enter_async_context(command("listen", "--name", "bob", *end))
        await first_line(later.stderr, "connected")
        said = await first_line(former.stderr, "another", "bob")
        assert said.startswith(
            "sidedoor: another bob has connected to the origin, and gets what is sent to bob from now"
        )
        assert await asyncio.wait_for(former.wait(), 10) == 2
        alice = await stack.enter_async_context(command("send", "--name", "alice", "--peer", "bob", *end))
        _, errors = await alice.communicate(b"for the later one")
        assert (alice.returncode, errors) == (0, b"")
        assert await first_line(later.stdout) == "for the later one\n"


async def test_a_second_origin_uses_the_files_of_the_first(tmp_path: Path) -> None:
    start = ["origin", "--listen", "127.0.0.1:0", "--self-signed", str(tmp_path)]
    async with command(*start) as first:
        assert await first_line(first.stderr, "made the certificate for localhost, 127.0.0.1, ::1")
        made = {path: path.read_bytes() for path in tmp_path.iterdir()}
    async with command(*start) as second:
        assert await first_line(second.stderr, "using the certificate")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == made


async def test_the_ends_say_that_they_cannot_reach_the_origin_and_when_they_do(tmp_path: Path) -> None:
    port = free_port()
    origin = ["origin", "--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
    async with command(*origin) as earlier:  # For its certificate.
        await first_line(earlier.stderr, "listening")
    end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with command("receive", "--name", "bob", *end) as receiver:
        first = await first_line(receiver.stderr)
        assert first == f"sidedoor: cannot reach origin localhost:{port}: tcp: connection refused; trying again\n"
        async with command(*origin):
            assert await first_line(receiver.stderr) == f"sidedoor: connected to origin localhost:{port}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_even_if_the_shell_has_them_ignored(tmp_path: Path, number: signal.Signals) -> None:
    """A script's `command &` starts with SIGINT ignored."""
    arguments = ["origin", "--listen", "127.0.0.1:0", "--self-signed", str(tmp_path)]
    async with command(*arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as origin:
        await first_line(origin.stderr, "listening")
        origin.send_signal(number)
        assert await asyncio.wait_for(origin.wait(), 10) == 0


async def test_an_interrupted_sender_waits_for_no_more_input(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    end = ["--origin", f"127.0.0.1:{free_port()}", "--ca-file", str(files.ca)]
    async with command("send", "--name", "alice", "--peer", "bob", *end) as sender:
        await first_line(sender.stderr, "cannot reach origin")
        sender.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(sender.wait(), 10) == 130


async def test_an_interrupted_sender_says_what_is_not_acknowledged(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    end = ["--origin", f"127.0.0.1:{free_port()}", "--ca-file", str(files.ca)]
    words = ["--name", "alice", "--peer", "bob", *end, "--events", "-"]
    async with command("send", *words) as sender:
        assert sender.stdin is not None
        sender.stdin.write(b"one\ntwo\n")
        for _ in range(2):
            await first_line(sender.stdout, "message_queued")
        sender.send_signal(signal.SIGINT)
        _, errors = await sender.communicate()
    assert sender.returncode == 130
    assert errors.decode().splitlines()[-1] == (
        "sidedoor: 2 messages to bob are not acknowledged: the origin has none of it; "
        "with --state FILE it would be kept for the next call"
    )


async def test_a_sender_without_an_origin_says_so_and_exits_1(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    arguments = ["--name", "alice", "--peer", "bob", "--origin", f"127.0.0.1:{free_port()}"]
    async with command(
        "send", *arguments, "--ca-file", str(files.ca), "--count", "1", "--interval", "0", "--timeout", "0.3"
    ) as sender:
        _, errors = await sender.communicate()
    assert sender.returncode == 1
    last = errors.decode().splitlines()[-2:]
    told = "sidedoor: the origin has none of it; with --state FILE it would be kept for the next call"
    assert last == ["sidedoor: 1 message to bob is not acknowledged after 0.3 s: direct: tcp: connection refused", told]


async def test_a_peer_that_is_not_there_is_not_taken_for_a_route_that_fails(tmp_path: Path) -> None:
    port = free_port()
    async with command("origin", "--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)) as origin:
        await first_line(origin.stderr, "listening")
        end = ["--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem"), "--timeout", "0.5"]
        gone = ["--proxy", f"proxy1=127.0.0.1:{free_port()}"]
        async with command("send", "--name", "alice", "--peer", "bob", *end, *gone) as sender:
            _, errors = await sender.communicate(b"a\nb\n")
    assert sender.returncode == 1
    last, told = errors.decode().splitlines()[-2:]
    assert told == (
        "sidedoor: what the origin has already it may still deliver; "
        "with --state FILE the rest would be kept for the next call"
    )
    assert last.endswith(
        "are not acknowledged after 0.5 s: the origin was reached, bob did not answer; "
        "is it receiving, and without --key, as this end?"
    )
    assert last.startswith("sidedoor: 2 messages to bob")


async def test_what_is_queued_from_an_earlier_call_is_told(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    state = str(tmp_path / "alice.db")
    end = ["--origin", f"127.0.0.1:{free_port()}", "--ca-file", str(files.ca), "--state", state, "--timeout", "0"]
    said = []
    for _ in range(2):
        async with command("send", "--name", "alice", "--peer", "bob", *end) as sender:
            _, errors = await sender.communicate(b"hello")
        said.append(errors.decode().splitlines()[0])
    assert "resuming" not in said[0]
    assert said[1] == f"sidedoor: resuming 1 message to bob, kept in {state}"


def refused(*arguments: str) -> str:
    """The one line on stderr of a command that exits 2."""
    done = subprocess.run(
        [sys.executable, "-m", "sidedoor", "client", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_busy_port_leaves_the_folder_alone(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused("origin", "--listen", listen, "--self-signed", str(tmp_path / "pki"))
    assert f"cannot listen on {listen}: Address already in use" in line
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda files: files.ca.write_text("no PEM"), "cannot use what is there"),
        (lambda files: files.key.unlink(), "leaf.key: No such file"),
        (lambda files: write_self_signed(files.ca.parent, ["other.example"]), "not good for localhost"),
    ],
    ids=["no PEM", "incomplete", "other names"],
)
def test_files_that_do_not_fit_are_not_overwritten(
    tmp_path: Path, spoil: Callable[[CertificateFiles], object], reason: str
) -> None:
    files = write_self_signed(tmp_path, ["localhost", "127.0.0.1", "::1"])
    spoil(files)
    before = {path: path.read_bytes() for path in files.existing}
    line = refused("origin", "--listen", "127.0.0.1:0", "--self-signed", str(tmp_path))
    assert reason in line
    assert "name another folder or remove ca.pem" in line
    assert {path: path.read_bytes() for path in files.existing} == before


async def test_a_signed_list_from_the_key_to_the_sender(tmp_path: Path) -> None:
    def proxies(*arguments: str) -> str:
        words = [sys.executable, "-m", "sidedoor", "client", "proxies", *arguments]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout

    key, source, signed, kept = (str(tmp_path / name) for name in ("key", "list.toml", "origin.signed", "kept.signed"))
    public = proxies("key", key).strip()
    route = '[[routes]]\nkind = "socks5"\nname = "proxy1"\nhost = "127.0.0.1"\n'
    Path(source).write_text(f"version = 5\nexpires = 2999-01-01T00:00:00Z\n{route}")
    Path(signed).write_text(proxies("sign", "--key", key, source))
    port = free_port()
    listen = ["--listen", f"127.0.0.1:{port}", "--self-signed", str(tmp_path)]
    end = ["--name", "alice", "--peer", "bob", "--origin", f"localhost:{port}", "--ca-file", str(tmp_path / "ca.pem")]
    async with command("origin", *listen, "--proxy-list", signed) as origin:
        await first_line(origin.stderr, "listening")
        memory = tmp_path / "networks.json"
        async with command(
            "send", *end, "--proxy-list", f"{public}={kept}", "--memory-file", str(memory), "--timeout", "5"
        ) as sender:
            await first_line(sender.stderr, "a new list of proxies, version 5")
    assert proxies("show", "--public-key", public, kept).startswith("version 5, part 1 of 1, expires 2999-01-01")
