"""The rounds: their order, and what becomes of failures. The hosts and censors are made up."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from lab.benchmarks.censor import inside, network
from lab.benchmarks.censor.inside import Order, Rounds, rotated
from lab.benchmarks.censor.measurements import Measurement, Stage
from lab.benchmarks.censor.results import Sample
from lab.benchmarks.censor.subjects import Kind, Subject
from lab.benchmarks.processes import BenchError


def test_another_one_is_first_in_each_round() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 1) == []


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order: hosts made and gone, censors started, measurements made."""
    seen: list[str] = []

    @contextlib.contextmanager
    def hosts(*, far: bool) -> Iterator[None]:
        seen.append("far" if far else "up")
        yield
        seen.append("down")

    @contextlib.contextmanager
    def started(subject: Subject, folder: Path, dumps: list[Path]) -> Iterator[SimpleNamespace]:
        if subject.name == "names":
            raise BenchError("bad rules")
        seen.append(f"start {subject.name}")
        yield SimpleNamespace(name=subject.name)

    def bulk(stage: Stage) -> dict[str, float]:
        censor: Any = stage.censor
        seen.append(f"measure {censor.name if censor else 'plain'}")
        return {"gigabits_per_second": 1.0}

    def broken(stage: Stage) -> dict[str, float]:
        raise BenchError("no flow ended")

    monkeypatch.setattr(network, "hosts", hosts)
    monkeypatch.setattr(inside, "started", started)
    profiles = frozenset({Kind.PLAIN, Kind.PROFILE})
    monkeypatch.setattr(
        inside,
        "MEASUREMENTS",
        (
            Measurement("tls", bulk, profiles, float),
            Measurement("new-flows", broken, frozenset({Kind.PROFILE}), float),
            Measurement("first-byte", bulk, profiles, float),
            Measurement("dns-race", bulk, frozenset({Kind.RACE}), float),
        ),
    )
    return seen


def run(tmp_path: Path, subjects: list[str], rounds: int, *measurements: str) -> list[Sample]:
    said: list[dict[str, Any]] = []
    Rounds(
        Order(subjects, list(measurements) or ["tls", "new-flows"], rounds, 1.0, "flows"), tmp_path, said.append
    ).run()
    return [one["sample"] for one in said if "sample" in one]


def test_hosts_are_made_anew_for_every_subject_in_every_round(happened: list[str], tmp_path: Path) -> None:
    samples = run(tmp_path, ["plain", "idle"], 2)
    plain, idle = ["up", "measure plain", "down"], ["up", "start idle", "measure idle", "down"]
    assert happened == plain + idle + idle + plain
    assert [(s.round, s.subject) for s in samples if s.measurement == "tls"] == [
        (1, "plain"),
        (1, "idle"),
        (2, "idle"),
        (2, "plain"),
    ]


def test_races_have_a_wan_and_nothing_is_made_for_subjects_without_measurements(
    happened: list[str], tmp_path: Path
) -> None:
    run(tmp_path, ["plain", "races"], 1, "dns-race")
    assert happened == ["far", "start races", "measure races", "down"]


def test_what_fails_twice_is_not_tried_again(happened: list[str], tmp_path: Path) -> None:
    samples = run(tmp_path, ["names", "idle"], 4)
    failures = [(s.subject, s.measurement, s.failure) for s in samples if s.failure]
    assert sorted(failures) == [
        *[("idle", "new-flows", "no flow ended")] * 2,
        *[("names", "start", "bad rules")] * 2,
    ]
    assert happened.count("measure idle") == 4


def test_the_process_reads_its_order_and_says_lines(
    happened: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order = msgspec.json.encode(Order(["plain"], ["tls"], 1, 1.0, "flows"))
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(order)))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=said))
    monkeypatch.setattr(network, "prepare", lambda: None)
    monkeypatch.setattr(inside.tempfile, "TemporaryDirectory", lambda dir: contextlib.nullcontext(str(tmp_path)))
    inside.main()
    doing, sample = map(json.loads, said.getvalue().splitlines())
    assert doing == {"doing": "round 1 of 1: plain, tls"}
    assert sample["sample"]["metrics"] == {"gigabits_per_second": 1.0}


def test_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> None:
        raise PermissionError("mount tmpfs on /run")

    order = msgspec.json.encode(Order([], [], 1, 1.0, "flows"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(order)))
    monkeypatch.setattr(network, "prepare", prepare)
    with pytest.raises(SystemExit, match="mount tmpfs"):
        inside.main()
