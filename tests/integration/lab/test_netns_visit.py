"""A program that `sidedoor lab exec` runs: its status, and that it gets the signals and never outlives the command.

(That it runs on the host that was asked for: tests/lab/test_session.py.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

VISIT = (
    "import os, sys; from lab.runtimes.netns_visit import supervise; "
    "sys.exit(supervise('client', sys.argv[1:], os.environ, os.environ.get('FOLDER', os.getcwd())))"
)
REPORT = "trap 'echo got TERM; exit 5' TERM; trap 'echo got INT; exit 6' INT; echo $$; while :; do sleep 0.05; done"


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", VISIT, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """Who runs the tests in the background has them ignored, and a shell cannot trap what it began ignoring."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=20)
    return process.returncode, stdout, stderr


def test_the_status_is_the_commands() -> None:
    assert finish(start("sh", "-c", "echo here; exit 7")) == (7, "here\n", "")
    assert finish(start("sh", "-c", "kill -KILL $$"))[0] == 128 + signal.SIGKILL


def test_a_broken_pipe_ends_it_as_everywhere() -> None:
    assert finish(start("sh", "-c", "kill -PIPE $$"))[0] == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        (["nosuchprog", "-x"], 127, "sidedoor: host client has no program 'nosuchprog'"),
        (["/dev/null"], 126, "sidedoor: '/dev/null' cannot be run on host client: Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run_is_one_line(command: list[str], status: int, line: str) -> None:
    assert finish(start(*command)) == (status, "", f"{line}\n")


def test_a_program_of_which_the_path_has_only_what_nobody_can_run_is_none(tmp_path: Path) -> None:
    """exec says "permission denied" of a folder, as of what is in a folder that this user may not look into."""
    (tmp_path / "nosuchprog").mkdir()
    process = start("nosuchprog", PATH=str(tmp_path))
    assert finish(process) == (127, "", "sidedoor: host client has no program 'nosuchprog'\n")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert finish(start("true", FOLDER=missing)) == (127, "", f"sidedoor: host client has no folder {missing}\n")


@pytest.mark.parametrize(("number", "word", "status"), [(signal.SIGTERM, "TERM", 5), (signal.SIGINT, "INT", 6)])
def test_signals_are_passed_on(number: signal.Signals, word: str, status: int) -> None:
    process = start("sh", "-c", REPORT)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    assert finish(process) == (status, f"got {word}\n", "")


def test_it_ends_when_the_command_is_killed() -> None:
    process = start("sh", "-c", REPORT)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait(20)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists() or _state(pid) == "Z"
    process.communicate()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
