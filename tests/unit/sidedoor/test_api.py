"""A lab's folder and the commands that stand behind the API; the line itself is in tests/integration/test_api.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidedoor import api
from sidedoor.settings import UsageError


@pytest.mark.parametrize("name", ["", "../etc", "A", "-x", "a" * 32, "a b"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="lower-case"):
        api.state_folder(name)


def test_each_user_and_lab_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert api.state_folder("mine").name == "mine"
    assert api.state_folder("mine").parent.name == "sidedoor-1234"


def test_programs_run_through_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append((command, options)))
    lab = api.Lab(Path("/tmp/labs/mine"))
    lab.execute("client", ["curl", "-v"], timeout=3)
    lab.down()
    program = [sys.executable, "-m", "sidedoor", "lab"]
    assert ran[0] == ([*program, "exec", "--name", "mine", "client", "--", "curl", "-v"], {"timeout": 3})
    assert ran[1][0] == [*program, "down", "--name", "mine"]
