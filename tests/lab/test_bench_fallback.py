"""`sidedoor bench fallback` in labs of its own: runs are measured, kept, and gone on with. Figures are not judged."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.benchmarks.fallback import runner
from lab.benchmarks.fallback.records import Record
from lab.benchmarks.processes import tree

SECONDS = 100
COMMAND = [sys.executable, "-m", "sidedoor", "bench", "fallback", "--parallel", "1", "--rtt", "40"]
UPSTREAM = ["--policy", "sidedoor", "--block", "upstream-dead", "--repeats", "2", "--watch", "8"]
ONE = ["--block", "syn-drop", "--loss", "0", "--warm", "--no-kill", "--watch", "8"]

pytestmark = [pytest.mark.alone, pytest.mark.netns]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)


def _runs(folder: Path) -> list[Record]:
    return runner.read_runs(folder / runner.CONDITIONS, Record)


def test_one_round_of_two_policies_side_by_side(tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "fallback.json"
    policies = ["--policy", "sidedoor", "--policy", "sidedoor-no-spare"]
    done = _run(*ONE, *policies, "--repeats", "1", "--out", str(out), "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads(file.read_text())
    cells = {cell["policy"]: cell for cell in data["cells"]}
    assert set(cells) == {"sidedoor", "sidedoor-no-spare"}
    for cell in cells.values():
        assert (cell["block"], cell["rtt_ms"], cell["loss"], cell["warm"]) == ("syn-drop", 40, 0.0, True)
        assert cell["messages"]["lost"] == cell["messages"]["duplicated_application"] == 0
        assert cell["messages"]["sent"] > 100
        assert cell["cost"]["wire_bytes"] > 1000 * cell["messages"]["sent"] / (cell["n"] + cell["n_not_counted"])
    for run in _runs(out):
        # Both met the block at the same time, each with a t0 of its own: its first packet that vanished.
        assert run.t0 is not None
        assert run.t0 > 1.5
        assert run.route_before == "direct"
        assert run.ttr_seconds is None or 0.08 < run.ttr_seconds < run.t0 + 8
        assert run.ttr_seconds is None or str(run.route_after).startswith("proxy")
        assert run.latency_before_seconds is None or run.latency_before_seconds > 0.04
    spare = {run.policy: run.cost.proxies_revealed_before for run in _runs(out)}
    assert spare == {"sidedoor": 1, "sidedoor-no-spare": 0}


def test_a_block_of_what_lies_behind_the_proxies_cold(tmp_path: Path) -> None:
    done = _run(*UPSTREAM, "--cold", "--loss", "0", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(run.t0 is not None and not run.warm for run in _runs(tmp_path))


def test_a_client_that_gets_sigkill_loses_nothing(tmp_path: Path) -> None:
    """What was queued before goes on in its next life; nothing is shown twice."""
    done = _run(*UPSTREAM, "--warm", "--kill", "--loss", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [run for run in _runs(tmp_path) if run.killed]
    assert len(runs) >= 2
    assert sum(run.messages.lost + run.messages.duplicated_application for run in runs) == 0
    assert sum(run.messages.sent for run in runs) > 100


def test_interrupted_it_keeps_its_rounds_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = [*ONE, "--policy", "sidedoor", "--repeats", "24", "--out", str(out)]
    for number in (signal.SIGINT, signal.SIGKILL):
        before = len(_runs(out))
        with subprocess.Popen([*COMMAND, *wanted], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                assert process.stderr is not None
                assert any(b": round " in line for line in process.stderr)  # which is told when it is kept
                family = [os.pidfd_open(member) for member in tree(process.pid)[1:]]
                process.send_signal(number)
                process.wait(SECONDS)
            finally:
                process.kill()
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        for descriptor in family:  # the labs went with it
            assert select.select([descriptor], [], [], 30)[0]
            os.close(descriptor)
        assert len(_runs(out)) > before
    kept = _runs(out)
    done = _run(*wanted)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _runs(out)[: len(kept)] == kept
    assert len({(run.round, run.client) for run in _runs(out)}) == len(_runs(out)) >= 24
