"""Folders and jobs; the labs themselves are run by tests/lab/test_bench_fallback.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.benchmarks.fallback import records, runner
from lab.benchmarks.fallback.arms import OURS
from lab.benchmarks.fallback.plan import Choice, calibration, conditions, controls
from lab.benchmarks.fallback.records import ControlRecord, Record
from sidedoor.settings import UsageError
from tests.unit.lab.benchmarks.fallback.made_up import quiet, record


def job(folder: Path, name: str, program: str, seconds: float = 60.0) -> runner.Job:
    return runner.Job(name, [sys.executable, "-c", program], folder / name, seconds)


def test_a_folder_is_one_bench_s_at_a_time(tmp_path: Path) -> None:
    with runner.opened(tmp_path / "new") as folder:
        runner.write_header(folder, runner.Header(seed=7))
        with pytest.raises(UsageError, match="another bench is writing to it"), runner.opened(tmp_path / "new"):
            pass
    with runner.opened(tmp_path / "new") as folder:
        assert runner.read_header(folder) == runner.Header(seed=7)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="has something else in it than a bench"), runner.opened(tmp_path):
        pass
    with pytest.raises(UsageError, match="cannot be made"), runner.opened(tmp_path / "thesis.tex"):
        pass


def test_a_new_folder_has_no_header_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert runner.read_header(tmp_path) is None
    (tmp_path / runner.BENCH).write_text("{}")
    with pytest.raises(UsageError, match=r"bench\.json: .*`seed`"):
        runner.read_header(tmp_path)


def test_only_labs_that_lack_runs_are_jobs(tmp_path: Path) -> None:
    choice = Choice(policies=(OURS,), blocks=("rst",), rtts_ms=(40,), losses=(0.0,), warm=True, runs=4)
    (condition,) = conditions(choice)
    (whole,) = runner.jobs(tmp_path, [condition])
    assert (whole.name, whole.folder) == (condition.id, tmp_path / condition.id)
    assert whole.estimated_seconds == condition.estimated_seconds
    whole.folder.mkdir()
    records.append(whole.folder / records.RUNS, [record("rst")] * 3)
    (quarter,) = runner.jobs(tmp_path, [condition])
    assert quarter.estimated_seconds == condition.estimated_seconds / 4
    records.append(whole.folder / records.RUNS, [record("rst")])
    assert runner.jobs(tmp_path, [condition]) == []


def test_labs_without_a_block_are_jobs_too(tmp_path: Path) -> None:
    control, _ = controls(0.01, 1)
    place = tmp_path / control.id
    place.mkdir()
    records.append(place / records.RUNS, [quiet()] * 8)
    assert [one.name for one in runner.jobs(tmp_path, [control])] == ["control-1"]
    assert runner.read_runs(tmp_path, ControlRecord) == [quiet()] * 8


def test_the_calibration_is_one_lab_and_then_some(tmp_path: Path) -> None:
    alone, among = runner.calibration_jobs(tmp_path, calibration(1), 3)
    assert (len(alone), len(among)) == (1, 3)
    assert len({one.folder for one in [*alone, *among]}) == 4


def test_runs_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / records.RUNS).write_text("{}\n")
    with pytest.raises(UsageError, match="name a new folder with --out"):
        runner.read_runs(tmp_path, Record)


def test_all_jobs_are_run_and_told_of(tmp_path: Path) -> None:
    said: list[str] = []
    program = 'print(\'{"round": 1, "missing": %d}\')'
    todo = [job(tmp_path, name, program % missing) for name, missing in (("a", 2), ("b", 2), ("c", 0))]
    outcome = runner.run(todo, 1, said.append)
    assert (outcome.failures, outcome.interrupted) == ({}, False)
    assert any(line.endswith("a: round 1 is over, at least 2 runs to go") for line in said)
    assert any("c: round 1 is over, the last" in line for line in said)
    assert said[-1] == "3 of 3 labs done, about 0 min left"
    assert (tmp_path / "c" / "logs").is_dir()


def test_a_job_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    failing = job(tmp_path, "bad", "import sys; print('first', file=sys.stderr); sys.exit('role censor died')")
    silent = job(tmp_path, "silent", "import sys; sys.exit(3)")
    outcome = runner.run([failing, silent, job(tmp_path, "good", "pass")], 1, lambda text: None)
    assert outcome.failures == {"bad": "role censor died", "silent": "ended with status 3"}
    assert not outcome.interrupted


def test_outcomes_add_up() -> None:
    first, second = runner.Outcome({"a": "x"}, False, 1.0), runner.Outcome({"b": "y"}, True, 2.0)
    assert first.and_then(second) == runner.Outcome({"a": "x", "b": "y"}, True, 3.0)


def test_a_signal_ends_the_labs_in_order_and_starts_no_more(tmp_path: Path) -> None:
    """The job's own SIGTERM is what it would get; this process's is sent by the job, once it runs."""
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "signal.pause()\n"
    )
    outcome = runner.run([job(tmp_path, "first", program), job(tmp_path, "second", program)], 1, lambda text: None)
    assert (outcome.failures, outcome.interrupted) == ({}, True)
    assert not (tmp_path / "second").exists()
