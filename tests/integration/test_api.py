"""The API's line to a lab: one command, one answer, over a real Unix socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidedoor import api
from sidedoor.api import Lab, LabError
from sidedoor.settings import UsageError

Answer = Callable[[dict[str, Any]], bytes]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(api, "state_root", lambda: tmp_path)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def lab(folder: Path) -> Iterator[list[Answer]]:
    """A lab that answers each call with the next of the answers that the test puts in."""
    answers: list[Answer] = []
    listener = socket.create_server(str(folder / "lab.sock"), family=socket.AF_UNIX)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                if not (line := stream.readline()):
                    return
                stream.write(answers.pop(0)(json.loads(line)))

    thread = threading.Thread(target=serve, name="lab")
    thread.start()
    yield answers
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(str(folder / "lab.sock"))
    thread.join()
    listener.close()


def line(**answer: Any) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def test_find_and_apply(lab: list[Answer], folder: Path) -> None:
    seen: list[dict[str, Any]] = []
    lab.append(lambda call: line(ok=True, runtime="netns"))
    lab.append(lambda call: seen.append(call) or line(ok=True, rules=["by-name"]))
    lab.append(lambda call: seen.append(call) or line(ok=True))
    running = Lab.find("mine")
    assert running.apply("[[rules]]", origin="rules.toml", folder=os.path.relpath(folder)) == ["by-name"]
    running.clear()
    assert seen == [
        {
            "command": "censor_apply",
            "arguments": {"rules": "[[rules]]", "origin": "rules.toml", "folder": str(folder)},
        },
        {"command": "censor_clear", "arguments": {}},
    ]


def test_the_labs_that_run_are_named(lab: list[Answer], folder: Path) -> None:
    (folder.parent / "gone").mkdir()
    (folder.parent / "gone" / "lab.sock").touch()
    lab.append(lambda call: line(ok=True, runtime="netns"))
    with pytest.raises(UsageError, match=r"no lab 'default' is running \(running: mine; --name chooses\); start"):
        Lab.find()


def test_a_refusal_is_the_labs_own_words(lab: list[Answer]) -> None:
    lab.append(lambda call: line(ok=False, error="rules.toml: key `rules[0].nam` is unknown"))
    with pytest.raises(LabError, match=r"rules\[0\]\.nam"):
        Lab(api.state_folder("mine")).apply("x")


def test_a_lab_that_hangs_up(lab: list[Answer]) -> None:
    lab.append(lambda call: b"")
    with pytest.raises(LabError, match="hung up"):
        Lab(api.state_folder("mine")).status()


def test_no_lab_is_running(folder: Path) -> None:
    with pytest.raises(UsageError, match="no lab 'mine' is running; start one with: sidedoor lab up"):
        Lab.find("mine")


def test_a_lab_that_was_killed_leaves_a_socket_and_is_not_found(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(folder / "lab.sock"))
    with pytest.raises(UsageError, match="no lab 'mine' is running"):
        Lab.find("mine")


def test_importing_it_imports_no_part() -> None:
    script = "import sys, sidedoor.api; print(sorted({'proxy', 'client', 'censor', 'lab'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
