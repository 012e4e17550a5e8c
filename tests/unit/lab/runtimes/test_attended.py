"""Hosts that somebody else made: paths, what is not known of them, and signals that end the lab in order."""

from __future__ import annotations

import os
import select
import signal
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lab.runtimes.attended import AttendedRuntime, launch
from lab.topology import standard

STATE = Path("/tmp/sidedoor-0/default")
ASKED_TO_GO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_the_hosts_see_the_folder_around_the_labs() -> None:
    runtime = AttendedRuntime(standard(), STATE)
    assert runtime.path_in_host(STATE / "ca.pem") == Path("/run/sidedoor/default/ca.pem")
    with pytest.raises(ValueError, match="is not in the subpath"):
        runtime.path_in_host(Path("/etc/passwd"))


async def test_nothing_is_spawned_and_the_log_says_where_to_look(tmp_path: Path) -> None:
    runtime = AttendedRuntime(standard(), tmp_path)
    await runtime.up()
    log = tmp_path / "origin.log"
    await runtime.spawn("messenger", "origin", tmp_path / "control.sock", log)
    assert log.read_text() == "what origin writes is in the log of its host: docker compose logs messenger\n"
    with pytest.raises(OSError, match="client: the interfaces"):
        await runtime.devices("client")
    await runtime.down()


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An entry `entry_module:serve` that notes what it got, and is asked to go, more than once."""
    seen: list[Any] = []

    def serve(arguments: dict[str, Any], runtime: AttendedRuntime, state: Path, stop: int) -> int:
        seen.extend([arguments, runtime.name, state])
        assert not select.select([stop], [], [], 0)[0]
        for number in ASKED_TO_GO:
            signal.raise_signal(number)
        assert select.select([stop], [], [], 0)[0]
        assert os.read(stop, 1) == b""
        return 7

    module = types.ModuleType("entry_module")
    module.serve = serve  # type: ignore[attr-defined] # a module made here
    monkeypatch.setitem(sys.modules, "entry_module", module)
    return seen


def test_signals_end_the_entry_in_order_and_are_given_back(entry: list[Any]) -> None:
    before = [signal.getsignal(number) for number in ASKED_TO_GO]
    assert launch("entry_module:serve", STATE, {"delay_seconds": 0.0}) == 7
    assert entry == [{"delay_seconds": 0.0}, "attended", STATE]
    assert [signal.getsignal(number) for number in ASKED_TO_GO] == before
