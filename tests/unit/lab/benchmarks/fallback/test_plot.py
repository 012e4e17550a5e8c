"""The picture: curves of known runs, and a page that loads nothing."""

from __future__ import annotations

from lab.benchmarks.fallback.plot import curve, html, panels
from lab.benchmarks.fallback.results import Results
from tests.unit.lab.benchmarks.fallback.made_up import censored, record, recovered


def test_a_curve_ends_where_the_watching_did() -> None:
    (cell,) = Results([*recovered([0.4, 0.8]), *censored(2, 15.0)]).cells
    assert curve(cell) == ([0.05, 0.4, 0.8, 15.0], [0.0, 0.25, 0.5, 0.5], 15.0)


def test_a_curve_of_runs_that_all_recovered_ends_at_the_last() -> None:
    (cell,) = Results(recovered([0.4, 0.8])).cells
    assert curve(cell) == ([0.05, 0.4, 0.8], [0.0, 0.5, 1.0], None)


def test_a_curve_of_none_is_a_line_at_nothing() -> None:
    (cell,) = Results(censored(3, 60.0)).cells
    assert curve(cell) == ([0.05, 60.0], [0.0, 0.0], 60.0)


def test_a_panel_for_each_block_type_and_circumstance() -> None:
    runs = [
        record(),
        record(policy="outline"),
        record(warm=False),
        record("rst", problem="not hit"),
        record(killed=True),
    ]
    assert [(title, len(cells)) for title, cells in panels(Results(runs))] == [
        ("syn-drop, warm, 40 ms, loss 0 %", 2),
        ("syn-drop, cold, 40 ms, loss 0 %", 1),
    ]


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = html(Results([*recovered([0.4, 0.8]), *censored(3, 60.0, policy="tdlib")]))
    assert "not recovered in the time watched" in page
    assert "<script src=" not in page
    assert page.rstrip().endswith("</html>")
    assert "<h1>" in html(Results([]))
