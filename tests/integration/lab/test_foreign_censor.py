"""lab/roles/foreign_censor.py: real programs, with a line to the lab that notes what is said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lab.roles.foreign_censor import ProgramFailed, complete, run


class NotedControl:
    """A role's end of the line on paper."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.events: list[dict[str, Any]] = []
        self.handlers: dict[str, Callable[..., Awaitable[None]]] = {}

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append({"event": event} | fields)
        if event == "role_ready":
            self.ready.set()

    def on(self, command: str, handler: Callable[..., Awaitable[None]]) -> None:
        self.handlers[command] = handler


def role(folder: Path, command: list[str] | None, control: NotedControl, ready_seconds: float = 0) -> Awaitable[None]:
    settings = {"folder": str(folder), "command": command, "ready_seconds": ready_seconds}
    return run(settings, control)  # type: ignore[arg-type]  # all that the role says goes through these two


async def test_it_stands_and_is_told_to_end(tmp_path: Path) -> None:
    script = 'trap "echo ended > said; exit" TERM; echo $$ > pid; mkfifo fifo; read line < fifo'
    control = NotedControl()
    standing = asyncio.ensure_future(role(tmp_path, ["sh", "-c", script], control, ready_seconds=0.5))
    await control.ready.wait()
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    standing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standing
    assert (tmp_path / "said").read_text() == "ended\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_it_has_started_goes_with_it(tmp_path: Path) -> None:
    for name in ("held", "never"):
        os.mkfifo(tmp_path / name)
    control = NotedControl()
    held = asyncio.create_task(asyncio.to_thread((tmp_path / "held").read_bytes))  # ends with whoever writes to it
    script = "(echo on > /dev/fd/3; read line < never) 3> held & wait"
    standing = asyncio.ensure_future(role(tmp_path, ["sh", "-c", script], control, ready_seconds=0.5))
    await control.ready.wait()
    standing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standing
    assert await held == b"on\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "exit 3"], "sh ended with status 3"),
        (["sh", "-c", "kill -9 $$"], "sh was killed by signal 9"),
        (["./none"], "./none could not be started: No such file or directory"),
    ],
)
async def test_one_that_does_not_stand_is_a_role_that_failed(tmp_path: Path, command: list[str], said: str) -> None:
    control = NotedControl()
    with pytest.raises(ProgramFailed) as failed:
        await role(tmp_path, command, control, ready_seconds=10)
    assert str(failed.value) == said
    assert not control.ready.is_set()


async def test_one_that_ends_later_ends_the_role(tmp_path: Path) -> None:
    control = NotedControl()
    os.mkfifo(tmp_path / "fifo")
    standing = asyncio.ensure_future(role(tmp_path, ["sh", "-c", "read line < fifo; exit 4"], control))
    await control.ready.wait()
    await complete(["sh", "-c", "echo > fifo"], str(tmp_path))
    with pytest.raises(ProgramFailed, match="sh ended with status 4"):
        await standing


async def test_blocks_are_commands_and_told_like_rules(tmp_path: Path) -> None:
    control = NotedControl()
    standing = asyncio.ensure_future(role(tmp_path, None, control))
    await control.ready.wait()
    await control.handlers["enforce"](rule="all", command=["sh", "-c", "echo blocked > state"])
    assert (tmp_path / "state").read_text() == "blocked\n"
    await control.handlers["lift"](rule="all", command=["rm", "state"])
    assert not (tmp_path / "state").exists()
    enforced, lifted = control.events[1:]
    assert (enforced["event"], enforced["rule"], lifted["event"]) == ("rule_enforced", "all", "rule_lifted")
    assert enforced["before"] <= enforced["after"] <= lifted["before"] <= lifted["after"]
    standing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standing


async def test_a_command_that_ends_badly(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="sh -c exit 2: sh ended with status 2; its output is in the censor's log"):
        await complete(["sh", "-c", "exit 2"], str(tmp_path))


async def test_a_command_that_does_not_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ProgramFailed, match=r"not done within 0\.2 s"):
        await complete(["sh", "-c", "read line < fifo"], str(tmp_path), seconds=0.2)
