"""What `sidedoor lab` does before a lab is started, and what it says of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab import instance
from lab.cli import lab
from lab.measurement.summary import Summary, encode
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


def test_the_run_folder_is_called_after_the_scenarios_and_older_results_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(entry: str, runtime: str, arguments: dict[str, object], *, output: Path) -> int:
        with pytest.raises(UsageError, match="runs/control: another run is writing to it"):
            lab.main(["run", "control"], standalone_mode=False)
        (output / "summary.json").touch()
        (output / "events.jsonl").touch()
        return 0

    monkeypatch.setattr(instance, "run", run)
    first, second = (CliRunner().invoke(lab, ["run", "control"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stderr == ""
    assert "that were in runs/control are in runs/control.previous now" in second.stderr
    assert (tmp_path / "runs/control.previous/summary.json").exists()


def test_unknown_scenario() -> None:
    assert "no scenario 'nosuch'" in refusal("run", "nosuch")


def test_what_is_listed_is_there_for_programs_too() -> None:
    listed = json.loads(CliRunner().invoke(lab, ["list", "--json"]).output)
    assert [each["name"] for each in listed] == shipped()
    assert all(each["description"] for each in listed)


def test_a_report_for_programs(tmp_path: Path) -> None:
    text = encode(Summary(scenario="mine", runtime="netns", seed=1))
    (tmp_path / "summary.json").write_bytes(text)
    assert CliRunner().invoke(lab, ["report", str(tmp_path), "--json"]).output.encode() == text


def test_the_delay_is_known() -> None:
    assert "default: 0.02" in CliRunner().invoke(lab, ["up", "--help"]).output


STATE = {
    "runtime": "netns",
    "hosts": {"client": ["192.0.2.10", "2001:db8:1::10"], "wan": ["198.18.0.1", "2001:db8::1"] * 4},
    "origin": "https://messenger.example:443/",
    "proxies": ["198.51.100.11:1080", "198.51.100.12:1080"],
    "rules": [],
    "dead": ["web"],
}


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lab "two" that is up, on paper."""
    monkeypatch.setattr(api.Lab, "status", lambda self: STATE)
    monkeypatch.setattr(api.Lab, "running", lambda: [api.Lab(tmp_path / "two")])
    monkeypatch.setattr(instance, "start", lambda name, *_: api.Lab(tmp_path / name))


@pytest.mark.usefixtures("up")
def test_up_shows_an_item_a_line_and_how_to_go_on_with_this_lab() -> None:
    lines = CliRunner().invoke(lab, ["up", "--name", "two"]).output.splitlines()
    assert lines[0] == "lab two (netns)"
    assert lines[1].split() == ["client", "192.0.2.10", "2001:db8:1::10"]
    assert max(map(len, lines)) < 80
    assert "try      sidedoor lab exec --name two client -- curl https://messenger.example/" in lines
    assert "end      sidedoor lab down --name two" in lines
    assert [line.split() for line in lines if "1080" in line or "web" in line] == [
        ["proxies", "198.51.100.11:1080"],
        ["198.51.100.12:1080"],
        ["dead", "web"],
    ]


@pytest.mark.usefixtures("up")
def test_up_for_programs() -> None:
    assert json.loads(CliRunner().invoke(lab, ["up", "--name", "two", "--json"]).output) == {"name": "two"} | STATE


@pytest.mark.usefixtures("up")
def test_all_labs() -> None:
    assert CliRunner().invoke(lab, ["status", "--all"]).output.split() == ["two", "netns"]
    assert json.loads(CliRunner().invoke(lab, ["status", "--all", "--json"]).output) == ["two"]


@pytest.mark.parametrize(
    ("removed", "up_", "said"),
    [
        ([], [], ["nothing to clean"]),
        (["removed /x"], [], ["removed /x"]),
        ([], ["two", "run-7"], ["nothing to clean", "still up: two, run-7"]),
    ],
)
def test_clean_says_what_it_did(
    monkeypatch: pytest.MonkeyPatch, removed: list[str], up_: list[str], said: list[str]
) -> None:
    monkeypatch.setattr(instance, "clean", lambda: iter(removed))
    monkeypatch.setattr(instance, "up", lambda: up_)
    assert CliRunner().invoke(lab, ["clean"]).output.splitlines() == said


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
