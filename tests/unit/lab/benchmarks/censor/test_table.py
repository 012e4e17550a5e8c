"""What is shown, on a terminal and as a page."""

from __future__ import annotations

import io

from rich.console import Console

from lab.benchmarks.censor.results import Results
from lab.benchmarks.censor.table import grids, markdown, sentences, tables
from tests.unit.lab.benchmarks.censor.test_results import results


def test_rows_of_the_profiles() -> None:
    first = next(iter(grids(results())))
    assert first.rows == [
        ["plain", "20.0", "", "40.0", "", "30,000", "", "0.10", "", "0.20", ""],
        ["idle", "18.0", "0.90", "40.0", "1.00", "15,000", "0.50", "0.25", "+0.15", "0.50", "+0.30"],
        ["slow", "7.5", "0.50", "8.0", "0.28", "6,000", "0.20", "2.10", "+2.00", "4.20", "+4.00"],
    ]


def test_plain_routing_beside_nothing_is_not_shown() -> None:
    run = results()
    some = [sample for sample in run.samples if sample.subject != "every-packet"]
    titles = [grid.title for grid in grids(Results(run.profiles, some, {}, 3, 1.0))]
    assert "Every packet through the censor" in [grid.title for grid in grids(run)]
    assert "Every packet through the censor" not in titles


def test_races_are_shown_as_far_as_they_were_run() -> None:
    (races,) = (grid for grid in grids(results()) if grid.title.startswith("Injecting"))
    assert races.rows == [["races", "95.0%", "0.40", "", ""]]


def test_goals_say_ok_or_missed() -> None:
    *_, last = grids(results())
    words = {(row[0], row[1]): row[-1] for row in last.rows}
    assert words["idle", "new flows/s"] == "OK"
    assert words["slow", "added latency, p99, ms"] == "MISSED"
    assert words["every-packet", "Gbit/s with GSO"] == "OK"


def test_what_failed_was_skipped_and_was_not_seen() -> None:
    assert list(sentences(results())) == [
        "failed: slow in start, 1 of 3 rounds: the censor did not start: bad rules",
        "skipped: iperf4: not found",
        "packets that passed unseen: slow: 7 in all rounds",
    ]


def test_a_terminal_of_100_columns_shows_all_of_it() -> None:
    out = io.StringIO()
    Console(width=100, file=out).print(tables(results()))
    shown = out.getvalue()
    assert "medians of 3 x 1 s; load average before: 0.5; other work meanwhile: 0.25 of 2 cores" in shown
    assert "…" not in shown
    assert "MISSED" in shown


def test_a_page() -> None:
    page = markdown(results(), "sidedoor bench censor")
    assert "Made by `sidedoor bench censor`" in page
    assert "|  | iperf3 Gbit/s | of plain |" in page
    assert "| idle | new flows/s | >= 8,000 | 15,000 | OK |" in page


def test_nothing_measured_is_no_table() -> None:
    page = markdown(Results([], [], {}, 1, 1.0), "x")
    assert "|" not in page
