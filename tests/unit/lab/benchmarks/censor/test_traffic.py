"""The ClientHello is a real one; what the generator counted is judged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lab.benchmarks import generator
from lab.benchmarks.censor import traffic
from lab.benchmarks.processes import BenchError

COUNTED = traffic.Counted(0.5, 0, 100, 0, 0, 0.001, 0.0002, 0.001)


def line(**changes: float) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(COUNTED, **changes))


def test_the_hello_is_one_record_with_the_name() -> None:
    hello = traffic.client_hello("innocent.example")
    assert hello[:3] == b"\x16\x03\x01"
    assert len(hello) == 5 + int.from_bytes(hello[3:5], "big")
    assert hello[5] == 1
    assert hello.count(b"innocent.example") == 1
    assert hello[11:12] == b"o"


def test_what_was_counted() -> None:
    assert traffic.judged(line()) == COUNTED


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "cannot be read"),
        (b"{}", "cannot be read"),
        (line(failures=3), "3 of 103 flows broke"),
        (line(waiting_seconds=1.5), "waited for 1.5 s"),
    ],
)
def test_traffic_that_was_to_pass_and_did_not(said: bytes, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        traffic.judged(said)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "compiler", lambda: "/usr/bin/cc")
    assert traffic.missing() is None
    monkeypatch.setattr(generator, "compiler", lambda: None)
    assert "gcc" in str(traffic.missing())


def test_no_flow_and_no_byte_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic.Traffic, "_run", lambda *_, **__: msgspec.structs.replace(COUNTED, flows=0))
    with pytest.raises(BenchError, match="no flow ended"):
        traffic.Traffic("flows", "hello").open(1, 0, 0.1)
    with pytest.raises(BenchError, match="no byte"):
        traffic.Traffic("flows", "hello").bulk(1, 0.1)


def test_a_generator_that_gives_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "on", lambda host, command, cpus: command)
    with pytest.raises(BenchError, match="cannot access 'bulk'"):
        traffic.Traffic("ls", "hello").bulk(1, 0.1)


def test_a_generator_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A pipe that has no writer but its reader never ends.
    hang = ["sh", "-c", f"mkfifo {tmp_path}/pipe; read x <> {tmp_path}/pipe"]
    monkeypatch.setattr(traffic, "on", lambda host, command, cpus: hang)
    monkeypatch.setattr(traffic, "_SPARE_SECONDS", 0.0)
    with pytest.raises(BenchError, match="did not end"):
        traffic.Traffic("flows", "hello").bulk(1, 0.01)
