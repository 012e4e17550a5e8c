"""What `sidedoor lab` does before a lab is started: usage, and the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lab import instance
from lab.cli import _run_folder, lab
from lab.scenario import shipped
from sidedoor import api
from sidedoor.settings import UsageError


@pytest.fixture
def no_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A place for labs of our own, with none in it."""
    monkeypatch.setattr("sidedoor.api.tempfile.gettempdir", lambda: str(tmp_path))


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as raised:
        lab.main(list(arguments), standalone_mode=False)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_list_names_what_ships() -> None:
    result = CliRunner().invoke(lab, ["list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in shipped())


@pytest.mark.parametrize("command", ["run", "up", "status", "exec", "censor", "down", "clean", "list", "attend"])
def test_every_command_has_its_help(command: str) -> None:
    result = CliRunner().invoke(lab, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_a_new_run_folder(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "runs" / "mine")
    assert {path.name for path in out.iterdir()} == {"capture", "logs"}


def test_what_an_earlier_run_left_goes(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "mine")
    for name in ("summary.json", "events.jsonl", "ooni.jsonl", "report.html", "capture/a.pcap", "logs/dns.log"):
        (out / name).write_text("old")
    assert _run_folder(out) == out
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == ["capture", "logs"]


def test_a_run_that_never_started_may_be_repeated(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "mine")
    assert _run_folder(out) == out


@pytest.mark.parametrize("precious", ["thesis.tex", "logs/mail.log", "report.html"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, precious: str) -> None:
    path = tmp_path / precious
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"is not a run's folder \(.* is in it\); name another with --out"):
        _run_folder(tmp_path)
    assert path.read_text() == "mine"


def test_one_strange_file_in_a_runs_folder_protects_all(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "mine")
    (out / "events.jsonl").write_text("old")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt is in it"):
        _run_folder(out)
    assert (out / "events.jsonl").read_text() == "old"


def test_where_a_link_leads_is_not_emptied(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "mine")
    (out / "events.jsonl").write_text("old")
    (out / "logs").rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("mine")
    (out / "logs").symlink_to(elsewhere)
    _run_folder(out)
    assert (elsewhere / "kept").exists()
    assert not (out / "logs").is_symlink()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: cannot be made a run's folder: File exists; name another with --out"):
        _run_folder(tmp_path / "file")


def test_the_plan_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def run(entry: str, runtime: str, arguments: dict[str, object], *, output: Path) -> int:
        started.append((entry, runtime, arguments, output))
        return 1

    monkeypatch.setattr(instance, "run", run)
    result = CliRunner().invoke(lab, ["run", "control", "--seed", "5", "--repeat", "2", "--out", str(tmp_path / "o")])
    assert result.exit_code == 1
    ((entry, runtime, arguments, output),) = started
    assert (entry, runtime, output) == ("lab.experiment:run", "netns", tmp_path / "o")
    assert (arguments["seed"], arguments["repeat"], arguments["timeout_seconds"]) == (5, 2, None)


def test_unknown_scenario() -> None:
    assert "no scenario 'nosuch'" in refusal("run", "nosuch")


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize(
    "command", [["status"], ["exec", "client", "--", "true"], ["censor", "clear"], ["down"]], ids=lambda c: c[0]
)
def test_without_a_lab(command: list[str]) -> None:
    assert refusal(*command) == "no lab 'default' is running; start one with: sidedoor lab up"


def test_a_lab_name_that_is_none() -> None:
    assert "lab name '../x'" in refusal("down", "--name", "../x")


def test_exec_without_a_command() -> None:
    assert refusal("exec", "client", "--").startswith("no command to run; for example:")


def test_rules_that_cannot_be_read(tmp_path: Path) -> None:
    assert "missing.toml: cannot be read: No such file" in refusal("censor", "apply", str(tmp_path / "missing.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    assert "binary.toml: is not UTF-8 text" in refusal("censor", "apply", str(tmp_path / "binary.toml"))


@pytest.mark.usefixtures("no_lab")
@pytest.mark.parametrize("command", [["apply", "rules.toml"], ["clear"]], ids=lambda c: c[0])
def test_what_the_lab_refuses_is_one_line(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def call(self, *_: object, **__: object) -> dict[str, object]:
            raise api.LabError("role censor is not running")

    lab_ = api.Lab(tmp_path)
    monkeypatch.setattr(lab_, "call", Refusing().call)
    monkeypatch.setattr(api.Lab, "find", lambda name: lab_)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.toml").touch()
    assert refusal("censor", *command) == "role censor is not running"
