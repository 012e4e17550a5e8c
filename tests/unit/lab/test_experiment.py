"""What an experiment makes of its records: a run's result, events with their run, the time that the command gave."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lab.experiment import _event_line, _with_hits, _with_timeout, measured
from lab.measurement.summary import Clock, Outcome
from lab.run import RunRecord
from lab.scenario import Scenario
from lab.topology import standard
from tests.unit.lab.measurement.traffic import CLIENT, MESSENGER, REALTIME, RESOLVER, pcap, tcp, udp

CLOCK = Clock(monotonic=1000.0, realtime=1.7e9)
DEATH = {"t": 1.0, "source": "lab", "event": "role_died", "role": "origin", "status": -9}


def record(outcome: Outcome, problem: str | None, *events: dict[str, object]) -> RunRecord:
    return RunRecord(1, 7, CLOCK, list(events), outcome, problem)


@pytest.mark.parametrize(
    ("record_", "problems"),
    [
        (record("completed", None), []),
        (record("timed_out", "not done within 5 s"), ["not done within 5 s"]),
        (record("role_died", "origin was killed by signal 9 in mid-run", DEATH), ["origin was killed by signal 9"]),
    ],
    ids=["completed", "timed out", "role died"],
)
def test_how_a_run_ended_is_among_its_problems_once(record_: RunRecord, problems: list[str], tmp_path: Path) -> None:
    assert measured(record_, tmp_path, standard()).problems == problems


def test_how_and_when_a_run_ended_is_told(tmp_path: Path) -> None:
    cut = RunRecord(1, 7, CLOCK, [], "interrupted", "interrupted at 7.2 s", 7.2)
    found = measured(cut, tmp_path, standard())
    assert (found.outcome, found.ended_seconds, found.problems) == ("interrupted", 7.2, ["interrupted at 7.2 s"])


def test_without_a_capture_leaks_are_unknown(tmp_path: Path) -> None:
    result = measured(record("completed", None), tmp_path, standard())
    assert (result.leaks.packets, result.seed, result.clock) == (None, 7, CLOCK)


def test_a_run_counts_what_its_own_captures_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    folder.mkdir()
    header = b"\x4d\x3c\xb2\xa1\x02\x00\x04\x00" + bytes(8) + b"\xff\xff\x00\x00\x01\x00\x00\x00"
    (folder / "run1-censor-home.pcap").write_bytes(header)
    for run, host, dropped in ((1, "censor", 2), (1, "client", 1), (2, "censor", 40), (10, "censor", 80)):
        (folder / f"run{run}-{host}.json").write_text(json.dumps({"home": {"packets": 9, "dropped": dropped}}))
    result = measured(record("completed", None), tmp_path, standard())
    assert (result.leaks.packets, result.leaks.capture_dropped) == (0, 3)


def test_events_are_written_with_their_run() -> None:
    stream = io.BytesIO()
    event = {"t": 0.5, "source": "lab", "event": "unblocked", "block": "all"}
    _event_line(stream, 3)(event)
    assert json.loads(stream.getvalue()) == event | {"run": 3}
    assert stream.getvalue().endswith(b"}\n")
    assert "run" not in event


def test_the_commands_time_goes_before_the_scenarios() -> None:
    scenario = Scenario(name="mine", description="", timeout_seconds=60)
    assert _with_timeout(scenario, None) is scenario
    assert _with_timeout(scenario, 5.0).timeout_seconds == 5.0


def test_a_foreign_censors_hits_are_read_out_of_the_captures(tmp_path: Path) -> None:
    """The client's hello goes into the censor's host and does not come out."""
    folder = tmp_path / "capture"
    folder.mkdir()
    hello = tcp((CLIENT, 40000), (MESSENGER, 443), "PA", 10, 20, b"hello")
    later = udp((CLIENT, 5353), (RESOLVER, 99), b"something else")
    (folder / "run1-censor-home.pcap").write_bytes(pcap([(2.5, hello), (9.0, later)]))
    (folder / "run1-censor-uplink.pcap").write_bytes(pcap([(9.001, later)]))
    episode: list[dict[str, object]] = [
        {"t": 2.0, "source": "lab", "event": "episode_started", "block": "all", "rules": ["all"]},
        {"t": 6.0, "source": "lab", "event": "episode_ended", "block": "all"},
    ]
    clock = Clock(monotonic=1000.0, realtime=REALTIME)
    told = _with_hits(RunRecord(1, 7, clock, list(episode), "completed", None), tmp_path, standard())
    assert [event["event"] for event in told.events] == ["episode_started", "censor_hit", "episode_ended"]
    (block,) = measured(told, tmp_path, standard()).blocks
    assert (block.t0, block.hits) == (pytest.approx(2.5), 1)


def test_without_captures_nobody_knows_of_a_foreign_censors_hits(tmp_path: Path) -> None:
    before = record("failed", "no room", DEATH)
    assert _with_hits(before, tmp_path, standard()) is before
