"""censor/lines/local.py; several lines: tests/lab/test_censor_workers.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from censor.compiled import CompiledRules
from censor.core import Core
from censor.lines import local as subject
from censor.lines.local import Callbacks, LineSettings, LocalLine, Logged
from censor.lists.binding import Lists
from censor.offload import address_blocks
from censor.rules import RuleSet
from tests.unit.censor.traffic import CLIENT, HELLO, SERVER, Ends, acting, rules

SETTINGS = LineSettings((5,), generation=7, flow_limit=3, residual_limit=2, receive_buffer_bytes=4096)
ADDRESSES = f'action = "drop"\naddresses = ["{SERVER}"]'


class FakeLine:
    """done: what it was told, in order."""

    done: ClassVar[list[Any]] = []
    packets_queued = 9
    statistics: ClassVar[dict[str, Any]] = {"packets": 1}

    def __init__(self, core: Core, emit: Any, *, on_blocked: Any, on_suspect: Any) -> None:
        self.core = core

    def open(self, number: int, receive_buffer_bytes: int) -> None:
        self.done.append(("open", number, receive_buffer_bytes))

    def set_rules(self, rules: RuleSet, lists: Any, changed: frozenset[str]) -> bool:
        self.done.append(changed)
        return self.core.set_rules(rules, lists, changed)

    def __getattr__(self, name: str) -> Any:
        return lambda: self.done.append(name)


@pytest.fixture
def events() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, dict[str, Any]]]) -> LocalLine:
    monkeypatch.setattr(subject, "Line", FakeLine)
    monkeypatch.setattr(FakeLine, "done", [])

    def emit(event: str, /, **fields: Any) -> None:
        events.append((event, fields))

    return LocalLine(SETTINGS, Callbacks(emit, lambda _: None, lambda _: None))


async def test_life(line: LocalLine) -> None:
    await line.open()
    async with asyncio.TaskGroup() as tasks:
        line.start(tasks)
        line.stop()
        line.drain()
        line.close()
    assert FakeLine.done == [("open", 5, 4096), "start", "stop", "drain", "close"]
    assert line.packets_queued == 9
    assert await line.statistics() == {"packets": 1}


async def test_rules_and_lists_are_switched_together(line: LocalLine, tmp_path: Path) -> None:
    lists = Lists()
    kill = acting('kind = "drop"', existing_flows='"kill"')
    for entry, changed in (("a.example", frozenset()), ("b.example", frozenset({"x"}))):
        parsed = rules(kill, head=f'[[list]]\nname = "x"\nentries = ["{entry}"]')
        lists.stage(parsed.lists, tmp_path)
        switch = await line.set_rules(parsed, lists)
        assert switch.before <= switch.after
        assert FakeLine.done[-1] == changed
        assert switch.moved_on == (not changed)  # the list is not what the rule that kills asks about
        assert line.core.generation == 8
    assert line.core.rules == parsed


def test_what_the_kernel_dropped_is_told(line: LocalLine, events: list[tuple[str, dict[str, Any]]]) -> None:
    (block,) = address_blocks(CompiledRules(rules(ADDRESSES), {}))
    packet = Ends().syn()
    line.tell(
        [
            Logged("rule0", block, packet, 5.0),
            Logged("rule0", block, b"unreadable", 6.0),
            Logged("rule1", None, packet, 7.0),
        ]
    )
    assert [(event, one["t"], one["rule"], one["action"]) for event, one in events] == [
        ("censor_hit", 5.0, "rule0", "drop"),
        ("censor_hit", 7.0, "rule1", "residual"),
    ]
    assert events[0][1]["flow"] == f"tcp {CLIENT}:40000 > {SERVER}:443"


def test_convictions_are_the_cores(line: LocalLine) -> None:
    assert line.convict(bytes(4), 443, 5.0, 60.0) is None
    line.core.set_rules(rules(acting('kind = "probe"')))
    blocked = line.convict(bytes(4), 443, 5.0, 60.0)
    assert blocked is not None
    assert blocked.kind == "server"


def test_the_limits_are_the_cores(line: LocalLine) -> None:
    for port in range(5):
        line.core.decide(Ends(client_port=port + 1).data(HELLO))
    assert len(line.core.flows) == SETTINGS.flow_limit
