"""Where labs are kept, and what their names may be. (The line to a lab: tests/integration/test_api.py.)"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sidedoor.api import Lab, _outside, state_folder, state_root
from sidedoor.settings import UsageError


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sidedoor.api.tempfile.gettempdir", lambda: str(tmp_path))


def test_one_folder_a_lab_in_one_folder_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidedoor.api._outside", lambda uid: uid)
    assert state_root() == tmp_path / f"sidedoor-{os.getuid()}"
    assert state_folder("my-lab-2") == state_root() / "my-lab-2"


@pytest.mark.parametrize(
    ("uid_map", "outside"),
    [
        ("         0          0 4294967295\n", 0),
        ("         0       1001          1\n", 1001),
        ("1000 0 1\n0 100000 1000\n", 100000),
        ("1000 0 1\n", 0),
        ("", 0),
        ("nonsense\n", 0),
    ],
)
def test_who_a_user_is_outside_of_the_user_namespace(
    uid_map: str, outside: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: uid_map)
    assert _outside(0) == outside
    monkeypatch.setattr("sidedoor.api.os.getuid", lambda: 0)
    assert state_root().name == ("sidedoor-0" if outside == 0 else f"sidedoor-0-of-{outside}")


@pytest.mark.parametrize("name", ["", "-x", "Lab", "..", "a/b", "a" * 32, "a\n", "a b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="expected lower-case letters, digits and dashes, at most 31"):
        state_folder(name)


def test_no_lab_says_how_to_start_one() -> None:
    with pytest.raises(UsageError, match=r"no lab 'mine' is running; start one with: sidedoor lab up --name mine"):
        Lab.find("mine")
    with pytest.raises(UsageError, match=r"no lab 'default' is running; start one with: sidedoor lab up$"):
        Lab.find()


def test_programs_on_hosts_go_through_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr("sidedoor.api.subprocess.run", lambda command, **options: calls.append((command, options)))
    lab = Lab(state_folder("mine"))
    lab.execute("client", ["curl", "-v"], capture_output=True, timeout=5)
    lab.down()
    prefix = [sys.executable, "-m", "sidedoor", "lab"]
    assert calls == [
        ([*prefix, "exec", "--name", "mine", "client", "--", "curl", "-v"], {"capture_output": True, "timeout": 5}),
        ([*prefix, "down", "--name", "mine"], {"check": True, "capture_output": True}),
    ]
