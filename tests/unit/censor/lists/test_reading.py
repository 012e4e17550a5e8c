"""censor/lists/reading.py"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

import pytest

from censor.lists import reading
from censor.lists.formats import read
from sidedoor.settings import SettingsError


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("messenger.example\n192.0.2.0/24\n")
    return path


async def test_another_process_reads_the_same(names: Path) -> None:
    assert await reading.read_aside(names, "plain") == read(names, "plain")


async def test_what_is_wrong_is_told_as_if_it_were_read_here(tmp_path: Path) -> None:
    path = tmp_path / "missing.txt"
    with pytest.raises(SettingsError) as here:
        read(path, "plain")
    with pytest.raises(SettingsError) as aside:
        await reading.read_aside(path, "plain")
    assert str(aside.value) == str(here.value)


async def test_a_process_that_breaks(names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SettingsError, match=r"names\.txt: reading it failed: $"):
        await reading.read_aside(names, "plain")


async def test_cancelled_no_process_is_left(names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    class Process:
        async def communicate(self) -> tuple[bytes, bytes]:
            raise asyncio.CancelledError

        def kill(self) -> None:
            done.append("killed")

        async def wait(self) -> None:
            done.append("waited for")

    async def start(*_: object, **__: object) -> Process:
        return Process()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    with pytest.raises(asyncio.CancelledError):
        await reading.read_aside(names, "plain")
    assert done == ["killed", "waited for"]


def test_the_program(names: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert reading.main(str(names), "plain") == 0
    assert pickle.loads(capfdbinary.readouterr().out) == read(names, "plain")
    assert reading.main(str(names), "none") == 2
    assert b"none" in capfdbinary.readouterr().err
