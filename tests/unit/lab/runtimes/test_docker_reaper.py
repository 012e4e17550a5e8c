"""The reaper waits for the end of its standard input, and then removes its lab and no other."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator

import pytest

from lab.runtimes import docker_reaper

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in IGNORED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_end_of_its_input_is_the_end_of_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    class Input(io.BytesIO):
        def read(self, *_: object) -> bytes:
            done.append(("waited", [signal.getsignal(number) for number in IGNORED]))
            return b""

    monkeypatch.setattr("lab.runtimes.docker_reaper.sys.stdin", io.TextIOWrapper(Input()))
    monkeypatch.setattr(docker_reaper, "connect", lambda: "engine")
    monkeypatch.setattr(docker_reaper, "remove", lambda client, lab: done.append((client, lab)))
    docker_reaper.main("mine")
    assert done == [("waited", [signal.SIG_IGN] * 3), ("engine", "mine")]
