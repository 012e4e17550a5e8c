"""What a person reads."""

from __future__ import annotations

from rich.console import Console

from lab.benchmarks.fallback.arms import NO_SPARE
from lab.benchmarks.fallback.controls import calibration, control
from lab.benchmarks.fallback.records import Lateness
from lab.benchmarks.fallback.results import Results
from lab.benchmarks.fallback.table import figure, grids, headline, markdown, tables
from tests.unit.lab.benchmarks.fallback.made_up import censored, quiet, record, recovered

OURS = [0.36, 0.38, 0.39, 0.40, 0.41, 0.44]


def results() -> Results:
    runs = [
        *recovered(OURS * 10),
        *recovered(OURS, killed=True),
        *recovered(OURS, warm=False),
        *recovered(OURS, "rst", rtt_ms=200, loss=0.01),
        *censored(6, 60.0, policy="tdlib"),
        *recovered(OURS, policy=NO_SPARE),
        record(lateness_ms=Lateness(client=90.0)),
    ]
    among = calibration(recovered(OURS), recovered(OURS), 4)
    return Results(
        runs, {"cpus": 2}, {"freeze": "role censor died"}, 2, 1.0, among, control([quiet(), quiet("direct-only")])
    )


def test_a_figure_has_its_interval_and_what_is_censored() -> None:
    whole, few, never = (Results(runs).cells[0] for runs in (recovered(OURS), recovered([0.4]), censored(3, 60.0)))
    assert figure(whole) == "0.39 (0.36-0.41)"
    assert figure(few) == "0.40"
    assert figure(never) == "- 3/3 cens."
    assert figure(None) == figure(Results([record(problem="not hit")]).cells[0]) == ""


def test_every_grid_has_as_many_cells_as_headings() -> None:
    for grid in grids(results()):
        assert grid.rows, grid.title
        assert len(grid.rows) == len(grid.styles)
        assert {len(row) for row in grid.rows} == {len(grid.headings)}


def test_policies_stand_side_by_side_ours_first() -> None:
    first = next(iter(grids(results())))
    assert first.title == "ttr in seconds, p50 (95 %), warm, RTT 40 ms, loss 0 %"
    assert first.headings == ["", "sidedoor", "tdlib", NO_SPARE]
    assert [first.rows[0][column] for column in (0, 2, 3)] == ["syn-drop", "- 6/6 cens.", "0.39 (0.36-0.41)"]


def test_the_factorial_has_a_column_for_each_circumstance() -> None:
    (factorial,) = [grid for grid in grids(results()) if grid.title.startswith("sidedoor: ttr")]
    assert factorial.headings == ["", "warm\n40 ms, 0 %", "warm\n200 ms, 1 %", "cold\n40 ms, 0 %"]
    assert [row[0] for row in factorial.rows] == ["syn-drop", "rst"]
    assert factorial.rows[1][1] == factorial.rows[1][3] == ""


def test_the_headline_says_how_far_the_machine_kept_up() -> None:
    text = headline(results())
    assert "2 labs at a time" in text
    assert "1 run repeated for more than 50 ms" in text
    assert headline(Results(recovered([0.4]))).startswith("Fallback: 1 run in 1 cell, ")
    assert headline(Results([])).startswith("Fallback: 0 runs in 0 cells, 0 messages")


def test_a_terminal_sees_what_failed() -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - the console's
    console.print(tables(results()))
    text = console.export_text()
    console.file.close()
    assert "failed: freeze: role censor died" in text
    assert "What is asked" in text
    assert "client-hours" in text.replace("\n", " ") or "hours" in text


def test_nothing_measured_shows_what_is_asked_only() -> None:
    assert [grid.title for grid in grids(Results([])) if grid.rows] == ["What is asked"]
    half = Results([], calibration={"labs": 2, "ratio": None} | dict.fromkeys(("alone", "among"), _one(None)))
    (rows,) = [grid.rows for grid in grids(half) if "alone" in grid.title]
    assert rows == [["alone", "1", "", "", "", "0"], ["among 2", "1", "", "", "", "0"]]


def _one(value: float | None) -> dict[str, object]:
    return {"n": 1, "ttr_seconds": {"p50": value, "p95": value}, "lateness_ms": {"p95": value}, "repeated": 0}


def test_the_page_names_the_command_and_every_block_type() -> None:
    page = markdown(results(), "sidedoor bench fallback --out x")
    assert "Made by `sidedoor bench fallback --out x`" in page
    assert "| freeze | silent | a flow stops after 16 KB" in page
    assert "- failed: freeze: role censor died" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert "| rst | - |" in page  # not measured without loss
