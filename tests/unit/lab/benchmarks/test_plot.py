from lab.benchmarks.plot import html
from lab.benchmarks.results import Contestant, Results, Sample
from tests.unit.lab.benchmarks.test_results import results


def test_the_document_holds_everything_it_needs() -> None:
    page = html(results())
    assert "Bulk, MB/s" in page
    assert "danted" in page
    for tag in ("<script src", "<link", "@import"):
        assert tag not in page.partition("<body>")[2]
    assert '<script type="text/javascript" src' not in page


def test_figures_that_nobody_has() -> None:
    """Without a proxy there is no CPU time."""
    direct = [Contestant("direct", socks=False)]
    samples = [Sample(1, "direct", "bulk-down-1", {"megabytes_per_second": 1.0})]
    assert "Bulk, MB/s" in html(Results(direct, ["bulk-down-1"], samples, {}, "C", 1, 1.0))


def test_a_run_that_measured_nothing() -> None:
    assert "Relays compared" in html(Results([], [], [], {}, "C", 1, 1.0))
