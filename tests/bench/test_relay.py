"""`sidedoor bench relay` runs, with each load generator, and says what it measured. Figures are not judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.benchmarks import generator, peers, relay

SECONDS = 60.0


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "relay.json"
    done = subprocess.run(
        [sys.executable, "-m", "sidedoor", "bench", "relay", "--rounds", "1", "--seconds", "0.1", "--json", str(out)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bulk-down-1" in done.stdout
    run = json.loads(out.read_text())
    measured = {(figure["peer"], figure["workload"]) for figure in run["figures"]}
    assert measured >= {(peer, w.name) for peer in ("direct", "sidedoor") for w in relay.WORKLOADS}
    assert all(figure["median"] > 0 for figure in run["figures"])
    for peer in ("microsocks", "danted"):
        assert (peer in run["skipped"]) == ((peer, "ping-64") not in measured)


def test_the_python_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "COMPILERS", ())
    results = relay.run(rounds=1, seconds=0.2, only=["direct", "sidedoor"])
    assert results.generator == "Python"
    assert all(figure.median > 0 for figure in results.figures)


def test_a_peer_that_is_not_installed_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if "danted" in name else name)
    monkeypatch.setattr(generator, "COMPILERS", ())
    results = relay.run(rounds=1, seconds=0.1, only=["danted", "ping-64"])
    assert results.skipped == {"danted": "danted is not installed (apt-get install dante-server)"}
    assert results.figures == []


def test_a_peer_that_fails_in_mid_run_is_reported_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that hangs up on everybody: the clients give up on it."""
    code = "import socket, sys\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    code += "while True: s.accept()[0].close()"
    mute = peers.Peer("mute", sys.executable, "mute", lambda program, port, _: [program, "-c", code, str(port)])
    monkeypatch.setattr(relay, "PEERS", (mute,))
    monkeypatch.setattr(relay, "NAMES", ("mute", "ping-64"))
    monkeypatch.setattr(generator, "COMPILERS", ())
    results = relay.run(rounds=1, seconds=0.1, only=["mute", "ping-64"])
    assert list(results.skipped) == ["mute in ping-64"]
    assert results.figures == []
