from lab.benchmarks.plot import html
from lab.benchmarks.results import Results
from tests.unit.lab.benchmarks.test_results import results


def test_the_document_holds_everything_it_needs() -> None:
    page = html(results())
    assert "Bulk, MB/s" in page
    assert "danted" in page
    for tag in ("<script src", "<link", "@import"):
        assert tag not in page.partition("<body>")[2]
    assert '<script type="text/javascript" src' not in page


def test_a_run_that_measured_nothing() -> None:
    assert "Relays compared" in html(Results([], [], [], {}, "C", 1, 1.0))
