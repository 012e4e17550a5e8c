"""The matrix: counts, what held, JSON."""

from __future__ import annotations

import json

import pytest

from lab.benchmarks.conformance.case import Case, Needs
from lab.benchmarks.conformance.matrix import Cell, Matrix, Server
from lab.benchmarks.conformance.outcome import Outcome
from lab.benchmarks.conformance.stage import Stage


def never(stage: Stage) -> None:
    raise AssertionError("these cases are not tried")


CASES = (
    Case("request-ipv4", "RFC 1928 section 5", "CONNECT to 127.0.0.1", "a flow", never),
    Case("udp-ipv6", "RFC 1928 section 7", "a datagram | to ::1", "both", never, optional=True),
    Case("auth-right", "RFC 1929 section 2", "the right password", "01 00", never, Needs.USER),
)


def matrix(ours: Outcome = Outcome.PASS) -> Matrix:
    """Two servers with three cases, and a server that was not tried."""
    rows = {
        "sidedoor": [Cell(ours, "" if ours is Outcome.PASS else "REP 01"), Cell(Outcome.NOT_OFFERED, "REP 07")],
        "danted": [Cell(Outcome.CRASHED, "it ended with status 3", 0.12345), Cell(Outcome.FAIL, "no datagram came")],
    }
    last = {"sidedoor": Cell(Outcome.PASS), "danted": Cell(Outcome.NOT_TESTED, "accounts of the system")}
    return Matrix(
        [Server("sidedoor", "0.1.0", own=True), Server("danted", "1.4.2")],
        CASES,
        {
            (name, one.id): cell
            for name, row in rows.items()
            for one, cell in zip(CASES, [*row, last[name]], strict=True)
        },
        {"pproxy": "pproxy not found (get it)"},
        {
            "system": "Linux",
            "release": "6.18",
            "processor": "x86_64",
            "python": "3.11",
            "date": "2026-11-26",
            "took_seconds": 1,
        },
    )


def test_counts() -> None:
    assert dict(matrix().counts("sidedoor")) == {Outcome.PASS: 2, Outcome.NOT_OFFERED: 1}
    assert [case.id for case, _ in matrix().of("danted", Outcome.FAIL, Outcome.CRASHED)] == ["request-ipv4", "udp-ipv6"]


@pytest.mark.parametrize(
    ("ours", "held"),
    [
        (Outcome.PASS, True),
        (Outcome.NOT_OFFERED, True),
        (Outcome.NOT_TESTED, True),
        (Outcome.FAIL, False),
        (Outcome.CRASHED, False),
    ],
)
def test_only_what_is_wrong_with_this_project_s_server_counts(ours: Outcome, held: bool) -> None:
    assert matrix(ours).held is held


def test_nothing_tried_has_not_held() -> None:
    assert not Matrix([], [], {}).held


def test_json_has_everything() -> None:
    run = json.loads(json.dumps(matrix().to_json()))
    assert (run["schema_version"], run["benchmark"]) == (1, "conformance")
    assert run["skipped"] == {"pproxy": "pproxy not found (get it)"}
    assert run["servers"][1] == {
        "name": "danted",
        "version": "1.4.2",
        "own": False,
        "counts": {"pass": 0, "fail": 1, "not offered": 0, "crashed": 1, "not tested": 1},
    }
    assert run["cases"][2]["needs"] == "a user"
    assert run["cells"][3] == {
        "server": "danted",
        "case": "request-ipv4",
        "outcome": "crashed",
        "reason": "it ended with status 3",
        "seconds": 0.123,
    }
