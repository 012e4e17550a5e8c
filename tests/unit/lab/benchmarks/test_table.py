import io
import re

from rich.console import Console

from lab.benchmarks.results import Contestant, Results, Sample
from lab.benchmarks.table import SECTIONS, headline, tables
from lab.benchmarks.workloads import WORKLOADS
from tests.unit.lab.benchmarks.test_results import results

WIDTH = 100


def text(run: Results) -> str:
    file = io.StringIO()
    Console(file=file, width=WIDTH).print(tables(run))
    return file.getvalue()


def test_figures_ratios_and_failures_are_shown() -> None:
    shown = text(results())
    for words in ("sidedoor", "3,000", "0.75", "2.00", "0.20", "danted", "C load generator", "of 2 cores"):
        assert words in shown
    assert "failed: danted in bulk-down-1, 1 of 3 rounds: hung up" in shown
    assert "skipped: pproxy: pproxy not found" in shown
    assert re.search(r"bulk-down-1 +megabytes per second / best +>= 1\.20 +2\.00 +held", shown)
    assert "1.1 x" in shown, "direct over the fastest proxy"
    assert "Ping-pong" not in shown, "nothing of it was measured"


def test_every_metric_is_one_of_a_workload() -> None:
    names = {workload.name for workload in WORKLOADS}
    assert {column.workload for section in SECTIONS for column in section.columns} == names


def test_the_widest_figures_fit() -> None:
    """Numbers such as a fast machine gives, for two own entries: no cell is cut, no line is broken."""
    metrics = {column.metric: 99999.0 for section in SECTIONS for column in section.columns}
    bulk = {"megabytes_per_second": 12345.0, "cpu_seconds_per_gb": 12.34}
    peers = [Contestant("direct", socks=False), *(Contestant(n, own=True) for n in ("sidedoor", "sidedoor-2w"))]
    peers.append(Contestant("microsocks"))
    samples = [
        Sample(1, peer.name, w.name, metrics | bulk if w.group == "bulk" else metrics)
        for peer in peers
        for w in WORKLOADS
    ]
    shown = text(Results(peers, [w.name for w in WORKLOADS], samples, {}, "C", 1, 1.0))
    assert "…" not in shown
    assert "12,345" in shown
    assert "2w/direct" in shown


def test_the_headline_of_a_run_that_measured_nothing() -> None:
    assert headline(Results([], [], [], {}, "Python", 2, 0.5)) == "Relays: medians of 2 x 0.5 s, Python load generator"
