"""The process of one condition."""

from __future__ import annotations

import json
import sys

import pytest

from lab.benchmarks.fallback import launch
from lab.topology import Crowd
from sidedoor.settings import UsageError


def test_the_command_carries_the_order() -> None:
    command = launch.command("module:function", 3, {"folder": "/tmp/x"})
    assert command[:5] == [sys.executable, "-m", "lab.benchmarks.fallback.launch", "module:function", "3"]
    assert json.loads(command[5]) == {"folder": "/tmp/x"}


def test_the_lab_s_status_is_the_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run_crowd(entry: str, arguments: dict[str, object], crowd: Crowd) -> int:
        asked.append((entry, arguments, crowd))
        return 130

    monkeypatch.setattr("lab.instance.run_crowd", run_crowd)
    assert launch.main("module:function", "3", '{"folder": "x"}') == 130
    assert asked == [("module:function", {"folder": "x"}, Crowd(clients=3))]


def test_a_machine_that_cannot_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_crowd(entry: str, arguments: dict[str, object], crowd: Crowd) -> int:
        raise UsageError("no nft here")

    monkeypatch.setattr("lab.instance.run_crowd", run_crowd)
    assert launch.main("module:function", "3", "{}") == 2
    assert capsys.readouterr().err == "sidedoor: no nft here\n"
