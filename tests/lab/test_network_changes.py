"""A host that goes to other networks, on the kernel's own tables: what the sender's policy is told, and how soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.machine import sandbox, search_path

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.alone, pytest.mark.netns]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/lab/moving_client.py saw."""
    folder = tmp_path_factory.mktemp("client")
    done = subprocess.run(
        sandbox(sys.executable, "-m", "tests.lab.moving_client", str(folder)),
        cwd=ROOT,
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_a_gateways_mac_that_becomes_known_is_no_change(found: dict[str, Any]) -> None:
    assert found["without a change"] == 0


@pytest.mark.parametrize("move", ["work", "home again", "other address", "IPv6"])
def test_the_kernel_tells_so_that_no_poll_is_waited_for(found: dict[str, Any], move: str) -> None:
    assert found[move]["seconds"] < 1.0  # The interval of the polls is 2 s.


def test_what_is_remembered_of_each(found: dict[str, Any]) -> None:
    assert found["work"]["remembered"] == {}
    assert found["home again"]["remembered"] == found["other address"]["remembered"] == {"direct": 0.5}
    assert found["IPv6"]["remembered"] == {}


def test_another_gateway_with_the_same_addresses_is_another_network(found: dict[str, Any]) -> None:
    assert found["same addresses, other gateway"]["remembered"] == {}


def test_each_move_is_told_once_and_the_guess_corrected(found: dict[str, Any]) -> None:
    assert found["told"] == 6
    assert len(found["memory"]["networks"]) == 4
