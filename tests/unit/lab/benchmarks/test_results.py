"""Medians and ratios; `results()` is the run that the other tests of the benchmark show, too."""

from __future__ import annotations

from lab.benchmarks.results import Contestant, Results, Sample, is_cost, own_names
from lab.benchmarks.workloads import Metrics

RATE, CPU = "megabytes_per_second", "cpu_seconds_per_gb"


def sample(number: int, peer: str, rate: float, cpu: float | None = None, **more: float) -> Sample:
    metrics: Metrics = {RATE: rate, "others_busy": 0.25} | more
    return Sample(number, peer, "bulk-down-1", metrics | ({} if cpu is None else {CPU: cpu}), None, 1.5)


def results() -> Results:
    samples = [
        *(sample(n, "direct", rate, clients_busy=0.9) for n, rate in enumerate((3900.0, 4000.0, 9000.0), 1)),
        *(
            sample(n, "sidedoor", *x, proxy_busy=0.5)
            for n, x in enumerate(((3000.0, 0.2), (3000.0, 0.1), (1.0, 0.3)), 1)
        ),
        sample(1, "sidedoor-2w", 3300.0, 0.2),
        sample(1, "danted", 1500.0, 0.6),
        sample(1, "microsocks", 400.0, 0.4),
        Sample(2, "danted", "bulk-down-1", failure="hung up"),
        sample(1, "haproxy", 3500.0, 0.1),
    ]
    peers = [
        Contestant("direct", socks=False),
        Contestant("sidedoor", own=True),
        Contestant("sidedoor-2w", own=True),
        Contestant("danted"),
        Contestant("microsocks"),
        Contestant("haproxy", socks=False),
    ]
    machine = {"cpus": 2, "load_averages_before": (0.5, 0.4, 0.3)}
    return Results(peers, ["bulk-down-1"], samples, {"pproxy": "pproxy not found"}, "C", 3, 1.0, machine)


def test_medians_are_over_the_rounds_that_gave_a_value() -> None:
    run = results()
    assert run.median("sidedoor", "bulk-down-1", RATE) == 3000.0
    assert run.values("danted", "bulk-down-1", RATE) == [1500.0]
    assert run.median("danted", "idle", RATE) is None
    assert run.others_busy == 0.25


def test_the_best_is_a_socks_server_of_somebody_else() -> None:
    run = results()
    assert run.best_rival("bulk-down-1", RATE) == ("danted", 1500.0)
    assert run.best_rival("bulk-down-1", CPU, lower_is_better=True) == ("microsocks", 0.4)
    assert run.best_rival("idle", RATE) is None


def test_ratios() -> None:
    run = results()
    assert run.ratio_to_direct("sidedoor", "bulk-down-1", RATE) == 0.75
    assert run.ratio_to_best("sidedoor", "bulk-down-1", RATE) == 2.0
    assert run.ratio_to_best("sidedoor", "bulk-down-1", CPU, lower_is_better=True) == 0.5
    assert run.ratio_to_best("sidedoor", "idle", RATE) is None


def test_alone_there_is_nothing_to_compare_with() -> None:
    alone = Results([Contestant("sidedoor", own=True)], ["bulk-down-1"], [sample(1, "sidedoor", 1.0)], {}, "C", 1, 1.0)
    assert alone.ratio_to_direct("sidedoor", "bulk-down-1", RATE) is None
    assert alone.ratio_to_best("sidedoor", "bulk-down-1", RATE) is None


def test_json_has_all_rounds_and_the_medians() -> None:
    data = results().to_json()
    assert data["schema_version"] == 2
    assert data["skipped"] == {"pproxy": "pproxy not found"}
    assert len(data["samples"]) == 11
    ours = next(entry for entry in data["medians"] if entry["peer"] == "sidedoor")
    assert ours["medians"][RATE] == 3000.0
    assert (ours["ratios_to_direct"][RATE], ours["ratios_to_best"][RATE]) == (0.75, 2.0)
    assert ours["ratios_to_best"][CPU] == 0.5
    dante = next(entry for entry in data["medians"] if entry["peer"] == "danted")
    assert (dante["n"], dante["n_failed"]) == (1, 1)
    assert [entry["failure"] for entry in data["samples"] if entry["failure"]] == ["hung up"]


def test_of_rates_more_is_better_of_all_else_less() -> None:
    assert not is_cost(RATE)
    assert not is_cost("flows")
    assert is_cost(CPU)
    assert not is_cost("rate_share")
    assert is_cost("pss_bytes_per_flow")


def test_own_names() -> None:
    assert own_names(results()) == ["sidedoor", "sidedoor-2w"]
