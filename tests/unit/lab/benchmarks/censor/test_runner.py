"""What is chosen; what the process in the namespaces says. That it measures: tests/lab/test_bench_censor.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from censor import profiles
from lab.benchmarks import generator
from lab.benchmarks.censor import lists, runner, traffic
from lab.benchmarks.censor.inside import Order
from lab.benchmarks.censor.subjects import EVERY_PACKET, PLAIN
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError

ORDER = Order(["plain"], ["tls"], 1, 0.1, "flows")


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Those that are not installed."""
    absent: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name in absent else f"/usr/bin/{name}")
    return absent


def test_everything() -> None:
    plan = runner.plan(rounds=5, seconds=1.0)
    assert [subject.name for subject in plan.subjects][:2] == [PLAIN, "idle"]
    assert plan.profiles == ["idle", "names", "addresses", *profiles.names(), "registry"]
    assert plan.lists
    # Some 8 s for each subject, five times; 25 s for the lists.
    assert 25 < plan.estimated_seconds / len(plan.subjects) < 50


def test_plain_routing_is_always_measured_first() -> None:
    plan = runner.plan(rounds=1, seconds=1.0, only=["names", "tls"])
    assert [subject.name for subject in plan.subjects] == [PLAIN, "names"]
    assert [measurement.name for measurement in plan.measurements] == ["tls"]
    assert [subject.name for subject in runner.plan(rounds=1, seconds=1.0, only=[PLAIN]).subjects] == [PLAIN]


def test_what_is_compared_with_nothing_needs_no_plain_routing() -> None:
    for only in (["races"], ["dns-race"], ["races", "dns-race"]):
        plan = runner.plan(rounds=1, seconds=1.0, only=only)
        assert [subject.name for subject in plan.subjects] == ["races"]
        assert not plan.lists
    assert [subject.name for subject in runner.plan(rounds=1, seconds=1.0, only=["single-segments"]).subjects] == [
        PLAIN,
        EVERY_PACKET,
    ]


def test_lists_alone() -> None:
    plan = runner.plan(rounds=2, seconds=1.0, only=["lists"])
    assert (list(plan.subjects), list(plan.measurements), plan.lists) == ([], [], True)
    assert plan.estimated_seconds == 13
    assert [subject.name for subject in runner.plan(rounds=1, seconds=1.0, only=["lists", "idle"]).subjects] == [
        PLAIN,
        "idle",
    ]


def test_the_dumps_are_made_for_whoever_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, """echo '{"doing": "'$(cat | tr -d '"')'"}'""")
    monkeypatch.setattr(lists, "dumps", lambda folder: [Path("/a.csv"), Path("/b.csv")])
    seen: list[str] = []
    runner.run(runner.plan(rounds=1, seconds=0.1, only=["registry", "tls"]), seen.append)
    assert seen[0] == "making lists"
    assert "dumps:[/a.csv,/b.csv]" in seen[1]


def test_a_list_that_cannot_be_loaded_is_a_failure_of_that_round(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"load_seconds": 2.0}, None])

    def measure(paths: list[Path]) -> dict[str, float]:
        if (found := next(answers)) is None:
            raise BenchError("no memory")
        return found

    monkeypatch.setattr(generator, "compiled", lambda source, folder: Path("/usr/bin/flows"))
    monkeypatch.setattr(lists, "dumps", lambda folder: [])
    monkeypatch.setattr(lists, "measure", measure)
    results = runner.run(runner.plan(rounds=2, seconds=0.1, only=["lists"]))
    assert results.to_json()["lists"] == {"load_seconds": 2.0, "under_traffic": {}}
    assert [(sample.round, sample.failure) for sample in results.failures] == [(2, "no memory")]


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(UsageError, match="did you mean 'names'"):
        runner.plan(rounds=1, seconds=1.0, only=["name"])
    with pytest.raises(UsageError, match=f"there are {PLAIN}, .*{EVERY_PACKET}.*first-byte"):
        runner.plan(rounds=1, seconds=1.0, only=["xyzzy"])


def test_without_iperf3(programs: set[str]) -> None:
    programs.add("iperf3")
    plan = runner.plan(rounds=1, seconds=1.0)
    assert "apt-get install iperf3" in plan.skipped["iperf3"]
    assert "iperf3" not in [measurement.name for measurement in plan.measurements]
    assert not runner.plan(rounds=1, seconds=1.0, only=["tls"]).skipped


def test_what_the_machine_lacks(programs: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "check_tools", lambda: None)
    monkeypatch.setattr(traffic, "missing", lambda: None)
    runner.check_machine()
    programs.add("nsenter")
    with pytest.raises(UsageError, match="needs nsenter"):
        runner.check_machine()
    programs.clear()
    monkeypatch.setattr(traffic, "missing", lambda: "apt-get install gcc")
    with pytest.raises(UsageError, match="install gcc"):
        runner.check_machine()


def inside(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A shell script in the place of the process in the namespaces."""
    monkeypatch.setattr(runner, "unshare_command", lambda: ["sh", "-c", script, "sh"])
    monkeypatch.setattr(generator, "compiled", lambda source, folder: Path("/usr/bin/flows"))


SAID = """cat > /dev/null; echo '{"doing": "round 1"}'; echo '{"sample": {"round": 1, "subject": "plain",
"measurement": "tls", "metrics": {"x": 1.5}}}' | tr -d '\\n'; echo"""


def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, SAID)
    seen: list[str] = []
    results = runner.run(runner.plan(rounds=1, seconds=0.1, only=[PLAIN]), seen.append)
    assert seen == ["round 1"]
    assert results.median("plain", "tls", "x") == 1.5
    assert results.machine["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_process_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, "cat > /dev/null; exit 3")
    with pytest.raises(BenchError, match="ended with status 3"):
        list(runner._samples(ORDER, print))


def test_a_process_that_is_silent_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A pipe that has no writer but its reader never ends.
    silent = f"echo $$; mkfifo {tmp_path}/pipe; read x <> {tmp_path}/pipe"
    monkeypatch.setattr(runner, "unshare_command", lambda: ["sh", "-c", silent, "sh"])
    with runner.process_inside("nothing") as process:
        said = runner.lines(process, 0.2)
        assert int(next(said)) == process.pid
        with pytest.raises(BenchError, match="said nothing"):
            next(said)
    assert process.returncode == -9
    assert not os.path.exists(f"/proc/{process.pid}")


def test_a_generator_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "compiled", lambda source, folder: None)
    with pytest.raises(BenchError, match="cannot be compiled"):
        runner.run(runner.plan(rounds=1, seconds=0.1))


def test_the_generator_compiles_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    compiler = generator.compiler()
    if compiler is None:
        pytest.skip("no C compiler (cc) here")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "flows"), str(traffic.SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
