"""The matrix in a terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console

from lab.benchmarks.conformance.cases import CASES
from lab.benchmarks.conformance.matrix import Cell, Matrix, Server
from lab.benchmarks.conformance.outcome import Outcome
from lab.benchmarks.conformance.table import table
from tests.unit.lab.benchmarks.conformance.test_matrix import matrix


def text(run: Matrix, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table(run))
    return file.getvalue()


def test_outcomes_counts_and_reasons() -> None:
    shown = text(matrix())
    assert re.search(r"request-ipv4 +ok +CRASH", shown)
    assert re.search(r"udp-ipv6 +- +FAIL", shown)
    assert re.search(r"auth-right +ok +n/t", shown)
    assert re.search(r"\n +pass +2 +0", shown)
    assert "danted: udp-ipv6: fail: no datagram came" in shown
    assert "skipped: pproxy: pproxy not found" in shown
    assert "BIND" not in shown, "no case of it was tried"


def test_of_many_reasons_only_our_own_are_told() -> None:
    servers = [Server("sidedoor", own=True), Server("danted")]
    cells = {(server.name, case.id): Cell(Outcome.FAIL, "REP 01") for server in servers for case in CASES}
    shown = text(Matrix(servers, CASES, cells))
    assert shown.count("sidedoor: ") == len(CASES)
    assert "danted: " not in shown
    assert f"{len(CASES)} reasons of others: --json or --markdown" in shown


def test_seven_servers_fit_into_a_terminal() -> None:
    servers = [Server(f"server-{number}") for number in range(6)]
    cells = {(server.name, case.id): Cell(Outcome.CRASHED, "x") for server in servers for case in CASES}
    assert "…" not in text(Matrix(servers, CASES, cells), width=105)


def test_nobody_was_tried() -> None:
    assert "skipped: x: why" in text(Matrix([], CASES, {}, {"x": "why"}))
