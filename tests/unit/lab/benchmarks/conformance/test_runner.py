"""The choice of servers and cases; what a case's end means."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.benchmarks.conformance import runner
from lab.benchmarks.conformance.case import Case, Needs
from lab.benchmarks.conformance.cases import CASES
from lab.benchmarks.conformance.matrix import Cell
from lab.benchmarks.conformance.outcome import NotOffered, NotTested, Outcome, Wrong
from lab.benchmarks.conformance.runner import Instances, attempt, judge, plan
from lab.benchmarks.conformance.stage import Stage
from lab.benchmarks.peers import Peer, Running, Setup, custom
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError


def ending(error: Exception | None, *, needs: Needs = Needs.NO_USERS, optional: bool = True) -> Case:
    """A case that ends like this."""

    def passes(stage: Stage) -> None:
        if error is not None:
            raise error

    return Case("x-y", "", "", "", passes, needs, optional)


def test_everything_is_tried_unless_something_is_named() -> None:
    chosen = plan(["udp-ipv4", "bind", "sidedoor"])
    assert [peer.name for peer in chosen.peers] == ["sidedoor"]
    assert [case.id for case in chosen.cases] == [c.id for c in CASES if c.id == "udp-ipv4" or c.topic == "bind"]
    assert len(plan(["sidedoor"]).cases) == len(CASES)
    everybody = [*(peer.name for peer in plan().peers), *plan().skipped]
    assert "sidedoor" in everybody
    assert not {"haproxy", "sidedoor-2w"}.intersection(everybody), "no SOCKS server; the same again"


@pytest.mark.parametrize(("name", "hint"), [("udp-ipv5", "did you mean 'udp-ipv"), ("nothing", "see --list")])
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"--only: no case, topic or server is called '{name}'; {hint}"):
        plan([name])


def test_a_server_that_is_not_installed_is_skipped() -> None:
    chosen = plan(["gost"], [custom("gost=no-such-program {port}")])
    assert not chosen.peers
    assert chosen.skipped == {"gost": "no-such-program not found (the program of --peer gost)"}


@pytest.mark.parametrize(
    ("case", "outcome", "reason"),
    [
        (ending(None), Outcome.PASS, ""),
        (ending(Wrong("REP 01")), Outcome.FAIL, "REP 01"),
        (ending(NotOffered("REP 07")), Outcome.NOT_OFFERED, "REP 07"),
        (ending(NotOffered("REP 07"), optional=False), Outcome.FAIL, "REP 07"),
        (ending(NotTested("no ::1")), Outcome.NOT_TESTED, "no ::1"),
        (ending(BrokenPipeError(32, "Broken pipe")), Outcome.FAIL, "the connection broke: Broken pipe"),
        (ending(OSError("odd")), Outcome.FAIL, "the connection broke: odd"),
    ],
)
def test_how_a_case_ends(case: Case, outcome: Outcome, reason: str) -> None:
    assert judge(case, 9) == (outcome, reason)


class Process:
    """Ends with this status; None: runs on."""

    def __init__(self, status: int | None = None) -> None:
        self.status = status

    def poll(self) -> int | None:
        return self.status


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Instances]]:
    """Instances of a server whose process has this status, and why it does not serve (empty: it does), time by time."""
    made: list[Instances] = []

    def make(status: int | None = None, unserved: tuple[str, ...] = ("", ""), **peer: object) -> Instances:
        answers = iter(unserved)

        @contextlib.contextmanager
        def start(peer: Peer, target_port: int, folder: Path, setup: Setup) -> Iterator[Running]:
            if status == 2:
                raise BenchError("x did not accept")
            yield Running(9, (Process(status),))  # type: ignore[arg-type]

        monkeypatch.setattr(runner, "start", start)
        monkeypatch.setattr(runner, "_unserved", lambda running, needs: next(answers))
        monkeypatch.setattr(runner, "_END_SECONDS", 0)
        made.append(Instances(Peer("x", (sys.executable,), "", lambda place: [], **peer), Path()))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def bare(cell: Cell) -> tuple[Outcome, str]:
    return cell.outcome, cell.reason


def test_a_server_that_still_serves_has_not_crashed(instances: Callable[..., Instances]) -> None:
    assert bare(attempt(ending(Wrong("REP 01")), instances())) == (Outcome.FAIL, "REP 01")


def test_a_server_that_ended_has_crashed(instances: Callable[..., Instances]) -> None:
    cell = attempt(ending(Wrong("a reset came")), instances(status=3))
    assert bare(cell) == (Outcome.CRASHED, "it ended with status 3; a reset came")


def test_a_server_that_serves_nobody_afterwards_has_crashed(instances: Callable[..., Instances]) -> None:
    cell = attempt(ending(None), instances(unserved=("", "nothing came")))
    assert bare(cell) == (Outcome.CRASHED, "served nobody afterwards: nothing came")


def test_a_server_that_never_served_has_not_crashed(instances: Callable[..., Instances]) -> None:
    assert bare(attempt(ending(Wrong("REP 01")), instances(unserved=("REP 01",)))) == (Outcome.FAIL, "REP 01")


def test_a_server_without_users(instances: Callable[..., Instances]) -> None:
    case = ending(None, needs=Needs.USER)
    assert attempt(case, instances(no_login="why")) == Cell(Outcome.NOT_TESTED, "why")
    assert attempt(case, instances(no_login="none", knows_login=False)) == Cell(Outcome.NOT_OFFERED, "none")
    assert bare(attempt(case, instances())) == (Outcome.PASS, "")


def test_a_server_that_cannot_be_started_as_needed(instances: Callable[..., Instances]) -> None:
    assert attempt(ending(None), instances(status=2)) == Cell(Outcome.NOT_TESTED, "x did not accept")
