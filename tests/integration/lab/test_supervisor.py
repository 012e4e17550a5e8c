"""The supervisor with real role processes on this machine: start, end, and every way to die."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest

from client.certificates import make_authority
from lab import supervisor as module
from lab.supervisor import RoleFailed, RoleSpec, Supervisor
from tests.integration.lab.processes import ProcessRuntime

BOUND_SECONDS = 60
# Says hello, is told what to be, and then only sits there, deaf to everything.
DEAF = """
import socket, sys, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[3])
line.sendall(b'{"hello": "%s", "pid": 1}\\n' % sys.argv[1].encode())
line.recv(65536)
if sys.argv[1] == "ready":
    line.sendall(b'{"event": "role_ready", "source": "ready", "t": 1}\\n')
print("sitting", flush=True)
signal.pause()
"""


# Every server gets a loopback address of its own, so that a port for both UDP and TCP is free there.
PORT = 5300
_LOOPBACK = (f"127.{2 + os.getpid() % 250}.{number // 250}.{1 + number % 250}" for number in itertools.count())


class Stage:
    """A supervisor and what it reported."""

    def __init__(self, folder: Path, runtime: ProcessRuntime) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.deaths: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.runtime = runtime
        self.folder = folder
        self.supervisor = Supervisor(
            runtime,
            folder,
            folder,
            self.events.put_nowait,
            lambda role, status: self.deaths.put_nowait((role, status)),
        )


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def open_(*program: str) -> AsyncIterator[Stage]:
        stage = Stage(tmp_path, ProcessRuntime(*((program,) if program else ())))
        async with asyncio.timeout(BOUND_SECONDS):
            async with stage.supervisor:
                yield stage
            for process in stage.runtime.processes:
                await process.wait()
        assert not (tmp_path / "control.sock").exists()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    return open_


def name_server(role: str = "dns", **settings: Any) -> RoleSpec:
    zone = {"names": {"messenger.example": ["203.0.113.10"]}, "listen": [next(_LOOPBACK)], "port": PORT}
    return RoleSpec(role, "dns", "dns", zone | settings)


async def test_a_role_serves_when_start_returns_and_not_after_stop(stage: Callable[..., Any]) -> None:
    async with stage() as on:
        spec = name_server()
        await on.supervisor.start(spec)
        assert on.supervisor.roles() == {"dns": on.runtime.processes[0].pid}
        query = dns.message.make_query("messenger.example", "A")
        for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
            reply = await ask(query, spec.settings["listen"][0], port=PORT, timeout=5)
            assert str(reply.answer[0][0]) == "203.0.113.10"
        await on.supervisor.stop("dns", "nosuch")
        assert on.supervisor.roles() == {}
        assert await on.runtime.processes[0].wait() == 0
        assert on.deaths.empty()
        with pytest.raises(RoleFailed, match="role dns is not running"):
            on.supervisor.role("dns")
        with pytest.raises(RoleFailed, match="role dns is not running"):
            on.supervisor.kill("dns")
        await on.supervisor.start(name_server())  # the name is free again


async def test_two_of_a_kind_side_by_side_and_the_exit_ends_both(stage: Callable[..., Any]) -> None:
    async with stage() as on:
        await on.supervisor.start(name_server("one"), name_server("two"), log_prefix="run1-")
        assert on.supervisor.roles().keys() == {"one", "two"}
        assert {path.name for path in on.folder.glob("*.log")} == {"run1-one.log", "run1-two.log"}
    assert [await process.wait() for process in on.runtime.processes] == [0, 0]
    assert on.deaths.empty()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (RoleSpec("dns", "dns", "dns", {"names": {}, "listn": []}), "unknown field `listn`"),
        (
            RoleSpec("receiver", "receiver", "receiver", {"name": 3}),
            "key `name`: expected a string; found the integer 3",
        ),
        (RoleSpec("oracle", "oracle", "dns", {}), "KeyError: 'oracle'"),
    ],
    ids=["unknown key", "wrong type", "unknown kind"],
)
async def test_a_role_that_dies_at_start_is_quoted(stage: Callable[..., Any], spec: RoleSpec, words: str) -> None:
    async with stage() as on:
        with pytest.raises(RoleFailed) as raised:
            await on.supervisor.start(spec)
        message = str(raised.value)
        assert message.startswith(f"role {spec.role} ended with status 1 at start: ")
        assert words in message
        assert message.endswith(f"({on.folder / f'{spec.role}.log'})")
        assert on.supervisor.roles() == {}
        assert on.deaths.empty()


async def test_a_busy_port_is_what_the_origin_says(stage: Callable[..., Any], tmp_path: Path) -> None:
    """The origin fails in a task group of its own; what is quoted is the failure, not the group's frame."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        listen = f"127.0.0.1:{busy.getsockname()[1]}"
        settings = {"listen": [listen], "certificate": "/nowhere/a.pem", "key": "/nowhere/a.key"}
        async with stage() as on:
            with pytest.raises(RoleFailed) as raised:
                await on.supervisor.start(RoleSpec("origin", "origin", "messenger", settings))
    assert "Error: " in str(raised.value)
    assert "+---" not in str(raised.value)


async def test_a_role_that_says_nothing(stage: Callable[..., Any]) -> None:
    async with stage("-c", "") as on:
        with pytest.raises(RoleFailed, match=r"role dns ended with status 0 at start: no output \(.*dns\.log\)"):
            await on.supervisor.start(name_server())


async def test_a_role_that_cannot_be_spawned(stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as on:
        monkeypatch.setattr(on.supervisor, "logs", on.folder / "missing")
        with pytest.raises(RoleFailed, match=r"role dns could not be started on dns: .*No such file.*dns\.log"):
            await on.supervisor.start(name_server())


async def test_one_that_fails_takes_its_siblings_start_with_it(stage: Callable[..., Any]) -> None:
    async with stage() as on:
        with pytest.raises(RoleFailed, match="role two ended"):
            await on.supervisor.start(name_server("one"), name_server("two", port="x"))


async def test_a_killed_role_is_a_death(stage: Callable[..., Any]) -> None:
    async with stage() as on:
        await on.supervisor.start(name_server("one"), name_server("two"))
        connection = on.supervisor.role("one")
        on.supervisor.kill("one")
        assert await on.deaths.get() == ("one", -signal.SIGKILL)
        assert on.supervisor.roles().keys() == {"two"}
        await connection.closed.wait()
    assert on.deaths.empty()


async def test_sigterm_ends_a_role_in_order_and_is_a_death_all_the_same(stage: Callable[..., Any]) -> None:
    async with stage() as on:
        await on.supervisor.start(name_server())
        os.kill(on.supervisor.roles()["dns"], signal.SIGTERM)
        assert await on.deaths.get() == ("dns", 0)


async def test_a_role_that_never_gets_ready_is_killed(
    stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    async with stage("-c", DEAF) as on:
        with pytest.raises(RoleFailed, match=r"role never was not ready within 1 s; see .*/never\.log"):
            await on.supervisor.start(RoleSpec("never", "dns", "dns", {}))
        assert await on.runtime.processes[0].wait() == -signal.SIGKILL


async def test_a_role_that_does_not_go_is_killed(stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    async with stage("-c", DEAF) as on:
        await on.supervisor.start(RoleSpec("ready", "dns", "dns", {}))
        await on.supervisor.stop("ready")
        assert await on.runtime.processes[0].wait() == -signal.SIGKILL
        assert on.supervisor.roles() == {}
        assert on.deaths.empty(), "it was asked to go"


async def test_a_start_that_is_cancelled_leaves_no_process(stage: Callable[..., Any]) -> None:
    async with stage("-c", DEAF) as on:
        starting = asyncio.create_task(on.supervisor.start(RoleSpec("never", "dns", "dns", {})), name="start")
        await on.runtime.spawned.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert await on.runtime.processes[0].wait() == -signal.SIGKILL


async def test_a_role_whose_lab_dies_ends(tmp_path: Path) -> None:
    """The end of the line is the end of the role, also where nobody is left to say so."""
    runtime = ProcessRuntime()
    async with asyncio.timeout(BOUND_SECONDS):
        stage = Stage(tmp_path, runtime)
        async with stage.supervisor:
            await stage.supervisor.start(name_server())
            stage.supervisor.role("dns").hang_up()
            assert await stage.deaths.get() == ("dns", 0)
            assert await runtime.processes[0].wait() == 0


async def test_a_bystander_reports_its_flows(stage: Callable[..., Any], tmp_path: Path) -> None:
    """With nothing there to visit: each flow fails, in words, and the next one is tried all the same."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(make_authority().pem)
    sites = [f"{next(_LOOPBACK)}:{PORT}", f"{next(_LOOPBACK)}:{PORT}"]
    settings = {"sites": sites, "ca_file": str(ca_file), "interval_seconds": 0.05}
    async with stage() as on:
        await on.supervisor.start(RoleSpec("bystander", "bystander", "bystander", settings))
        flows = [await on.events.get() for _ in range(4)]
    assert [flow["site"] for flow in flows] == [*sites, *sites]
    assert {(flow["source"], flow["event"], flow["ok"], flow["failure"]) for flow in flows} == {
        ("bystander", "bystander_flow", False, "connection_refused")
    }
    assert all(0 <= flow["seconds"] < 2 for flow in flows)
