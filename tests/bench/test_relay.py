"""`sidedoor bench relay` runs, with each load generator, and says what it measured. Figures are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.benchmarks import generator, relay
from lab.benchmarks.peers import Peer, Place, Step
from lab.benchmarks.processes import tree
from lab.benchmarks.results import Results
from lab.benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.alone

SECONDS = 60.0
SOME = ("direct", "sidedoor", "microsocks", "bulk-down-1", "bulk-both-8", "ping-1KB-64", "connects", "mixed")


def test_the_command(tmp_path: Path) -> None:
    out, plot = tmp_path / "relay.json", tmp_path / "relay.html"
    command = [sys.executable, "-m", "sidedoor", "bench", "relay", "--rounds", "1", "--seconds", "0.1"]
    command += ["--json", str(out), "--plot", str(plot), *(word for name in SOME for word in ("--only", name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 round of 5 workloads" in done.stderr
    assert "sidedoor/direct" in done.stdout
    assert plot.stat().st_size > 100_000
    run = json.loads(out.read_text())
    measured = {(sample["peer"], sample["workload"]) for sample in run["samples"] if not sample["failure"]}
    peers = {"direct", "sidedoor", *({"microsocks"} - set(run["skipped"]))}
    assert measured == {(peer, workload) for peer in peers for workload in SOME[3:]}
    if "microsocks" in peers:
        best = next(m for m in run["medians"] if (m["peer"], m["workload"]) == ("sidedoor", "connects"))
        assert best["ratios_to_best"]["connects_per_second"] > 0


def measure(*only: str, seconds: float = 0.1, rounds: int = 1) -> Results:
    return relay.run(relay.plan(rounds=rounds, seconds=seconds, only=only))


@pytest.mark.parametrize("compilers", [generator.COMPILERS, ()], ids=["C", "Python"])
def test_each_generator_does_every_workload(compilers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "COMPILERS", compilers)
    monkeypatch.setattr("lab.benchmarks.workloads.IDLE_FLOWS", 200)
    groups = [workload.name for workload in WORKLOADS if workload.group != "iperf3"]
    results = measure("direct", *groups)
    assert not results.failures
    assert {sample.workload for sample in results.samples} == set(groups)
    for workload, metric in (
        ("bulk-both-64", "megabytes_per_second"),
        ("ping-64B-512", "messages_per_second"),
        ("ping-64B-1", "p99_microseconds"),
        ("connects", "connects_per_second"),
        ("mixed", "beside_p99_microseconds"),
        ("slow", "rate_share"),
    ):
        assert (results.median("direct", workload, metric) or 0) > 0


@pytest.mark.parametrize("compilers", [generator.COMPILERS, ()], ids=["C", "Python"])
def test_each_generator_through_the_proxy(compilers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "COMPILERS", compilers)
    monkeypatch.setattr("lab.benchmarks.workloads.IDLE_FLOWS", 200)
    results = measure("sidedoor", "idle", "bulk-both-8", "ping-1KB-64", "connects", "slow")
    assert not results.failures
    assert results.median("sidedoor", "idle", "flows") == 200
    assert (results.median("sidedoor", "idle", "descriptors_per_flow") or 0) >= 2


def fails(place: Place, code: str) -> list[Step]:
    return [Step([place.programs[0], "-c", code, str(place.port)], place.port)]


def test_a_peer_that_fails_in_mid_run_is_reported_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs up on everybody, one that dies with its first client, one that never starts."""
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    mute = Peer("mute", (sys.executable,), "", lambda place: fails(place, f"{serve}while True: s.accept()[0].close()"))
    dying = Peer("dying", (sys.executable,), "", lambda place: fails(place, f"{serve}s.accept(); s.accept()"))
    broken = Peer("broken", (sys.executable,), "", lambda place: fails(place, "raise SystemExit('no settings')"))
    before = set(tree(os.getpid()))
    results = relay.run(
        relay.plan(
            rounds=3,
            seconds=0.1,
            peers=[mute, dying, broken],
            only=["mute", "dying", "broken", "direct", "ping-64B-64"],
        )
    )
    assert results.skipped == {"broken": "broken ended with status 1 when it was started: no settings"}
    failed = [sample.peer for sample in results.failures]
    assert (failed.count("mute"), failed.count("dying")) == (relay.MOST_FAILURES, relay.MOST_FAILURES)
    assert len(results.values("direct", "ping-64B-64", "messages_per_second")) == 3
    assert set(tree(os.getpid())) <= before
