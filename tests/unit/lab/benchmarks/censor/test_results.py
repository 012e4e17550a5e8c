"""Medians, ratios to plain routing in the same round, the shape of the JSON."""

from __future__ import annotations

import json

import pytest

from lab.benchmarks.censor.results import Results, Sample


def bulk(measurement: str, **rates: list[float]) -> list[Sample]:
    return [
        Sample(number + 1, subject.replace("_", "-"), measurement, {"gigabits_per_second": rate})
        for subject, values in rates.items()
        for number, rate in enumerate(values)
    ]


def flows(subject: str, rate: float, p99_ms: float) -> list[Sample]:
    return [
        Sample(1, subject, "new-flows", {"flows_per_second": rate, "censor_busy": 0.9, "generator_busy": 0.8}),
        Sample(1, subject, "first-byte", {"p50_ms": p99_ms / 2, "p99_ms": p99_ms, "others_busy": 0.25}),
    ]


def results() -> Results:
    """The machine was half as fast in the second of three rounds; `slow` could not be measured in the third."""
    samples = [
        *bulk("iperf3", plain=[20, 10, 20], idle=[20, 9, 18], slow=[10, 5]),
        *bulk("tls", plain=[40, 20, 40], idle=[40, 20, 40], slow=[10, 6], every_packet=[6, 5, 6]),
        *bulk("single-segments", plain=[2], every_packet=[0.2]),
        *flows("plain", 30_000, 0.2),
        *flows("idle", 15_000, 0.5),
        *flows("slow", 6_000, 4.2),
        Sample(1, "idle", "process", {"pss_bytes": 28e6, "packets_missed": 0}),
        Sample(1, "slow", "process", {"pss_bytes": 30e6, "packets_missed": 3}),
        Sample(2, "slow", "process", {"pss_bytes": 40e6, "packets_missed": 4}),
        Sample(1, "registry", "reload", {"reload_seconds": 2.5}),
        Sample(1, "races", "dns-race", {"won_share": 1.0, "p50_ms": 0.3}),
        Sample(2, "races", "dns-race", {"won_share": 0.9, "p50_ms": 0.5}),
        Sample(3, "slow", "start", failure="the censor did not start: bad rules"),
    ]
    machine = {"cpus": 2, "load_averages_before": [0.5, 0.4, 0.3]}
    return Results(["idle", "slow"], samples, {"iperf4": "not found"}, 3, 1.0, machine)


def test_ratios_are_of_the_same_round() -> None:
    run = results()
    assert run.median("idle", "iperf3", "gigabits_per_second") == 18
    assert run.ratio("idle", "iperf3", "gigabits_per_second") == 0.9
    assert run.ratio("slow", "tls", "gigabits_per_second") == pytest.approx(0.275)
    assert run.ratio("slow", "single-segments", "gigabits_per_second") is None


def test_the_throughput_is_that_of_the_slower_kind_of_flow() -> None:
    assert results().throughput_ratio("idle") == 0.9
    assert results().throughput_ratio("slow") == pytest.approx(0.275)
    assert results().throughput_ratio("nobody") is None


def test_latency_is_what_comes_on_top() -> None:
    assert results().added("slow", "first-byte", "p99_ms") == pytest.approx(4.0)
    assert results().added("nobody", "first-byte", "p99_ms") is None


def test_a_rate_of_nothing_is_no_base() -> None:
    run = Results(["idle"], bulk("tls", plain=[0], idle=[1]), {}, 1, 1.0)
    assert run.ratio("idle", "tls", "gigabits_per_second") is None


def test_the_json() -> None:
    data = json.loads(json.dumps(results().to_json()))
    assert set(data["profiles"]) == {"idle", "slow"}
    slow = data["profiles"]["slow"]
    assert slow["throughput_ratio"] == pytest.approx(0.275)
    assert slow["throughput_ratios"] == {"iperf3": 0.5, "tls": pytest.approx(0.275)}
    assert slow["new_flows_per_second"] == 6000
    assert slow["new_flows_ratio"] == 0.2
    assert slow["added_latency_ms"] == {"p50": pytest.approx(2.0), "p99": pytest.approx(4.0)}
    assert slow["latency_ms"]["p99"] == 4.2
    assert (slow["pss_bytes"], slow["packets_missed"]) == (35e6, 7)
    assert data["plain"]["new_flows_per_second"] == 30_000
    assert data["full_inspection"]["gso"]["gigabits_per_second"] == 6
    assert data["full_inspection"]["gso"]["throughput_ratio"] == 0.15
    assert data["full_inspection"]["single_segments"]["plain_gigabits_per_second"] == 2
    assert data["races"] == {"dns": {"won_share": 0.95, "p50_ms": 0.4}, "rst": {}}
    assert data["lists"] == {"under_traffic": {"reload_seconds": 2.5}}
    assert data["samples"][-1]["failure"] == "the censor did not start: bad rules"
    assert len(results().failures) == 1
    assert data["others_busy"] == 0.25
    assert Results([], [], {}, 1, 1.0).others_busy is None
