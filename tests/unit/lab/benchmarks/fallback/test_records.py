"""Runs as lines of a file that survives being cut off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lab.benchmarks.fallback import records
from lab.benchmarks.fallback.records import ControlRecord, Lateness, Record
from tests.unit.lab.benchmarks.fallback.made_up import quiet, record


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert records.read(file, Record) == []
    records.append(file, [record(), record(policy="outline")])
    records.append(file, [record(ttr_seconds=None, censored_at_seconds=15.0)])
    assert [run.policy for run in records.read(file, Record)] == ["sidedoor", "outline", "sidedoor"]
    assert records.read(file, Record)[0] == record()


def test_a_line_that_was_cut_short_does_not_count_and_goes(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    records.append(file, [record()])
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:50])
    assert records.read(file, Record) == [record()]
    records.append(file, [record(policy="outline")])
    assert [run.policy for run in records.read(file, Record)] == ["sidedoor", "outline"]
    assert file.read_bytes().startswith(whole)


def test_a_line_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_bytes(b'{"policy": "sidedoor"}\n')
    with pytest.raises(msgspec.ValidationError, match="missing required field"):
        records.read(file, ControlRecord)


@pytest.mark.parametrize(
    ("late_ms", "seconds", "counts"),
    [(50.0, 0.4, True), (50.1, 0.4, False), (900.0, 20.0, True), (1100.0, 20.0, False)],
)
def test_a_run_counts_while_timers_keep_up_with_what_is_measured(late_ms: float, seconds: float, counts: bool) -> None:
    for lateness in (Lateness(client=late_ms), Lateness(lab=late_ms)):
        assert record(ttr_seconds=seconds, lateness_ms=lateness).counts(50.0) is counts
        assert record(ttr_seconds=None, censored_at_seconds=seconds, lateness_ms=lateness).counts(50.0) is counts


def test_a_run_with_a_problem_does_not_count() -> None:
    assert not record(problem="the block did not hit this client").counts(50.0)
    assert not quiet(problem="no acks").counts(50.0)
    assert quiet(lateness_ms=500.0).counts(50.0)
