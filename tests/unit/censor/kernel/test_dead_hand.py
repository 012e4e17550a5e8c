"""censor/kernel/dead_hand.py"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from censor.kernel import dead_hand
from censor.kernel.dead_hand import DeadHand

# Arms, says so, and waits to be killed.
_ARMED = """
import signal, sys
from censor.kernel.dead_hand import DeadHand
hand = DeadHand(("touch", sys.argv[1]))
hand.arm()
print("armed", flush=True)
signal.pause()
"""


def test_disarmed_hand_does_nothing(tmp_path: Path) -> None:
    hand = DeadHand(("touch", str(tmp_path / "touched")))
    for _ in range(2):
        hand.arm()
        hand.arm()
        assert hand.armed
        hand.disarm()
        hand.disarm()
        assert not hand.armed
    assert not (tmp_path / "touched").exists()


def test_killed_process_has_its_command_run(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-c", _ARMED.replace('"touch"', '"cp", "/dev/null"'), str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        process.send_signal(signal.SIGKILL)
        with open(fifo, "rb") as opened:  # returns when the command has opened its end
            assert opened.read() == b""


def test_a_program_that_was_stopped_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dead_hand, "_SECONDS", 0.05)
    hand = DeadHand(("touch", str(tmp_path / "touched")))
    hand.arm()
    assert hand._process is not None
    hand._process.send_signal(signal.SIGSTOP)
    hand.disarm()
    assert not (tmp_path / "touched").exists()
