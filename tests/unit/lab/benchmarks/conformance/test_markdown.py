"""The matrix as a page."""

from __future__ import annotations

from lab.benchmarks.conformance.markdown import LEGEND, MARKS, markdown
from lab.benchmarks.conformance.outcome import Outcome
from tests.unit.lab.benchmarks.conformance.test_matrix import matrix

COMMAND = "sidedoor bench conformance --markdown docs/conformance.md"


def test_the_page() -> None:
    page = markdown(matrix(), COMMAND)
    for line in (
        f"Made by `{COMMAND}`, which overwrites it: nothing here is by hand.",
        "2026-11-26, Linux 6.18 (x86_64), Python 3.11; it took 1 s.",
        "| **FAIL** | fail: something else was seen; the reason is below |",
        "| danted | 1.4.2 | 0 | 1 | 0 | 1 | 1 |",
        "| `udp-ipv6` | - | **FAIL** |",
        "- `request-ipv4`: crashed: it ended with status 3",
        "- `auth-right`: not tested: accounts of the system",
        "Not tried: pproxy: pproxy not found (get it)",
        "| `request-ipv4` | CONNECT to 127.0.0.1 | a flow | RFC 1928 section 5 |",
    ):
        assert f"\n{line}\n" in page
    assert "## BIND" not in page, "no case of it was tried"
    assert "\nsidedoor:\n" not in page, "it was right in everything"


def test_what_a_case_says_cannot_break_its_table() -> None:
    assert "a datagram \\| to ::1" in markdown(matrix(), COMMAND)


def test_cases_with_one_reason_share_its_line() -> None:
    run = matrix()
    cells = {key: run.cells["danted", "udp-ipv6"] for key in run.cells}
    shared = type(run)(run.servers, run.cases, cells, {}, run.machine)
    assert "- `request-ipv4`, `udp-ipv6`, `auth-right`: no datagram came\n" in markdown(shared, COMMAND)


def test_every_outcome_has_its_mark_and_meaning() -> None:
    assert set(MARKS) == set(LEGEND) == set(Outcome)
