"""Both ends of the control line over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.control import LINE_LIMIT_BYTES, CommandFailed, RoleConnection, RoleControl, Roster

BOUND_SECONDS = 10


class Lab:
    """A roster, and what it heard."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.roster = Roster(path, self._take)

    def _take(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    async def join(self, role: str, settings: dict[str, Any] | None = None) -> tuple[RoleConnection, RoleControl]:
        joined = self.roster.expect(role, "dns", settings or {})
        control, _, _ = await RoleControl.connect(self.roster.path, role)
        return await joined, control


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path / "control.sock")
    async with asyncio.timeout(BOUND_SECONDS), lab.roster:
        yield lab
    assert not lab.roster.path.exists()


async def serving(control: RoleControl) -> asyncio.Task[None]:
    return asyncio.create_task(control.serve(), name=f"serve {control.role}")


async def test_hello_gives_kind_and_settings(lab: Lab) -> None:
    joined = lab.roster.expect("proxy1", "proxy", {"listen": ["192.0.2.1:1080"], "open": True})
    control, kind, settings = await RoleControl.connect(lab.roster.path, "proxy1")
    assert (kind, settings) == ("proxy", {"listen": ["192.0.2.1:1080"], "open": True})
    connection = await joined
    assert (connection.role, connection.pid) == ("proxy1", os.getpid())
    await control.close()
    await connection.closed.wait()


@pytest.mark.parametrize(
    "hello", [b'{"hello": "stranger", "pid": 1}\n', b"{}\n", b"[]\n", b'{"hello": []}\n', b"x\n", b""]
)
async def test_who_is_not_expected_is_hung_up_on(lab: Lab, hello: bytes) -> None:
    joined = lab.roster.expect("dns", "dns", {})
    reader, writer = await asyncio.open_unix_connection(lab.roster.path)
    writer.write(hello)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert not joined.done()


async def test_a_stranger_learns_that_at_hello(lab: Lab) -> None:
    with pytest.raises(EOFError, match="the lab closed the connection at hello"):
        await RoleControl.connect(lab.roster.path, "stranger")


async def test_a_role_may_join_once(lab: Lab) -> None:
    _, control = await lab.join("dns")
    with pytest.raises(EOFError):
        await RoleControl.connect(lab.roster.path, "dns")
    await control.close()


async def test_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await RoleControl.connect(tmp_path / "nothing.sock", "dns")


async def test_events_arrive_in_order_with_their_source(lab: Lab) -> None:
    connection, control = await lab.join("dns")
    for number in range(500):
        control.emit("counted", number=number)
    control.emit("at", t=12.5)
    await control.close()
    await connection.closed.wait()
    assert [event["number"] for event in lab.events[:-1]] == list(range(500))
    assert {event["source"] for event in lab.events} == {"dns"}
    assert lab.events[-1] == {"t": 12.5, "source": "dns", "event": "at"}
    control.emit("late")  # nobody hears it


async def test_commands(lab: Lab) -> None:
    connection, control = await lab.join("censor")

    async def add(one: int, other: int) -> dict[str, Any]:
        return {"sum": one + other}

    async def nothing() -> None: ...

    async def fail() -> None:
        raise ValueError("no such rule")

    for name, handler in (("add", add), ("nothing", nothing), ("fail", fail)):
        control.on(name, handler)
    task = await serving(control)
    assert (await connection.call("add", one=1, other=2))["sum"] == 3
    assert (await connection.call("nothing"))["ok"]
    with pytest.raises(CommandFailed, match=r"^censor: fail: ValueError: no such rule$"):
        await connection.call("fail")
    with pytest.raises(CommandFailed, match=r"^censor: nosuch: censor knows no command 'nosuch'$"):
        await connection.call("nosuch")
    with pytest.raises(CommandFailed, match=r"^censor: add: TypeError: .*missing"):
        await connection.call("add", one=1)
    connection.hang_up()
    await task
    await control.close()


async def test_overlapping_commands_get_their_own_replies(lab: Lab) -> None:
    connection, control = await lab.join("censor")

    async def echo(number: int) -> dict[str, Any]:
        return {"number": number}

    control.on("echo", echo)
    task = await serving(control)
    replies = await asyncio.gather(*(connection.call("echo", number=n, timeout=5) for n in range(20)))
    assert [reply["number"] for reply in replies] == list(range(20))
    connection.hang_up()
    await task
    await control.close()


async def test_no_reply_in_time_and_one_that_comes_too_late(lab: Lab) -> None:
    connection, control = await lab.join("censor")
    go = asyncio.Event()

    async def slow() -> None:
        await go.wait()

    async def quick() -> None: ...

    control.on("slow", slow)
    control.on("quick", quick)
    task = await serving(control)
    with pytest.raises(CommandFailed, match=r"^censor: slow: no reply within 0\.05 s$"):
        await connection.call("slow", timeout=0.05)
    go.set()
    assert await connection.call("quick")
    connection.hang_up()
    await task
    await control.close()


async def test_a_role_that_ends_before_it_answers(lab: Lab) -> None:
    connection, control = await lab.join("censor")
    asked = asyncio.create_task(connection.call("apply"), name="call")
    await control._reader.readline()
    await control.close()
    with pytest.raises(CommandFailed, match=r"^censor: apply: the role ended before it answered$"):
        await asked
    with pytest.raises(CommandFailed, match=r"^censor: apply: the role has ended$"):
        await connection.call("apply")


async def test_a_role_that_dies_in_mid_line_is_only_gone(lab: Lab) -> None:
    connection, control = await lab.join("dns")
    control._writer.write(b'{"t": 1.0, "source": "dn')
    await control.close()
    await connection.closed.wait()
    assert lab.events == []


async def test_a_line_beyond_the_limit_ends_its_role_only(lab: Lab) -> None:
    loud, loud_control = await lab.join("web")
    quiet, quiet_control = await lab.join("dns")
    loud_control._writer.write(b"x" * (2 * LINE_LIMIT_BYTES + 1))
    await loud.closed.wait()
    await loud_control.close()
    quiet_control.emit("here")
    await quiet_control.close()
    await quiet.closed.wait()
    assert [event["event"] for event in lab.events] == ["here"]


async def test_the_end_of_the_lab_ends_its_roles(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "control.sock")
    async with asyncio.timeout(BOUND_SECONDS):
        async with lab.roster:
            _, control = await lab.join("dns")
            task = await serving(control)
        await task
        await control.close()


async def test_a_lab_that_is_killed_is_the_end_for_its_roles_too(lab: Lab) -> None:
    """Unread bytes make the kernel reset the line instead of ending it."""
    connection, control = await lab.join("dns")
    task = await serving(control)
    connection._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    control.emit("unread")
    connection._writer.transport.abort()
    await task
    await control.close()
