"""The command, as far as it needs no lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.benchmarks.fallback import cli, records, runner
from lab.benchmarks.fallback.arms import BASELINES, NO_SPARE, OURS, RACE
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.records import Messages
from sidedoor.settings import UsageError
from tests.unit.lab.benchmarks.fallback.made_up import quiet, record, recovered


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.fallback, arguments)


def bench(folder: Path, *runs: records.Record) -> Path:
    """A folder with these runs in it."""
    place = folder / runner.CONDITIONS / "syn-drop-warm-40ms-0pc-compared"
    place.mkdir(parents=True)
    records.append(place / records.RUNS, list(runs))
    quiet_place = folder / runner.CONTROL / "control-1"
    quiet_place.mkdir(parents=True)
    records.append(quiet_place / records.RUNS, [quiet()])
    runner.write_header(folder, runner.Header(seed=7, seconds=12.34, parallel=2))
    return folder


def test_by_default_all_policies_that_there_are() -> None:
    assert cli.chosen_policies(()) == (OURS, *BASELINES, NO_SPARE, RACE)
    assert cli.chosen_policies(("outline", "sidedoor", "outline")) == ("outline", "sidedoor")
    assert cli.chosen_blocks(()) == ()
    assert cli.chosen_blocks(("rst", "freeze", "rst")) == ("rst", "freeze")


def test_an_unknown_block_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no block type 'dpi'; expected one of syn-drop, .*data-drop"):
        cli.chosen_blocks(("dpi",))
    assert isinstance(invoke("--policy", "telegram").exception, UsageError)


def test_what_would_be_measured() -> None:
    listed = invoke("--list", "--block", "rst", "--policy", OURS, "--rtt", "40", "--loss", "1", "--warm")
    assert listed.exit_code == 0
    first, *_ = listed.stdout.splitlines()
    assert first == "rst-warm-40ms-1pc-sidedoor: sidedoor 32; about 1 min"
    assert "2 labs, " in listed.stdout
    assert [name for name in BLOCKS if f"\n{name}: " in listed.stdout] == ["rst"]
    assert all(f"\n{name}: " in invoke("--list").stdout for name in BLOCKS)
    assert "control-2: sidedoor 24" in invoke("--list", "--control").stdout
    assert " h\n" in invoke("--list", "--parallel", "1").stdout
    assert "\n1 lab, 1 at a time: about 1 min\n" in invoke("--list", "--calibrate", "--parallel", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--results",), "--results: of which folder"),
        (("--results", "--out", "/nowhere/at/all"), "no bench has written to /nowhere/at/all"),
        (("--control", "--calibrate"), "one after the other"),
        (("--json", "/nowhere/at/all.json"), "there is no such folder"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: tuple[str, ...], says: str) -> None:
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError)
    assert says in str(error)


def test_a_seed_is_the_folder_s(tmp_path: Path) -> None:
    error = invoke("--out", str(bench(tmp_path, record())), "--seed", "8", "--results").exception
    assert isinstance(error, UsageError)
    assert "was begun with 7" in str(error)


def test_results_of_what_lies_there(tmp_path: Path) -> None:
    folder = bench(tmp_path / "bench", *recovered([0.4, 0.5]), record(policy="outline", ttr_seconds=4.0))
    files = [tmp_path / name for name in ("x.json", "x.md", "x.html")]
    options = zip(("--json", "--markdown", "--plot"), map(str, files), strict=True)
    done = invoke("--results", "--out", str(folder), *(word for pair in options for word in pair))
    assert done.exit_code == 0, done.output
    assert "3 runs in 2 cells" in done.stdout
    data = json.loads(files[0].read_text())
    assert (data["benchmark"], data["parallel"]["labs"], data["seconds"]) == ("fallback", 2, 12.3)
    assert data["control"]["client_hours"] == 0.5
    assert {goal["goal"] for goal in data["goals"]} >= {"lost", "shown twice", "false switches"}
    assert files[1].read_text().startswith("# Fallback")
    assert files[2].read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--policy", "outline"), 1),
        (("--block", "syn-drop"), 3),
        (("--block", "freeze"), 0),
        (("--rtt", "200"), 0),
        (("--loss", "1"), 0),
        (("--cold",), 0),
        (("--warm", "--rtt", "40", "--loss", "0", "--policy", "sidedoor"), 2),
    ],
)
def test_results_of_what_is_asked_for(tmp_path: Path, options: tuple[str, ...], shown: int) -> None:
    folder = bench(tmp_path / "bench", *recovered([0.4, 0.5]), record(policy="outline", ttr_seconds=4.0))
    file = tmp_path / "x.json"
    assert invoke("--results", "--out", str(folder), "--json", str(file), *options).exit_code == 0
    assert sum(cell["n"] for cell in json.loads(file.read_text())["cells"]) == shown


def test_a_lost_message_is_exit_status_1(tmp_path: Path) -> None:
    lost = record(messages=Messages(sent=2, delivered=1, lost=1))
    assert invoke("--results", "--out", str(bench(tmp_path, lost))).exit_code == 1


def test_nothing_to_do_is_no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs that are wanted lie there."""
    monkeypatch.setattr(cli, "check_tools", lambda: None)
    place = bench(tmp_path, record())
    full = place / runner.CONDITIONS / "rst-warm-40ms-0pc-sidedoor"
    full.mkdir()
    records.append(full / records.RUNS, [record("rst")] * 2)
    chosen = ("--block", "rst", "--policy", OURS, "--rtt", "40", "--loss", "0", "--warm", "--repeats", "2")
    assert invoke("--out", str(place), "--no-kill", *chosen).exit_code == 0
