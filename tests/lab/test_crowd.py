"""Labs with many clients, for benchmarks: two of them side by side, and nothing of them stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.crowd_session import ACKS
from tests.lab.machine_state import left_behind, snapshot

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 5

pytestmark = pytest.mark.netns


def test_two_at_once_do_not_disturb_each_other() -> None:
    before = snapshot()
    command = [sys.executable, "-m", "tests.lab.crowd_session", str(CLIENTS)]
    labs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for lab in labs:
        said, _ = lab.communicate(timeout=90)
        assert lab.returncode == 0
        found = json.loads(said)
        assert found["acks"].keys() == {f"client{number}" for number in range(1, CLIENTS + 1)}
        assert min(found["acks"].values()) >= ACKS
        print(f"stood after {found['seconds']:.2f} s")
    for lab in labs:
        assert left_behind(before, lab=f"run-{lab.pid}") == {}
