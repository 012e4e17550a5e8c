"""The console script: exit codes, one line for what was called wrongly."""

from __future__ import annotations

import sys
from types import ModuleType

import click
import pytest

import sidedoor
from sidedoor import cli
from sidedoor.root import COMMANDS
from sidedoor.settings import UsageError


def run_main(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A part whose command does what the test makes `act` do."""
    module = ModuleType("a_part")

    @click.command()
    def command() -> None:
        module.act()

    module.__dict__.update(command=command, act=lambda: None)
    monkeypatch.setitem(sys.modules, "a_part", module)
    monkeypatch.setitem(COMMANDS, "part", ("a_part:command", "A part."))
    return module


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--version") == 0
    assert capsys.readouterr().out.split()[-1] == sidedoor.__version__


def test_a_command_is_run(part: ModuleType) -> None:
    assert run_main("part") == 0


def test_a_usage_error_is_one_line_on_stderr(part: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> None:
        raise UsageError("port 1080 is taken; choose another with --listen")

    part.__dict__["act"] = act
    assert run_main("part") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sidedoor: port 1080 is taken; choose another with --listen\n"


def test_ctrl_c(part: ModuleType) -> None:
    def act() -> None:
        raise KeyboardInterrupt

    part.__dict__["act"] = act
    assert run_main("part") == 130


def test_the_status_that_a_command_exits_with(part: ModuleType) -> None:
    part.__dict__["act"] = lambda: click.get_current_context().exit(1)
    assert run_main("part") == 1


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"]])
def test_an_unknown_command_or_option(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(*arguments) == 2
    assert "No such" in capsys.readouterr().err
