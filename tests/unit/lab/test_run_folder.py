"""A run's folder: whose it may be, what becomes of the results in it, and that two runs never share it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.run_folder import opened
from sidedoor.settings import UsageError

FILES = ("summary.json", "events.jsonl", "ooni.jsonl", "report.html", "capture/a.pcap", "logs/dns.log")


def prepared(path: Path) -> Path:
    with opened(path) as folder:
        return folder.path


def fill(path: Path, text: str, *names: str) -> None:
    for name in names or FILES:
        (path / name).write_text(text)


def contents(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def test_a_new_run_folder(tmp_path: Path) -> None:
    with opened(tmp_path / "runs" / "mine") as folder:
        assert folder.path == tmp_path / "runs" / "mine"
        assert folder.moved is None
    assert contents(folder.path) == ["capture", "logs"]


def test_results_are_moved_aside_and_the_older_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("first", "second"):
        fill(prepared(Path("mine")), text)
    os.utime("mine/summary.json", (1_795_000_000, 1_795_000_000))
    with opened(Path("mine")) as folder:
        assert folder.moved is not None
        assert folder.moved.startswith("the results of 2026-11-1")
        assert folder.moved.endswith(" that were in mine are in mine.previous now")
    assert contents(Path("mine")) == ["capture", "logs"]
    assert {Path("mine.previous", name).read_text() for name in FILES} == {"second"}


def test_what_a_run_without_results_left_goes(tmp_path: Path) -> None:
    out = prepared(tmp_path / "mine")
    fill(out, "old", "events.jsonl", "logs/dns.log")
    assert prepared(out) == out
    assert contents(tmp_path) == ["mine", "mine/capture", "mine/logs"]


def test_a_run_that_never_started_may_be_repeated(tmp_path: Path) -> None:
    out = prepared(tmp_path / "mine")
    assert prepared(out) == out


@pytest.mark.parametrize("precious", ["thesis.tex", "logs/mail.log", "report.html"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, precious: str) -> None:
    path = tmp_path / precious
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"is not a run's folder \(.* is in it\); name another with --out"):
        prepared(tmp_path)
    assert path.read_text() == "mine"


def test_one_strange_file_in_a_runs_folder_protects_all(tmp_path: Path) -> None:
    out = prepared(tmp_path / "mine")
    fill(out, "old", "events.jsonl", "notes.txt")
    with pytest.raises(UsageError, match=r"notes\.txt is in it"):
        prepared(out)
    assert (out / "events.jsonl").read_text() == "old"


def test_a_folder_of_somebody_else_where_the_results_would_go(tmp_path: Path) -> None:
    out = prepared(tmp_path / "mine")
    fill(out, "old")
    (tmp_path / "mine.previous").mkdir()
    (tmp_path / "mine.previous/thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.previous: is not a run's folder \(thesis\.tex is in it\)"):
        prepared(out)
    assert (out / "summary.json").exists()


def test_where_a_link_leads_is_not_emptied(tmp_path: Path) -> None:
    out = prepared(tmp_path / "mine")
    fill(out, "old", "events.jsonl")
    (out / "logs").rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("mine")
    (out / "logs").symlink_to(elsewhere)
    prepared(out)
    assert (elsewhere / "kept").exists()
    assert not (out / "logs").is_symlink()


def test_a_folder_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "large")
    fill(prepared(tmp_path / "mine"), "old")
    assert prepared(tmp_path / "mine") == tmp_path / "large"
    assert (tmp_path / "mine").is_symlink()
    assert (tmp_path / "large.previous/summary.json").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: cannot be made a run's folder: File exists; name another with --out"):
        prepared(tmp_path / "file")


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "mine") as folder:
        fill(folder.path, "mine")
        with pytest.raises(UsageError, match=r"mine: another run is writing to it; wait for it, or name another"):
            prepared(tmp_path / "mine")
        assert contents(tmp_path) == ["mine", *sorted(f"mine/{name}" for name in (*FILES, "capture", "logs"))]
    prepared(tmp_path / "mine")
