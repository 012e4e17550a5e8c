"""The netns runtime's end of the line to the lab's init, with the init's words written out; and its refusals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.runtimes import netns
from lab.topology import standard
from sidedoor.settings import UsageError


class Init:
    """What a runtime writes to the init, and what the init says to it."""

    def __init__(self, runtime: netns.NetnsRuntime) -> None:
        self.asked: list[dict[str, Any]] = []
        self.reader = asyncio.StreamReader()
        runtime._reader = self.reader
        runtime._writer = self  # type: ignore[assignment]  # all that is used of a StreamWriter is here
        runtime._listening = asyncio.create_task(runtime._listen(), name="init")

    def write(self, data: bytes) -> None:
        self.asked += [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.reader.feed_eof()

    async def say(self, **message: Any) -> None:
        self.reader.feed_data(json.dumps(message).encode() + b"\n")
        await turns()


async def turns() -> None:
    """Let the loop do what is due."""
    for _ in range(10):
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0)


@pytest.fixture
def runtime() -> netns.NetnsRuntime:
    return netns.NetnsRuntime(standard(), {"dns": 7}, None)  # type: ignore[arg-type]  # `up` alone uses the socket


@pytest.fixture
async def init(runtime: netns.NetnsRuntime) -> AsyncIterator[Init]:
    init = Init(runtime)
    yield init
    await runtime.down()
    await turns()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr("lab.runtimes.netns.os.kill", lambda pid, number: killed.append((pid, number)))
    return killed


def spawn(runtime: netns.NetnsRuntime, role: str) -> asyncio.Task[netns.NetnsProcess]:
    return asyncio.create_task(runtime.spawn("dns", role, Path("/c.sock"), Path("/l.log")), name=f"spawn {role}")


async def test_spawn_and_exit(runtime: netns.NetnsRuntime, init: Init, killed: list[tuple[int, int]]) -> None:
    spawning = spawn(runtime, "dns")
    await turns()
    assert init.asked == [{"id": 1, "host": "dns", "role": "dns", "control": "/c.sock", "log": "/l.log"}]
    await init.say(spawned=1, pid=40)
    process = await spawning
    process.kill()
    assert killed == [(40, signal.SIGKILL)]
    await init.say(exited=99, status=0)  # an orphan that the init has reaped
    await init.say(exited=40, status=-9)
    assert await process.wait() == -9
    process.kill()
    assert len(killed) == 1, "a PID that is free again may be anybody's"


async def test_a_spawn_that_is_given_up_is_killed_and_the_others_go_on(
    runtime: netns.NetnsRuntime, init: Init, killed: list[tuple[int, int]]
) -> None:
    given_up, other = spawn(runtime, "web"), spawn(runtime, "dns")
    await turns()
    given_up.cancel()
    await init.say(spawned=1, pid=40)
    await init.say(spawned=2, pid=41)
    assert killed == [(40, signal.SIGKILL)]
    await init.say(exited=40, status=-9)
    await init.say(exited=41, status=3)
    assert await (await other).wait() == 3


async def test_devices_are_called_as_their_networks(runtime: netns.NetnsRuntime) -> None:
    assert await runtime.devices("censor") == {"home": "home", "uplink": "uplink"}
    assert runtime.path_in_host(Path("/any/where")) == Path("/any/where")
    await runtime.down()  # before it was up


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lab.runtimes.netns.shutil.which", lambda name, path: None if name == "nft" else f"/usr/bin/{name}"
    )
    with pytest.raises(UsageError, match="the netns runtime needs nft: sudo apt-get install nftables"):
        netns.check_tools()


def test_search_path_has_the_system_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/home/me/bin")
    assert netns.search_path() == "/home/me/bin:/usr/sbin:/sbin"
    monkeypatch.delenv("PATH")
    assert netns.search_path().startswith("/usr/bin:/bin:")


def test_an_ordinary_user_gets_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.runtimes.netns.os.geteuid", lambda: 1000)
    assert netns.unshare_command()[1:3] == ["--user", "--map-root-user"]
    monkeypatch.setattr("lab.runtimes.netns.os.geteuid", lambda: 0)
    assert "--user" not in netns.unshare_command()


def test_a_lab_that_is_not_there_has_no_hosts() -> None:
    with pytest.raises(UsageError, match="the lab has no host client"):
        netns.host_process(os.getpid(), "client")


def test_a_hosts_process(monkeypatch: pytest.MonkeyPatch) -> None:
    children = {1: [2], 2: [3], 3: [4, 5]}
    monkeypatch.setattr(netns, "_children", lambda pid: children.get(pid, []))
    monkeypatch.setattr(netns, "_name", lambda pid: {4: "sd@censor", 5: "sd@client"}.get(pid, ""))
    assert netns.host_process(1, "client") == 5


def test_processes_that_have_gone_have_neither_name_nor_children() -> None:
    assert netns._children(2**22 + 1) == []
    assert netns._name(2**22 + 1) == ""
