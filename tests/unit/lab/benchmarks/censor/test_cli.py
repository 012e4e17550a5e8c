"""The command: what it says first, what it writes, its exit code. What it measures is made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.benchmarks.censor import runner
from lab.benchmarks.censor.accuracy import runner as accuracy_runner
from lab.benchmarks.censor.accuracy.results import Accuracy
from lab.benchmarks.censor.results import Results
from lab.benchmarks.censor.runner import Plan
from lab.benchmarks.cli import bench
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError
from tests.unit.lab.benchmarks.censor.accuracy.test_results import RESET, judge
from tests.unit.lab.benchmarks.censor.test_results import results


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "check_machine", lambda: None)
    monkeypatch.setattr(runner.shutil, "which", lambda name, path=None: None if name == "iperf3" else name)


def outcome(monkeypatch: pytest.MonkeyPatch, found: Results) -> None:
    monkeypatch.setattr(runner, "run", lambda plan, progress: found)


def test_a_list_measures_nothing() -> None:
    done = CliRunner().invoke(bench, ["censor", "--list"])
    assert done.exit_code == 0
    assert "plain, idle, names, addresses" in done.stdout
    assert "new-flows, first-byte" in done.stdout
    assert "rst-race, many-flows, process, lists" in done.stdout


@pytest.mark.parametrize("options", [["--only", "nobody"], ["--json", "/no/such/folder/x"]])
def test_a_wrong_call(options: list[str]) -> None:
    assert isinstance(CliRunner().invoke(bench, ["censor", *options]).exception, UsageError)


def test_the_files_and_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcome(monkeypatch, results())
    page, data = tmp_path / "x.md", tmp_path / "x.json"
    options = ["--markdown", str(page), "--json", str(data), "--rounds", "3", "--only", "idle"]
    done = CliRunner().invoke(bench, ["censor", *options])
    assert done.exit_code == 1, done.output
    assert "skipped iperf3" in done.stderr
    assert "rounds: 3, with plain, idle: about 0 min" in done.stderr
    assert "MISSED" in done.stdout
    assert "Made by `sidedoor bench censor --rounds=3 --seconds=1 --only=idle`" in page.read_text()
    goals = json.loads(data.read_text())["goals"]
    judged = {(goal["subject"], goal["figure"]): (goal["asked"], goal["measured"], goal["held"]) for goal in goals}
    assert judged["idle", "new flows/s"] == (8000, 15000.0, True)


def test_a_goal_that_is_missed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    run = results()
    good = [sample for sample in run.samples if not sample.failure]
    outcome(monkeypatch, Results(run.profiles, good, {}, run.rounds, run.seconds))
    assert CliRunner().invoke(bench, ["censor"]).exit_code == 0


def test_nothing_could_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(plan: Plan, progress: object) -> Results:
        raise BenchError("the process in the namespaces ended with status 1")

    monkeypatch.setattr(runner, "run", broken)
    done = CliRunner().invoke(bench, ["censor"])
    assert done.exit_code == 1
    assert "ended with status 1" in done.stderr


@pytest.mark.parametrize(("passed", "code"), [(0, 0), (1, 1)])
def test_mistakes_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, passed: int, code: int) -> None:
    asked: list[tuple[list[str], int]] = []

    def run(names: list[str], flows: int, progress: object) -> list[Accuracy]:
        asked.append((names, flows))
        return [Accuracy("gfw-dns", [judge(RESET, reset=5, passed=passed)])]

    monkeypatch.setattr(accuracy_runner, "check_machine", lambda: None)
    monkeypatch.setattr(accuracy_runner, "run", run)
    data = tmp_path / "x.json"
    options = ["--accuracy", "--only", "gfw-dns", "--flows", "10", "--json", str(data)]
    done = CliRunner().invoke(bench, ["censor", *options])
    assert done.exit_code == code, done.output
    assert asked == [(["gfw-dns"], 10)]
    assert ("OK" in done.stdout, "WRONG" in done.stdout) == (not passed, bool(passed))
    assert json.loads(data.read_text())["accuracy"]["gfw-dns"]["false_negatives"] == passed


def test_no_mistakes_could_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(names: list[str], flows: int, progress: object) -> list[Accuracy]:
        raise BenchError("the process in the namespaces ended with status 1")

    monkeypatch.setattr(accuracy_runner, "check_machine", lambda: None)
    monkeypatch.setattr(accuracy_runner, "run", broken)
    done = CliRunner().invoke(bench, ["censor", "--accuracy"])
    assert done.exit_code == 1
    assert "ended with status 1" in done.stderr
