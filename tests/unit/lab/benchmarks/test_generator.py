"""The load generator is chosen by what the machine has."""

import shutil
import sys
from pathlib import Path

import pytest

from lab.benchmarks import generator


def test_without_a_compiler_the_python_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert generator.make(tmp_path).kind == "Python"


def test_with_a_compiler_that_fails_the_python_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    assert generator.make(tmp_path).kind == "Python"


@pytest.mark.skipif(not any(map(shutil.which, generator.COMPILERS)), reason="no C compiler (cc) here")
def test_with_a_compiler_the_c_one(tmp_path: Path) -> None:
    assert generator.make(tmp_path).kind == "C"
