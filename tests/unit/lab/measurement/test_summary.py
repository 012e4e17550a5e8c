"""summary.json: what goes in comes out, and the metrics over runs."""

from __future__ import annotations

import msgspec
import pytest

from lab.measurement.accounts import Collateral, Cost
from lab.measurement.episodes import Block
from lab.measurement.leaks import Leaks
from lab.measurement.summary import (
    METRICS,
    Clock,
    Killed,
    Run,
    Summary,
    decode,
    encode,
    measure_run,
    summarize,
    to_microseconds,
)
from tests.unit.lab.measurement.story import CLIENT, MONOTONIC, Story, run_events

CLOCK = Clock(monotonic=MONOTONIC, realtime=1_795_000_000.0)


def test_a_measured_run_goes_through_json_unchanged() -> None:
    run = measure_run(
        run_events(), seed=1, clock=CLOCK, client_addresses=[CLIENT], leaks=Leaks(packets=0, probe_bytes=9)
    )
    summary = summarize([run], scenario="quickstart", runtime="netns", seed=1)
    assert decode(encode(decode(encode(summary)))) == decode(encode(summary))
    plain = msgspec.json.decode(encode(summary))
    assert plain["schema_version"] == 1
    assert set(plain["metrics"]["domain"]) == set(METRICS)
    assert plain["runs"][0]["blocks"][0]["ttr_seconds"] == pytest.approx(0.518)
    assert plain["runs"][0]["cost"]["probe_bytes"] == 9


def test_times_are_written_to_the_microsecond() -> None:
    assert to_microseconds({"a": [0.1 + 0.2, (1.23456789, 1)], "b": None}) == {"a": [0.3, [1.234568, 1]], "b": None}


def test_what_the_scenario_broke_is_in_the_run() -> None:
    fault = {"t": 6.0, "source": "lab", "event": "fault_injected", "role": "proxy1"}
    run = measure_run([*run_events(), fault], seed=1, clock=CLOCK, client_addresses=[CLIENT])
    assert run.faults == [Killed(role="proxy1", at_seconds=6.0)]
    assert run.outcome == "completed"


def test_without_captures_leaks_are_unknown() -> None:
    run = measure_run([], seed=1, clock=CLOCK, client_addresses=[CLIENT])
    assert run.leaks == Leaks()
    assert run.problems == []


def test_a_death_and_missed_packets_are_problems() -> None:
    story = Story()
    story.add(1.0, "lab", "role_died", role="proxy1", status=-9)
    story.add(2.0, "censor", "packets_missed", count=3)
    story.add(3.0, "censor", "packets_missed", count=4)
    run = measure_run(story.events, seed=1, clock=CLOCK, client_addresses=[])
    assert run.problems == ["proxy1 was killed by signal 9", "the censor did not see 7 packets"]


def test_no_run_no_figures() -> None:
    assert summarize([], scenario="s", runtime="netns", seed=3) == Summary(scenario="s", runtime="netns", seed=3)


def test_what_was_not_seen_is_censored_and_what_was_never_hit_is_absent() -> None:
    blocks = [
        Block(name="b", t0=1.0, ttr_seconds=0.5, recovered=True, failback_censored_at_seconds=4.0),
        Block(name="b", t0=1.0, censored_at_seconds=9.0),
        Block(name="b"),
    ]
    runs = [Run(seed=i, clock=CLOCK, blocks=[block]) for i, block in enumerate(blocks)]
    metrics = summarize(runs, scenario="s", runtime="netns", seed=0).metrics["b"]
    assert (metrics["ttr_seconds"].n, metrics["ttr_seconds"].n_censored, metrics["ttr_seconds"].p50) == (2, 1, 0.5)
    assert (metrics["failback_seconds"].n, metrics["failback_seconds"].n_censored) == (1, 1)


def test_sums_over_the_runs() -> None:
    runs = [
        Run(
            seed=number,
            clock=CLOCK,
            cost=Cost(probe_bytes=known, connections_opened=2, proxies_revealed=number, false_switches=1),
            collateral=Collateral(tried=10, broken=2, slowed=1),
            leaks=Leaks(packets=known, examples=[f"example {number}"]),
        )
        for number, known in ((1, 5), (2, None))
    ]
    summary = summarize(runs, scenario="s", runtime="netns", seed=1)
    assert summary.cost == Cost(probe_bytes=5, connections_opened=4, proxies_revealed=2, false_switches=2)
    assert summary.collateral == Collateral(tried=20, broken=4, slowed=2)
    assert summary.leaks == Leaks(packets=5, examples=["example 1", "example 2"])
