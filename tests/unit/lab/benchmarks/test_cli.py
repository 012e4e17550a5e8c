import io

from click.testing import CliRunner
from rich.console import Console

from lab.benchmarks.cli import bench, table
from sidedoor.settings import UsageError
from tests.unit.lab.benchmarks.test_relay import results


def test_the_table() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(results()))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above
    for word in ("bulk-down-1", "sidedoor", "3,000", "0.75", "2.00", "0.20", "C load generator"):
        assert word in text


def test_an_unknown_name_is_a_usage_error() -> None:
    assert isinstance(CliRunner().invoke(bench, ["relay", "--only", "nginx"]).exception, UsageError)
