"""What was asked for wrongly is one line on stderr and exit status 2, and nothing is left running or lying about."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HEAD = 'name = "mine"\ndescription = "a scenario"\n'
BLOCK = '[[block]]\nname = "all"\nrules = "all.toml"\n'


def refusal(folder: Path, *arguments: str) -> str:
    """The one line that `sidedoor lab ...` says, in `folder`, where nothing is left of it."""
    with tempfile.TemporaryDirectory() as state:  # in no folder of pytest's: a Unix socket's path has 107 bytes
        done = subprocess.run(
            [sys.executable, "-m", "sidedoor", "lab", *arguments],
            cwd=folder,
            env=os.environ | {"TMPDIR": state, "DOCKER_HOST": f"unix://{folder}/nothing.sock"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert [path for root in Path(state).iterdir() for path in root.iterdir()] == []
    (line,) = done.stderr.splitlines()
    return line.removeprefix("sidedoor: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["run", "nosuch"],
            "no scenario 'nosuch': neither a folder with a scenario.toml nor one of active-probing, control",
        ),
        (["exec", "client", "--", "true"], "no lab 'default' is running; start one with: sidedoor lab up"),
        (["status", "--name", "mine"], "no lab 'mine' is running; start one with: sidedoor lab up --name mine"),
        (["down"], "no lab 'default' is running; start one with: sidedoor lab up"),
        (["censor", "apply", "missing.toml"], "missing.toml: cannot be read: No such file or directory"),
        (["up", "--name", "Bad Name"], "lab name 'Bad Name': expected lower-case letters"),
        (["up", "--runtime", "docker"], "no Docker engine answers ([Errno 2] No such file or directory): start it"),
        (["run", "control", "--runtime", "docker"], "no Docker engine answers ([Errno 2] No such file or directory)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    assert refusal(tmp_path, *arguments).startswith(words)


def test_a_folder_that_is_no_runs(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    line = refusal(tmp_path, "run", "control", "--out", "mine")
    assert line == "mine: is not a run's folder (thesis.tex is in it); name another with --out"
    assert (mine / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "repeats = 3\n", "mine/scenario.toml: key `repeats` is unknown; did you mean `repeat`?"),
        (HEAD + BLOCK, "mine/all.toml: cannot be read: No such file or directory (rules of block 'all')"),
    ],
    ids=["unknown key", "no rules"],
)
def test_a_bad_scenario(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/scenario.toml").write_text(text)
    assert refusal(tmp_path, "run", "mine") == f"{tmp_path}/{words}"
    assert not (tmp_path / "runs").exists()
