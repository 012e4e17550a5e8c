"""Which labs are up: the launcher's PID counts only with the start time that it was written down with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import instance
from lab.topology import Crowd
from sidedoor import api
from sidedoor.settings import UsageError

DEAD_PID = 2**22 + 1  # above the kernel's largest


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for labs of our own, and no Docker."""
    monkeypatch.setattr("sidedoor.api.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("lab.instance.shutil.which", lambda *_: None)
    return api.state_root()


def folder_with(name: str, owner: Any) -> Path:
    folder = api.state_folder(name)
    folder.mkdir(parents=True)
    (folder / "lab.json").write_text(owner if isinstance(owner, str) else json.dumps(owner))
    return folder


def me() -> dict[str, Any]:
    return {"launcher": os.getpid(), "started": instance._start_time(os.getpid()), "runtime": "netns"}


def test_start_times() -> None:
    started = instance._start_time(os.getpid())
    assert started is not None
    assert started == instance._start_time(os.getpid())
    assert instance._start_time(1) != started
    assert instance._start_time(DEAD_PID) is None


def test_a_lab_whose_launcher_runs_is_alive() -> None:
    assert instance._alive(folder_with("mine", me())) == os.getpid()


@pytest.mark.parametrize(
    "owner",
    [
        {"launcher": DEAD_PID, "started": 5},
        {"launcher": DEAD_PID, "started": None},
        {"launcher": os.getpid(), "started": 1},
        {"launcher": os.getpid()},
        {"launcher": "me", "started": 1},
        {},
        [],
        "not JSON",
    ],
    ids=lambda owner: str(owner).replace(str(os.getpid()), "alive"),
)
def test_a_launcher_that_has_gone_or_a_reused_pid_is_not(owner: Any) -> None:
    assert instance._alive(folder_with("mine", owner)) is None


def test_without_its_file_it_is_not_alive(tmp_path: Path) -> None:
    assert instance._alive(tmp_path) is None


def test_a_state_folder_says_whose_it_is() -> None:
    with instance._state("mine", "netns") as folder:
        assert folder == api.state_folder("mine")
        assert json.loads((folder / "lab.json").read_text()) == me()
        assert (folder / "logs").is_dir()
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(UsageError, match=r"a lab 'mine' is up already; .* sidedoor lab down --name mine"):
            instance._make_state("mine", "netns")
    assert not folder.exists()


def test_what_a_killed_lab_left_makes_way() -> None:
    folder = folder_with("mine", {"launcher": DEAD_PID, "started": 5})
    (folder / "old").touch()
    with instance._state("mine", "netns"):
        assert not (folder / "old").exists()


def test_the_state_folder_goes_when_the_launch_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(entry: str, state: Path, arguments: dict[str, Any]) -> int:
        assert state.is_dir()
        raise UsageError("no permission")

    monkeypatch.setattr("lab.instance.netns.launch", refuse)
    with pytest.raises(UsageError, match="no permission"):
        instance.run("lab.experiment:run", "netns", {}, output=tmp_path)
    assert list(api.state_root().iterdir()) == []


def test_a_crowd_is_a_lab_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(entry: str, state: Path, arguments: dict[str, Any], crowd: Crowd) -> int:
        assert (entry, arguments, crowd) == ("lab.x:run", {"a": 1}, Crowd(clients=8))
        assert state.name == f"run-{os.getpid()}"
        assert (state / "lab.json").exists()
        return 3

    monkeypatch.setattr("lab.instance.netns.launch", launch)
    assert instance.run_crowd("lab.x:run", {"a": 1}, Crowd(clients=8)) == 3


def test_the_background_process_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(entry: str, state: Path, arguments: dict[str, Any]) -> int:
        assert (entry, arguments) == ("lab.session:serve", {"delay_seconds": 0.02})
        raise UsageError("no permission")

    monkeypatch.setattr("lab.instance.netns.launch", refuse)
    assert instance._main("mine", "netns", '{"delay_seconds": 0.02}') == 2
    assert capsys.readouterr().err == "sidedoor: no permission\n"
    assert list(api.state_root().iterdir()) == []


def test_a_temporary_folder_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    monkeypatch.setattr("sidedoor.api.tempfile.gettempdir", lambda: "/missing")
    with pytest.raises(UsageError, match="cannot be made: No such file or directory; set TMPDIR"):
        instance._make_state("mine", "netns")
    monkeypatch.setattr("sidedoor.api.tempfile.gettempdir", lambda: str(tmp_path / ("long" * 30)))
    with pytest.raises(UsageError, match="too long a path for a Unix socket; set TMPDIR to a shorter one"):
        instance._make_state("mine", "netns")


def test_somebody_elses_root_is_not_used(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    root.mkdir()
    monkeypatch.setattr("lab.instance.os.getuid", lambda: os.stat(root).st_uid + 1)
    monkeypatch.setattr(instance, "state_root", lambda: root)
    with pytest.raises(UsageError, match="belongs to somebody else; set TMPDIR"):
        instance._make_root()


def test_clean_removes_dead_labs_only(root: Path) -> None:
    dead = folder_with("dead", {"launcher": DEAD_PID, "started": 5})
    (root / "dead.log").touch()
    alive = folder_with("alive", me())
    (root / "alive.log").touch()
    (root / "never-up.log").touch()
    assert list(instance.clean()) == [f"removed {dead}", f"removed {root / 'never-up.log'}"]
    assert sorted(path.name for path in root.iterdir()) == ["alive", "alive.log"]
    assert alive.is_dir()


def test_labs_that_are_up() -> None:
    assert instance.up() == []
    folder_with("dead", {"launcher": DEAD_PID, "started": 5})
    folder_with("alive", me())
    assert instance.up() == ["alive"]


def test_clean_where_there_never_was_a_lab() -> None:
    assert list(instance.clean()) == []


def test_start_where_one_is_up() -> None:
    folder_with("mine", me())
    with pytest.raises(UsageError, match="is up already"):
        instance.start("mine", "netns", {})


def test_a_program_in_a_lab_that_has_gone() -> None:
    lab = api.Lab(folder_with("mine", {"launcher": DEAD_PID, "started": 5}))
    with pytest.raises(UsageError, match=r"lab mine is not up any more; sidedoor lab clean removes"):
        instance.execute(lab, "netns", "client", ["true"], "/ca.pem")


def test_a_program_on_hosts_that_somebody_else_made() -> None:
    lab = api.Lab(folder_with("mine", me()))
    with pytest.raises(UsageError, match="docker compose exec client COMMAND"):
        instance.execute(lab, "attended", "client", ["true"], "/ca.pem")


def test_a_program_trusts_the_lab_and_finds_this_installation_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(launcher: int, host: str, command: list[str], environment: dict[str, str]) -> int:
        assert (launcher, host, command) == (os.getpid(), "client", ["curl"])
        assert environment["CURL_CA_BUNDLE"] == environment["SSL_CERT_FILE"] == "/ca.pem"
        assert environment["PATH"].endswith(f":/usr/sbin:/sbin:{Path(sys.executable).parent}")
        return 7

    monkeypatch.setattr("lab.instance.netns_visit.execute", execute)
    assert instance.execute(api.Lab(folder_with("mine", me())), "netns", "client", ["curl"], "/ca.pem") == 7


def test_to_attend_is_to_be_a_lab_in_the_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(entry: str, state: Path, arguments: dict[str, Any]) -> int:
        assert (entry, arguments) == ("lab.session:serve", {"delay_seconds": 0.02})
        assert json.loads((state / "lab.json").read_text()) == me() | {"runtime": "attended"}
        return 3

    monkeypatch.setattr("lab.instance.attended.launch", launch)
    assert instance.attend("mine", {"delay_seconds": 0.02}) == 3
    assert list(api.state_root().iterdir()) == []
