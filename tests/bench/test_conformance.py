"""`sidedoor bench conformance`: Sidedoor judged; who is right passes every case, and every case can be failed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.benchmarks.conformance import runner
from lab.benchmarks.conformance.cases import CASES
from lab.benchmarks.conformance.matrix import Cell
from lab.benchmarks.conformance.outcome import Outcome
from lab.benchmarks.peers import Peer, Place, Step
from tests.bench import broken_server
from tests.bench.broken_server import FAULTS

pytestmark = pytest.mark.alone

SECONDS = 100.0
SERVERS_AT_A_TIME = 6
SERVER = str(Path(broken_server.__file__))


def server(fault: str) -> Peer:
    def steps(place: Place) -> list[Step]:
        login = place.setup.login
        deadline = str(place.setup.handshake_seconds or 10)
        users = [login.user, login.password] if login else []
        return [Step([place.programs[0], SERVER, str(place.port), fault, deadline, *users], place.port)]

    return Peer("small", (sys.executable,), "", steps, has_handshake_seconds=True)


def tried(fault: str, only: Iterable[str]) -> dict[str, Cell]:
    """The cells of a server with this fault."""
    chosen = set(only)
    plan = runner.Plan([server(fault)], [case for case in CASES if case.id in chosen], {})
    matrix = runner.run(plan)
    assert not matrix.skipped
    return {case: cell for (_, case), cell in matrix.cells.items()}


def test_the_command_finds_nothing_wrong_with_this_project_s_proxy(tmp_path: Path) -> None:
    json_file, markdown = tmp_path / "conformance.json", tmp_path / "conformance.md"
    command = [sys.executable, "-m", "sidedoor", "bench", "conformance", "--only", "sidedoor"]
    command += ["--json", str(json_file), "--markdown", str(markdown)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    run = json.loads(json_file.read_text())
    wrong = {cell["case"]: cell["reason"] for cell in run["cells"] if cell["outcome"] not in ("pass", "not tested")}
    assert not wrong
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(run["cells"]) == len(CASES)
    assert "`request-bound-ipv6`" in markdown.read_text()
    assert "request-bound-ipv6" in done.stdout


def test_a_server_that_is_right_passes_every_case() -> None:
    cells = tried("none", [case.id for case in CASES])
    assert {case: cell for case, cell in cells.items() if cell.outcome is not Outcome.PASS} == {}


def test_for_every_case_there_is_a_fault_that_fails_it() -> None:
    assert {case for cases in FAULTS.values() for case in cases.split()} == {case.id for case in CASES}


def test_each_fault_fails_its_cases() -> None:
    """Several at a time: most of it is waiting for what does not come."""
    with ThreadPoolExecutor(SERVERS_AT_A_TIME) as pool:
        runs = dict(zip(FAULTS, pool.map(lambda fault: tried(fault, FAULTS[fault].split()), FAULTS), strict=True))
    overlooked = {(fault, case): cell for fault, cells in runs.items() for case, cell in cells.items() if not cell.bad}
    assert overlooked == {}


def test_a_server_that_died_is_started_anew_and_the_run_goes_on() -> None:
    cells = tried("dies-of-reset", ["clients-many", "clients-reset", "udp-ipv4"])
    assert cells["clients-reset"].outcome is Outcome.CRASHED
    assert "it ended with status 3" in cells["clients-reset"].reason
    assert cells["clients-many"].outcome is cells["udp-ipv4"].outcome is Outcome.PASS
