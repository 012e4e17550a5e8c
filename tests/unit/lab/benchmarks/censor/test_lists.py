"""The process that loads a list, with one that is small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.benchmarks.censor import lists
from lab.benchmarks.processes import BenchError

STATUS = "Name:\tpython\nVmHWM:\t   20000 kB\nVmRSS:\t   10000 kB\nThreads:\t1\n"


def test_memory_is_in_megabytes() -> None:
    assert lists.status_megabytes(STATUS, "VmRSS") == 10.24
    assert lists.status_megabytes(STATUS, "VmHWM") == 20.48


def test_percentiles_of_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(number * 1000 if number % 2 else 0 for number in range(1, 1000))
    monkeypatch.setattr(lists.time, "perf_counter_ns", lambda: -next(clock))
    asked: list[int] = []
    p50, p99 = lists.percentiles_us(asked.append, list(range(200)))
    assert asked == list(range(200))
    assert (p50, p99) == (201, 397)


def test_a_process_that_loads_one_and_then_another(tmp_path: Path) -> None:
    metrics = lists.measure(lists.dumps(tmp_path, 3000, 1000))
    assert (metrics["domains"], metrics["prefixes"]) == (3000, 1000)
    assert 0 < metrics["list_mb"] < metrics["rss_mb"] <= metrics["peak_mb"]
    assert 0 < metrics["name_lookup_p50_us"] <= metrics["name_lookup_p99_us"]
    assert metrics["load_seconds"] > 0
    assert metrics["reload_seconds"] > 0


def test_the_metrics_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lists.dumps(tmp_path, 300, 100)
    lists.main(str(first), str(second))
    assert json.loads(capsys.readouterr().out)["domains"] == 300


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"not loaded: .*none\.csv: cannot be read"):
        lists.measure([tmp_path / "none.csv", tmp_path / "none.csv"])


def test_a_list_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_LIMIT_SECONDS", 0.0)
    with pytest.raises(BenchError, match="within 0 s"):
        lists.measure([tmp_path, tmp_path])
