"""Roles that come by themselves: real processes that are there before the lab, and all that is known of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import supervisor as module
from lab.runtimes.attended import AttendedRuntime
from lab.supervisor import RoleFailed, RoleSpec, Supervisor
from lab.topology import standard

BOUND_SECONDS = 60
_LOOPBACK = (f"127.{2 + os.getpid() % 250}.250.{number}" for number in itertools.count(1))


def name_server(role: str = "dns") -> RoleSpec:
    return RoleSpec(role, "dns", "dns", {"names": {}, "listen": [next(_LOOPBACK)], "port": 5300})


@asynccontextmanager
async def visitor(name: str, control: Path, wait_seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """A role's process as a host starts it; it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.role", name, "--control", str(control), "--wait", str(wait_seconds)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[tuple[Supervisor, asyncio.Queue[tuple[str, int]]]]:
    deaths: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    events: list[dict[str, Any]] = []
    runtime = AttendedRuntime(standard(), folder)
    async with (
        asyncio.timeout(BOUND_SECONDS),
        Supervisor(
            runtime, folder, folder, events.append, lambda role, status: deaths.put_nowait((role, status))
        ) as supervisor,
    ):
        yield supervisor, deaths
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_role_waits_for_the_lab_and_goes_with_it(tmp_path: Path) -> None:
    async with visitor("dns", tmp_path / "control.sock", BOUND_SECONDS) as process:
        async with lab(tmp_path) as (supervisor, deaths):
            await supervisor.start(name_server())
            assert supervisor.roles() == {"dns": process.pid}
        assert await process.wait() == 0
    assert deaths.empty()


async def test_a_role_waits_until_it_is_wanted(tmp_path: Path) -> None:
    async with lab(tmp_path) as (supervisor, _), visitor("two", tmp_path / "control.sock", BOUND_SECONDS):
        async with visitor("one", tmp_path / "control.sock", BOUND_SECONDS):
            await supervisor.start(name_server("one"))
        await supervisor.start(name_server("two"))


async def test_the_end_of_the_connection_is_its_death(tmp_path: Path) -> None:
    async with visitor("dns", tmp_path / "control.sock", BOUND_SECONDS) as process, lab(tmp_path) as (at, deaths):
        await at.start(name_server())
        process.kill()
        assert await deaths.get() == ("dns", 0)
        assert at.roles() == {}


async def test_a_kill_is_a_hanging_up(tmp_path: Path) -> None:
    async with visitor("dns", tmp_path / "control.sock", BOUND_SECONDS) as process, lab(tmp_path) as (at, deaths):
        await at.start(name_server())
        at.kill("dns")
        assert await deaths.get() == ("dns", 0)
        assert await process.wait() == 0


async def test_one_that_fails_is_said_to_have_its_words_elsewhere(tmp_path: Path) -> None:
    async with visitor("dns", tmp_path / "control.sock", BOUND_SECONDS) as process, lab(tmp_path) as (at, _):
        with pytest.raises(RoleFailed, match=r"role dns ended .* at start: .*: docker compose logs dns \("):
            await at.start(RoleSpec("dns", "dns", "dns", {"listn": []}))
        assert await process.wait() == 1


async def test_one_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.2)
    async with lab(tmp_path) as (supervisor, _):
        with pytest.raises(RoleFailed, match=r"role dns was not ready within 0\.2 s"):
            await supervisor.start(name_server())


@pytest.mark.parametrize("wait_seconds", [0, 0.3])
async def test_patience_ends(tmp_path: Path, wait_seconds: float) -> None:
    async with asyncio.timeout(BOUND_SECONDS), visitor("dns", tmp_path / "nobody.sock", wait_seconds) as process:
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert await process.wait() == 1
    assert said.splitlines()[-1].startswith("FileNotFoundError")
