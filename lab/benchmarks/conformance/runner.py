"""`sidedoor bench conformance`: all cases with all SOCKS servers that this machine has, one after the other.

A case has the server for itself. Behind each it is seen whether the server still serves; one that does not is noted as
crashed in that case, and started anew for the next.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lab.benchmarks.conformance.case import Case, Needs
from lab.benchmarks.conformance.cases import CASES, TOPICS
from lab.benchmarks.conformance.dialogue import expect_echo, through
from lab.benchmarks.conformance.matrix import Cell, Matrix, Server
from lab.benchmarks.conformance.outcome import NotOffered, NotTested, Outcome, Wrong
from lab.benchmarks.conformance.stage import HANDSHAKE_SECONDS, Stage
from lab.benchmarks.conformance.versions import version
from lab.benchmarks.peers import OURS, Login, Peer, Running, Setup, choose, free_port, start
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError

SETUPS = {
    Needs.NO_USERS: Setup(everything=True),
    Needs.USER: Setup(Login("anna", "correct-horse"), everything=True),
    Needs.LONGEST_USER: Setup(Login("u" * 255, "p" * 255), everything=True),
    Needs.SHORT_DEADLINE: Setup(handshake_seconds=HANDSHAKE_SECONDS, everything=True),
}

_END_SECONDS = 0.5
"""A server that hangs up on everybody may be about to end, which is the better reason."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which servers with which cases; `skipped`: server -> why not."""

    peers: Sequence[Peer]
    cases: Sequence[Case]
    skipped: dict[str, str]


def plan(only: Collection[str] = (), peers: Sequence[Peer] = ()) -> Plan:
    """Choose. `only` names cases, topics or servers; where it names none of a kind, all of them are taken. `peers`:
    those of --peer. Raises UsageError.
    """
    everybody = [peer for peer in choose(peers, 2) if peer.socks and (peer.name == OURS or not peer.own)]
    known = {*(peer.name for peer in everybody), *TOPICS, *(case.id for case in CASES)}
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "see --list"
            raise UsageError(f"--only: no case, topic or server is called {name!r}; {hint}")
    cases = [case for case in CASES if case.id in only or case.topic in only] or list(CASES)
    wanted = [peer for peer in everybody if peer.name in only] or everybody
    skipped = {peer.name: reason for peer in wanted if (reason := peer.missing())}
    return Plan([peer for peer in wanted if peer.name not in skipped], cases, skipped)


def run(chosen: Plan, progress: Callable[[str], object] = lambda text: None) -> Matrix:
    """Try everything. A server that cannot be started is among the skipped, with the reason."""
    began = time.monotonic()
    cells: dict[tuple[str, str], Cell] = {}
    skipped, servers = dict(chosen.skipped), []
    with tempfile.TemporaryDirectory(prefix="sidedoor-conformance-") as folder:
        for peer in chosen.peers:
            progress(f"starting {peer.name}")
            with contextlib.closing(Instances(peer, Path(folder))) as instances:
                try:
                    instances.serve(Needs.NO_USERS)
                except BenchError as error:
                    skipped[peer.name] = str(error)
                    continue
                servers.append(Server(peer.name, version(peer), peer.own))
                for case in chosen.cases:
                    progress(f"{peer.name}: {case.id}")
                    cells[peer.name, case.id] = attempt(case, instances)
    return Matrix(servers, chosen.cases, cells, skipped, _machine(time.monotonic() - began))


class Instances:
    """One server, started once for each of its needs; `close()` ends all of them."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self._folder = folder
        self._running: dict[Needs, tuple[Running, bool, contextlib.ExitStack]] = {}

    def serve(self, needs: Needs) -> Running:
        """The running instance. Raises BenchError where it cannot be started."""
        if needs not in self._running:
            stack = contextlib.ExitStack()
            running = stack.enter_context(start(self.peer, free_port(), self._folder, SETUPS[needs]))
            self._running[needs] = running, not _unserved(running, needs), stack
        return self._running[needs][0]

    def crash(self, needs: Needs) -> str:
        """Why the instance is of no more use, if so; then it is ended, and the next `serve` starts another."""
        running, served, stack = self._running[needs]
        # One that never served anybody says nothing by not serving now.
        problem = _unserved(running, needs) if served else ""
        if problem:
            problem = f"served nobody afterwards: {problem}"
        if (status := _status(running, _END_SECONDS if problem else 0)) is not None:
            problem = f"it ended with status {status}"
        if problem:
            del self._running[needs]
            stack.close()
        return problem

    def close(self) -> None:
        """End all instances."""
        for _, _, stack in self._running.values():
            stack.close()
        self._running.clear()


def attempt(case: Case, instances: Instances) -> Cell:
    """Try one case with one server."""
    peer = instances.peer
    if SETUPS[case.needs].login and peer.no_login:
        return Cell(Outcome.NOT_TESTED if peer.knows_login else Outcome.NOT_OFFERED, peer.no_login)
    try:
        running = instances.serve(case.needs)
    except BenchError as error:
        return Cell(Outcome.NOT_TESTED, str(error))
    began = time.monotonic()
    outcome, reason = judge(case, running.port, deadline_set=peer.has_handshake_seconds)
    seconds = time.monotonic() - began
    if problem := instances.crash(case.needs):
        return Cell(Outcome.CRASHED, "; ".join(filter(None, (problem, reason))), seconds)
    return Cell(outcome, reason, seconds)


def judge(case: Case, port: int, *, deadline_set: bool = True) -> tuple[Outcome, str]:
    """How the case ends with the server on `port`, and why. `deadline_set`: see Stage."""
    try:
        with Stage(port, SETUPS[case.needs].login, deadline_set=deadline_set) as stage:
            case.passes(stage)
    except NotOffered as error:
        return (Outcome.NOT_OFFERED if case.optional else Outcome.FAIL), str(error)
    except NotTested as error:
        return Outcome.NOT_TESTED, str(error)
    except Wrong as error:
        return Outcome.FAIL, str(error)
    except OSError as error:  # of a socket in the middle of something else
        return Outcome.FAIL, f"the connection broke: {error.strerror or error}"
    return Outcome.PASS, ""


def _unserved(running: Running, needs: Needs) -> str:
    """Why a plain flow through the server fails; empty: it does not."""
    try:
        with Stage(running.port, SETUPS[needs].login) as stage:
            expect_echo(*through(stage, stage.listen()))
    except (Wrong, OSError) as error:
        return str(error)
    return ""


def _status(running: Running, seconds: float) -> int | None:
    """The exit status of the first of its processes that ends within so many seconds; None: none does."""
    until = time.monotonic() + seconds
    while True:
        ended = [status for process in running.processes if (status := process.poll()) is not None]
        if ended or time.monotonic() >= until:
            return ended[0] if ended else None
        time.sleep(0.01)


def _machine(seconds: float) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "took_seconds": round(seconds, 1),
    }
