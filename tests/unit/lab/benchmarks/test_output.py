from pathlib import Path

import pytest

from lab.benchmarks.output import check_folders, write_files
from sidedoor.settings import UsageError


def test_a_folder_that_is_not_there_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    check_folders({"--json": str(tmp_path / "x.json"), "--plot": None})
    with pytest.raises(UsageError, match=r"--json: .*no such folder"):
        check_folders({"--json": str(tmp_path / "none/x.json")})


def test_only_what_is_asked_for_is_made(tmp_path: Path) -> None:
    write_files([("--json", str(tmp_path / "x"), lambda: "text"), ("--plot", None, lambda: pytest.fail("made"))])
    assert (tmp_path / "x").read_text() == "text"
    with pytest.raises(UsageError, match=r"--json: .*cannot be written"):
        write_files([("--json", str(tmp_path), lambda: "text")])
