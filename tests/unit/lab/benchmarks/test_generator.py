"""The load generator is chosen by what the machine has; what it says is read."""

import shutil
import sys
from pathlib import Path

import pytest

from lab.benchmarks import generator
from lab.benchmarks.processes import BenchError

LINE = (
    b'{"event": "end", "seconds": 0.5, "bytes": 10, "messages": 2, "connects": 0, "failures": 1, "standing": 3, '
    b'"p50_seconds": 0.000014464, "p99_seconds": 0.1, "longest_seconds": 0.2}'
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/sidedoor"


def test_without_a_compiler_the_python_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert generator.make(tmp_path).kind == "Python"


def test_with_a_compiler_that_fails_the_python_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    assert generator.make(tmp_path).kind == "Python"


@pytest.mark.skipif(not any(map(shutil.which, generator.COMPILERS)), reason="no C compiler (cc) here")
def test_with_a_compiler_the_c_one_which_is_kept(tmp_path: Path, cache: Path) -> None:
    assert generator.make(tmp_path).kind == "C"
    (program,) = cache.iterdir()
    made = program.stat().st_mtime_ns
    assert generator.make(tmp_path).kind == "C"
    assert program.stat().st_mtime_ns == made


@pytest.mark.skipif(not any(map(shutil.which, generator.COMPILERS)), reason="no C compiler (cc) here")
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "folder").mkdir()
    assert generator.make(tmp_path / "folder").kind == "C"
    assert len(list((tmp_path / "folder").iterdir())) == 1


def test_the_last_line() -> None:
    counted = generator.parse(LINE)
    assert (counted.seconds, counted.messages, counted.failures, counted.standing) == (0.5, 2, 1, 3)
    assert counted.p50_seconds == 0.000014464


@pytest.mark.parametrize("line", [b"", b"{}", LINE[:-3]])
def test_a_last_line_that_cannot_be_read(line: bytes) -> None:
    with pytest.raises(BenchError, match="last line"):
        generator.parse(line)
