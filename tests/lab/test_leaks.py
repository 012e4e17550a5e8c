"""Leaks and plaintext, on packets: a run has none, and clients that leak are caught by the same check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.netns

SCENARIO = """
name = "leaks"
description = "The messenger's address is blocked."
timeout_seconds = 60
[[block]]
name = "address"
rules = "address.toml"
healthy_seconds = 1
[expect]
recovered = true
lost = 0
"""
RULES = """
[[rule]]
name = "address"
addresses = ["203.0.113.10", "2001:db8:2::10"]
action = "drop"
"""
PROGRAM = """
import sys
from pathlib import Path
from lab import instance
scenario, out, entry = sys.argv[1:]
plan = {"scenario": scenario, "out": out, "seed": 7, "repeat": 1}
sys.exit(instance.run(entry, "netns", plan, output=Path(out)))
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "scenario"
    folder.mkdir()
    (folder / "scenario.toml").write_text(SCENARIO)
    (folder / "address.toml").write_text(RULES)
    return folder


def leaks(scenario: Path, out: Path, entry: str) -> dict[str, Any]:
    """What the summary says about leaks, of a run that went well as far as its client can tell."""
    (out / "logs").mkdir(parents=True)
    command = [sys.executable, "-c", PROGRAM, str(scenario), str(out), entry]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "summary.json").read_text())["runs"][0]["leaks"]
    assert isinstance(found, dict)
    return found


def test_nothing_leaks_and_nothing_can_be_read(scenario: Path, tmp_path: Path) -> None:
    found = leaks(scenario, tmp_path / "run", "lab.experiment:run")
    assert (found["packets"], found["plaintext"], found["capture_dropped"]) == (0, 0, 0), found["examples"]


def test_words_that_only_tls_hides_are_found(scenario: Path, tmp_path: Path) -> None:
    """What the origin can read: by the direct path, and through the proxy."""
    found = leaks(scenario, tmp_path / "run", "tests.lab.leaky_experiment:without_encryption")
    assert found["packets"] == 0
    # At the client and on both sides of the censor, on the direct path before and through the proxy during the block.
    assert found["plaintext"] >= 6
    assert all("inside TLS" in example for example in found["examples"])


def test_a_client_that_goes_on_directly_is_found(scenario: Path, tmp_path: Path) -> None:
    found = leaks(scenario, tmp_path / "run", "tests.lab.leaky_experiment:with_a_direct_copy")
    assert found["plaintext"] == 0
    assert found["packets"] > 0
    assert any("SYN" in one for one in found["examples"]), found["examples"]
