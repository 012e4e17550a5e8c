"""`sidedoor bench censor` measures, says what it measured, and leaves nothing behind. Figures are not judged here."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from lab.benchmarks.processes import tree
from lab.runtimes.netns import search_path, unshare_command
from tests.lab.machine_state import snapshot

SECONDS = 100
COMMAND = [sys.executable, "-m", "sidedoor", "bench", "censor", "--rounds", "1", "--seconds", "0.2"]
# One of each kind; all profiles take as long as CI takes for everything else of the censor.
ONLY = ("plain", "idle", "names", "addresses", "gfw-rst", "registry", "every-packet", "races", "flood")

pytestmark = [pytest.mark.alone, pytest.mark.netns]


def _devices() -> tuple[set[str], set[str]]:
    """The machine's named namespaces and interfaces, of which the command makes many, elsewhere."""
    found = snapshot()
    return found["named namespaces"], found["interfaces"]


def test_each_kind_once(tmp_path: Path) -> None:
    before, out = _devices(), tmp_path / "censor.json"
    only = [argument for name in ONLY for argument in ("--only", name)]
    done = subprocess.run(
        [*COMMAND, *only, "--json", str(out)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads(out.read_text())
    assert not [sample for sample in data["samples"] if sample["failure"]]
    assert set(data["profiles"]) >= {"idle", "names", "addresses"}
    bulk = {"tls"} if "iperf3" in data["skipped"] else {"tls", "iperf3"}
    for figures in [data["plain"], *data["profiles"].values()]:
        assert all(figures["gigabits_per_second"][kind] > 0 for kind in bulk)
        assert figures["new_flows_per_second"] > 0
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    for figures in data["profiles"].values():
        assert figures["throughput_ratio"] > 0
        assert figures["new_flows_ratio"] > 0
        # The ClientHello of every flow comes through Python, its bulk does not.
        assert figures["queued_packets_per_second"] > figures["new_flows_per_second"] / 2
        assert figures["cpu_seconds_per_1000_flows"] > 0
        assert figures["pss_bytes"] > 1e6
    for kind in ("gso", "single_segments"):
        inspected = data["full_inspection"][kind]
        assert inspected["gigabits_per_second"] > 0
        assert inspected["queued_packets_per_second"] > 1000
    for kind in ("dns", "rst"):
        assert data["races"][kind]["tries"] == 100
        assert data["races"][kind]["won_share"] > 0
    assert data["flood"]["flows"] == 40_000
    assert {goal["subject"] for goal in data["goals"]} == {*data["profiles"], "every-packet"}
    assert _devices() == before


def test_killed_it_leaves_nothing_behind() -> None:
    """SIGKILL gives it no chance to tidy up: the kernel has to."""
    before = _devices()
    process = subprocess.Popen([*COMMAND, "--seconds", "30", "--only", "idle", "--only", "tls"], stderr=subprocess.PIPE)
    with process:
        try:
            family = _with_flows(process.pid)
        finally:
            process.kill()
    for descriptor in family:
        assert select.select([descriptor], [], [], 10)[0]
        os.close(descriptor)
    assert _devices() == before


def _with_flows(pid: int) -> list[int]:
    """Handles of all the command's processes once its flows are under way."""
    while True:
        members = tree(pid)
        if any(_program(member).startswith("flows-") for member in members):
            return [os.pidfd_open(member) for member in members if member != pid]


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


WITHOUT_A_CENSOR = """
import json, tempfile
from pathlib import Path
from lab.benchmarks import generator
from lab.benchmarks.censor import network, races, traffic
network.prepare()
with tempfile.TemporaryDirectory() as folder, network.hosts(far=True):
    program = generator.compiled(traffic.SOURCE, Path(folder))
    print(json.dumps([races.dns(0.04), races.rst(traffic.Traffic(str(program), ""), 0.04)]))
"""


def test_without_a_censor_no_race_is_won() -> None:
    command = [*unshare_command(), sys.executable, "-c", WITHOUT_A_CENSOR]
    environment = os.environ | {"PATH": search_path()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    for outcome in json.loads(done.stdout):
        assert (outcome["won_share"], outcome["silent"], outcome["tries"]) == (0.0, 0, 20)
        # There and back.
        assert outcome["p50_ms"] > 40
