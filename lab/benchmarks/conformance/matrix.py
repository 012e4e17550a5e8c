"""The outcomes of all cases with all servers, and their JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.benchmarks.conformance.case import Case
from lab.benchmarks.conformance.outcome import Outcome

SCHEMA_VERSION = 1
_BAD = (Outcome.FAIL, Outcome.CRASHED)


@dataclass(frozen=True, slots=True)
class Server:
    """One that was tried. `own`: this project's; `version`: "" where it is not known."""

    name: str
    version: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One case with one server. `reason`: empty only for a pass."""

    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        """The server is wrong."""
        return self.outcome in _BAD


@dataclass(frozen=True, slots=True)
class Matrix:
    """A whole run. `cells`: (server, case id) -> cell; `skipped`: server -> why it is not in it."""

    servers: Sequence[Server]
    cases: Sequence[Case]
    cells: Mapping[tuple[str, str], Cell]
    skipped: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    def counts(self, server: str) -> Counter[Outcome]:
        """How many cases of the server ended how."""
        return Counter(cell.outcome for (name, _), cell in self.cells.items() if name == server)

    def of(self, server: str, *outcomes: Outcome) -> list[tuple[Case, Cell]]:
        """Its cases that ended so, in their order."""
        pairs = ((case, self.cells[server, case.id]) for case in self.cases)
        return [(case, cell) for case, cell in pairs if cell.outcome in outcomes]

    @property
    def held(self) -> bool:
        """This project's server was not wrong in anything, and something was tried."""
        own = {server.name for server in self.servers if server.own}
        return bool(self.cells) and not any(cell.bad for (name, _), cell in self.cells.items() if name in own)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "benchmark": "conformance",
            "machine": dict(self.machine),
            "skipped": dict(self.skipped),
            "servers": [
                {
                    "name": server.name,
                    "version": server.version,
                    "own": server.own,
                    "counts": {outcome: self.counts(server.name)[outcome] for outcome in Outcome},
                }
                for server in self.servers
            ],
            "cases": [
                {
                    "id": case.id,
                    "topic": case.topic,
                    "source": case.source,
                    "sent": case.sent,
                    "right": case.right,
                    "needs": case.needs,
                    "optional": case.optional,
                }
                for case in self.cases
            ],
            "cells": [
                {
                    "server": server,
                    "case": case,
                    "outcome": cell.outcome,
                    "reason": cell.reason,
                    "seconds": round(cell.seconds, 3),
                }
                for (server, case), cell in self.cells.items()
            ],
        }
