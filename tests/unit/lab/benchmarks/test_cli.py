from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.benchmarks import relay
from lab.benchmarks.cli import bench
from lab.benchmarks.conformance import runner
from lab.benchmarks.conformance.outcome import Outcome
from lab.benchmarks.processes import BenchError
from lab.benchmarks.relay import Plan
from lab.benchmarks.results import Contestant, Results, Sample
from sidedoor.settings import UsageError
from tests.unit.lab.benchmarks.conformance.test_matrix import matrix
from tests.unit.lab.benchmarks.test_results import results


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were to be measured; each call gives the same results."""
    seen: list[Plan] = []

    def run(plan: Plan, progress: object) -> Results:
        seen.append(plan)
        return results()

    monkeypatch.setattr(relay, "run", run)
    return seen


@pytest.mark.parametrize(
    "options",
    [["--only", "nginx"], ["--peer", "x=nginx"], ["--json", "/no/such/folder/x"], ["--plot", "/no/such/folder/x"]],
)
def test_a_wrong_call(options: list[str]) -> None:
    assert isinstance(CliRunner().invoke(bench, ["relay", *options]).exception, UsageError)


def test_the_estimate_comes_first_and_the_files_are_written(plans: list[Plan], tmp_path: Path) -> None:
    json, plot = tmp_path / "x.json", tmp_path / "x.html"
    done = CliRunner().invoke(
        bench, ["relay", "--only", "direct", "--only", "bulk", "--json", str(json), "--plot", str(plot)]
    )
    assert done.exit_code == 0, done.output
    assert "5 rounds of 9 workloads with direct: about 32 s" in done.stderr
    assert "0.75" in done.stdout
    assert '"schema_version": 2' in json.read_text()
    assert '"held": true' in json.read_text()
    assert "bokeh" in plot.read_text()


def test_nothing_left_to_measure(plans: list[Plan]) -> None:
    done = CliRunner().invoke(bench, ["relay", "--peer", "gost=no-such-program {port}", "--only", "gost"])
    assert (done.exit_code, plans) == (1, [])
    assert done.stderr.endswith("nothing is left to measure\n")


def test_quick(plans: list[Plan]) -> None:
    assert CliRunner().invoke(bench, ["relay", "--quick", "--rounds", "3"]).exit_code == 0
    assert (plans[0].rounds, plans[0].seconds, len(plans[0].workloads)) == (3, 0.3, 7)


def test_a_failure_of_our_own_is_exit_code_1_and_so_is_one_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Sample(1, "sidedoor", "bulk-down-1", failure="broken")
    failed = Results([Contestant("sidedoor", own=True)], ["bulk-down-1"], [ours], {}, "C", 1, 1.0)
    monkeypatch.setattr(relay, "run", lambda plan, progress: failed)
    assert CliRunner().invoke(bench, ["relay"]).exit_code == 1

    def broken(plan: Plan, progress: object) -> Results:
        raise BenchError("the target did not start")

    monkeypatch.setattr(relay, "run", broken)
    done = CliRunner().invoke(bench, ["relay"])
    assert done.exit_code == 1
    assert "the target did not start" in done.stderr


def test_conformance_lists_its_cases() -> None:
    done = CliRunner().invoke(bench, ["conformance", "--list", "--only", "bind-end"])
    assert done.exit_code == 0
    assert done.stdout.startswith("bind-end\n  source: RFC 1928")
    assert done.stdout.count("right:") == 1


@pytest.mark.parametrize(("ours", "status"), [(Outcome.PASS, 0), (Outcome.FAIL, 1)])
def test_conformance_writes_its_files(
    ours: Outcome, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "run", lambda plan, progress: matrix(ours))
    json, markdown = tmp_path / "x.json", tmp_path / "x.md"
    done = CliRunner().invoke(
        bench,
        ["conformance", "--json", str(json), "--markdown", str(markdown), "--peer", "gost=no-such-program {port}"],
    )
    assert done.exit_code == status, done.output
    assert "skipped gost: no-such-program not found" in done.stderr
    assert "CRASH" in done.stdout
    assert '"benchmark": "conformance"' in json.read_text()
    assert f"Made by `sidedoor bench conformance --markdown {markdown} --peer " in markdown.read_text()


@pytest.mark.parametrize("options", [["--only", "nginx"], ["--peer", "x=nginx"], ["--markdown", "/no/such/folder/x"]])
def test_a_wrong_call_of_conformance(options: list[str]) -> None:
    assert isinstance(CliRunner().invoke(bench, ["conformance", *options]).exception, UsageError)
