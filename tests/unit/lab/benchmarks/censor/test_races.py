"""What becomes of a race's outcome; that races are run is tests/lab/test_bench_censor.py."""

from __future__ import annotations

import contextlib
import sys

import pytest

from lab.benchmarks.censor import races
from lab.benchmarks.censor.race import Outcome
from lab.benchmarks.censor.traffic import Traffic
from lab.benchmarks.processes import BenchError


def test_the_share_that_the_censor_won() -> None:
    found = races.metrics(Outcome(won=6, lost=2, silent=2, p50_seconds=0.002))
    assert found == {"won_share": 0.6, "silent": 2, "tries": 10, "p50_ms": 2.0}


def test_fewer_tries_where_it_is_to_be_short() -> None:
    assert [races.tries(seconds) for seconds in (5.0, 1.0, 0.2, 0.0001)] == [500, 500, 100, 1]
    assert races.estimate(5.0) == races.estimate(1.0) > races.estimate(0.1)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A program in the place of the client's; nothing else is started."""
    text = [""]
    monkeypatch.setattr(races, "serving", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(Traffic, "server", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(races, "on", lambda host, command: [sys.executable, "-c", text[0], *command])
    return text


def test_an_outcome_is_read(script: list[str]) -> None:
    script[0] = """print('{"won": 1, "lost": 0, "silent": 0, "p50_seconds": 0.1}')"""
    assert races.dns(0.2)["won_share"] == 1.0
    # The ClientHello is there, and is for the name that is reset.
    script[0] = f"import sys; assert b'reset.example' in open(sys.argv[-1], 'rb').read(); {script[0]}"
    assert races.rst(Traffic("flows", "hello"), 0.2)["won_share"] == 1.0


def test_a_client_that_fails_says_why(script: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script[0] = "raise SystemExit('no route')"
    with pytest.raises(BenchError, match="dns race: no route"):
        races.dns(0.2)
    monkeypatch.setattr(races, "_LIMIT_SECONDS", 0.0)
    with pytest.raises(BenchError, match="dns race: no outcome"):
        races.dns(0.2)
