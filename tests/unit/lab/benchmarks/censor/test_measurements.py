"""The arithmetic of the measurements, over a traffic and a censor that say what they are told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.benchmarks import iperf
from lab.benchmarks.censor import flood, measurements
from lab.benchmarks.censor.flood import Sent
from lab.benchmarks.censor.measurements import MEASUREMENTS, Stage
from lab.benchmarks.censor.subjects import Kind
from lab.benchmarks.censor.traffic import Counted, Traffic
from lab.benchmarks.processes import BenchError

STAT = "cpu  5 0 5 90 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0\ncpu1 200 0 50 700 50 0 0 0\ncpu10 9 9 9 9 9 9 9 9\n"


def test_busy_seconds_of_some_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "_TICKS", 100)
    assert measurements.busy_seconds(STAT, [1]) == 2.5
    assert measurements.busy_seconds(STAT, [0, 1]) == 3.5


def test_fewer_flows_where_it_is_to_be_short() -> None:
    assert measurements.latency_seconds(5.0) == measurements.latency_seconds(1.0) == 2.5
    assert measurements.latency_seconds(0.2) == 0.5


class Censor:
    """Half a second of CPU and 300 packets between two looks."""

    def __init__(self) -> None:
        self._looks = 0
        self.pinned: list[set[int]] = []
        self.pss_bytes: int | None = 1000
        self.packets_missed = 7

    @property
    def cpu_seconds(self) -> float:
        self._looks += 1
        return 0.5 * self._looks

    @property
    def packets_queued(self) -> int:
        return 300 * self._looks

    def check(self) -> None:
        pass

    def pin(self, cpus: set[int]) -> None:
        self.pinned.append(cpus)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """On CPUs 2 and 5; a measurement takes 2 s by the clock, of which 1 s is counted."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(measurements, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    busy = iter(range(1000))
    monkeypatch.setattr(measurements, "_busy_seconds", lambda cpus: float(next(busy)))
    others = iter([5.0, 5.5] * 10)
    monkeypatch.setattr(measurements, "_others_seconds", lambda: next(others))

    @contextlib.contextmanager
    def server(self: Traffic) -> Iterator[None]:
        yield

    monkeypatch.setattr(Traffic, "server", server)
    censor: Any = Censor()
    return Stage(Traffic("flows", "hello"), censor, 1.0, [2, 5], None)


def test_bulk(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traffic, "bulk", lambda *_: Counted(1.0, 5 * 10**9, 0, 0, 0, 0, 0, 0))
    assert measurements.tls(stage) == {
        "gigabits_per_second": 40.0,
        "cpu_seconds_per_gb": 0.05,
        "censor_busy": 0.25,
        "queued_packets_per_second": 150.0,
        "others_busy": 0.25,
    }


def test_single_segments(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []

    @contextlib.contextmanager
    def single_segments() -> Iterator[None]:
        entered.append(True)
        yield

    monkeypatch.setattr(measurements, "single_segments", single_segments)
    monkeypatch.setattr(Traffic, "bulk", lambda *_: Counted(1.0, 10**9, 0, 0, 0, 0, 0, 0))
    assert measurements.single(stage)["gigabits_per_second"] == 8.0
    assert entered


def test_new_flows_keep_censor_and_generator_apart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = []

    def open_(traffic: Traffic, *_: float) -> Counted:
        cpus.append(traffic.cpus)
        return Counted(1.0, 0, 10_000, 0, 0, 0, 0.001, 0.002)

    monkeypatch.setattr(Traffic, "open", open_)
    metrics = measurements.new_flows(stage)
    assert metrics["flows_per_second"] == 10_000
    assert metrics["cpu_seconds_per_1000_flows"] == pytest.approx(0.025)
    assert metrics["generator_busy"] == 0.5
    censor: Any = stage.censor
    assert (censor.pinned, cpus) == ([{2}, {2, 5}], [[5]])


def test_the_censor_is_let_go_again_when_a_measurement_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_(*_: object) -> Counted:
        raise BenchError("no flow ended")

    monkeypatch.setattr(Traffic, "open", open_)
    with pytest.raises(BenchError):
        measurements.new_flows(stage)
    censor: Any = stage.censor
    assert censor.pinned[-1] == {2, 5}


def test_first_byte(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traffic, "open", lambda *_: Counted(2.5, 0, 500, 0, 0, 0, 0.0002, 0.0015))
    metrics = measurements.first_byte(stage)
    assert (metrics["p50_ms"], metrics["p99_ms"], metrics["flows"]) == (0.2, 1.5, 500)


def test_iperf3_takes_whole_seconds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(server: list[str], client: list[str], seconds: int) -> tuple[float, int]:
        calls.append((client[-4:], seconds))
        return 1e9, 10**9

    monkeypatch.setattr(iperf, "measure", measure)
    plain = Stage(stage.traffic, None, 0.2, [0], "/usr/bin/iperf3")
    assert measurements.iperf3(plain) == {"gigabits_per_second": 8.0, "others_busy": 0.25}
    assert calls == [(["5201", "-t", "1", "-J"], 1)]
    with pytest.raises(BenchError, match="iperf3 not found"):
        measurements.iperf3(stage)


def test_flows_while_a_list_is_exchanged(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    censor: Any = stage.censor

    def reload() -> float:
        censor.packets_missed += 2
        return 1.5

    censor.reload = reload
    monkeypatch.setattr(measurements, "RELOAD_SECONDS", 0.0)
    monkeypatch.setattr(measurements.time, "sleep", lambda seconds: None, raising=False)
    monkeypatch.setattr(Traffic, "open", lambda *_: Counted(6.0, 0, 1200, 0, 0, 0, 0.0005, 0.25))
    assert measurements.reload(stage) == {
        "reload_seconds": 1.5,
        "packets_missed": 2,
        "flows": 1200,
        "p50_ms": 0.5,
        "p99_ms": 250.0,
    }
    with pytest.raises(BenchError, match="nobody has a list"):
        measurements.reload(Stage(stage.traffic, None, 1.0, [0], None))


def test_other_flows_while_there_are_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    censor: Any = stage.censor
    censor.queue_table = Path("queues")

    def measure(queue: Path, number: int) -> Sent:
        assert (queue, number) == (Path("queues"), 200_000)
        censor.packets_missed += 2
        censor.pss_bytes = 3_000_000
        return Sent(number, 10.0, 8.0)

    monkeypatch.setattr(flood, "measure", measure)
    monkeypatch.setattr(Traffic, "open", lambda *_: Counted(20.0, 0, 400, 0, 0, 0, 0.0005, 0.25))
    found = {"flows": 200_000, "flows_per_second": 20_000.0, "packets_missed": 2, "p50_ms": 0.5, "p99_ms": 250.0}
    assert measurements.flooded(stage) == found | {"mb_before": 0.001, "mb_after": 3.0}
    censor.pss_bytes = None
    monkeypatch.setattr(flood, "measure", lambda _, number: Sent(number, 10.0, 8.0))
    assert measurements.flooded(stage) == found | {"packets_missed": 0}
    with pytest.raises(BenchError, match="nobody remembers flows"):
        measurements.flooded(Stage(stage.traffic, None, 1.0, [0], None))


def test_the_process(stage: Stage) -> None:
    assert measurements.process(stage) == {"packets_missed": 7, "pss_bytes": 1000}
    censor: Any = stage.censor
    censor.pss_bytes = None
    assert measurements.process(stage) == {"packets_missed": 7}
    assert measurements.process(Stage(stage.traffic, None, 1.0, [0], None)) == {}


def test_one_cpu_is_everybodys() -> None:
    assert Stage(Traffic("", ""), None, 1.0, [3], None).generator_cpus == [3]


def test_each_measurement_is_of_some_subjects_and_takes_time() -> None:
    assert {kind for one in MEASUREMENTS for kind in one.kinds} == set(Kind)
    assert all(one.estimate(1.0) > 0 for one in MEASUREMENTS if one.name != "process")
