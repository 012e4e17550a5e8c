"""`sidedoor.api` against a lab's socket, and what it must not import."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidedoor.api import Lab, LabError, state_folder
from sidedoor.settings import UsageError

STATUS = {"runtime": "netns", "hosts": {"client": ["192.0.2.10"]}, "roles": ["dns"], "rules": []}


class ScriptedLab:
    """Answers one line a connection with what `answers` has for its command; notes what it was asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, bytes] = {"status": json.dumps({"ok": True} | STATUS).encode() + b"\n"}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "lab.sock"))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, name="scripted lab")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            line, _ = self._server.accept()
            with line, line.makefile("rb") as stream:
                data = stream.readline()
                if not data:
                    return
                self.asked.append(json.loads(data))
                line.sendall(self.answers.get(self.asked[-1]["command"], b""))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self._server.getsockname())
        self._thread.join()
        self._server.close()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedLab]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scripted = ScriptedLab(state_folder("mine"))
    yield scripted
    scripted.close()


def test_find_and_status(scripted: ScriptedLab) -> None:
    lab = Lab.find("mine")
    assert lab.name == "mine"
    assert lab.status() == STATUS
    assert scripted.asked == [{"command": "status", "arguments": {}}] * 2
    with pytest.raises(UsageError, match="no lab 'other' is running"):
        Lab.find("other")


def test_rules_come_and_go(scripted: ScriptedLab) -> None:
    scripted.answers |= {"censor_apply": b'{"ok": true, "rules": ["one", "two"]}\n', "censor_clear": b'{"ok": true}\n'}
    lab = Lab(state_folder("mine"))
    assert lab.apply("# none\n", origin="mine.toml") == ["one", "two"]
    lab.clear()
    assert scripted.asked == [
        {"command": "censor_apply", "arguments": {"rules": "# none\n", "origin": "mine.toml"}},
        {"command": "censor_clear", "arguments": {}},
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'{"ok": false, "error": "mine.toml: key `rule`: no"}\n', "mine.toml: key `rule`: no"),
        (b"", "the lab hung up"),
    ],
)
def test_a_refusal_is_the_labs_own_words(scripted: ScriptedLab, answer: bytes, reason: str) -> None:
    scripted.answers["censor_apply"] = answer
    with pytest.raises(LabError) as raised:
        Lab(state_folder("mine")).apply("")
    assert str(raised.value) == reason


def test_a_lab_that_was_killed_leaves_a_socket_and_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = state_folder("mine")
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(folder / "lab.sock"))
    with pytest.raises(UsageError, match="no lab 'mine' is running"):
        Lab.find("mine")


def test_importing_it_imports_no_part() -> None:
    script = "import sys, sidedoor.api; print(sorted({'proxy', 'client', 'censor', 'lab'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
