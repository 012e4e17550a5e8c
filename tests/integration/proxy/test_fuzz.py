"""Ten seconds of `fuzz`; always the same conversations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.proxy.fuzz import faults, run


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without further ado, and /proc")
def test_nothing_that_is_said_leaves_anything_behind(tmp_path: Path) -> None:
    found = run(tmp_path, 10.0, seed=1928)
    assert faults(found) == [], found
    assert isinstance(found["conversations"], int)
    assert found["conversations"] > 500
    assert {"succeeded", "denied", "locked", "malformed"} <= set(found["seen"]), found  # type: ignore[call-overload]
