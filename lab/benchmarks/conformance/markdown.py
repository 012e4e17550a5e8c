"""The matrix as a page: docs/conformance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.benchmarks.conformance.case import Case
from lab.benchmarks.conformance.cases import TOPICS
from lab.benchmarks.conformance.matrix import Cell, Matrix
from lab.benchmarks.conformance.outcome import Outcome

MARKS = {
    Outcome.PASS: "ok",
    Outcome.FAIL: "**FAIL**",
    Outcome.NOT_OFFERED: "-",
    Outcome.CRASHED: "**CRASH**",
    Outcome.NOT_TESTED: "n/t",
}
LEGEND = {
    Outcome.PASS: "what is right was seen",
    Outcome.FAIL: "something else was seen; the reason is below",
    Outcome.NOT_OFFERED: "an optional feature, cleanly refused",
    Outcome.CRASHED: "the server ended, or served nobody afterwards",
    Outcome.NOT_TESTED: "this machine, or the way the server is started here, does not allow it",
}
_HEAD = """\
# SOCKS servers, judged from outside

Made by `{command}`, which overwrites it: nothing here is by hand.
Every server runs on 127.0.0.1 of one machine, with all protocols that it can serve on one port, and is judged by its
bytes and by what can be seen of it, Sidedoor like the others. What is right is what the source says (last section);
where that is practice and no RFC, the row says so. A case takes 3 s at most: what a server does later is not seen.

{date}, {system} {release} ({processor}), Python {python}; it took {took_seconds} s.
"""


def markdown(matrix: Matrix, command: str) -> str:
    """The whole page. `command`: what made it."""
    parts = [
        _HEAD.format(command=command, **matrix.machine),
        _table(["mark", "meaning"], [[MARKS[outcome], f"{outcome}: {text}"] for outcome, text in LEGEND.items()]),
        "## Servers\n",
        _summary(matrix),
        *(f"Not tried: {name}: {reason}\n" for name, reason in matrix.skipped.items()),
    ]
    for title, cases in _topics(matrix):
        parts += [f"## {title}\n", _outcomes(matrix, cases)]
    parts += ["## Reasons\n", *_reasons(matrix), "## Cases\n"]
    for title, cases in _topics(matrix):
        rows = [[f"`{case.id}`", case.sent, case.right, case.source] for case in cases]
        parts += [f"### {title}: what is sent, what is right\n", _table(["case", "sent", "right", "source"], rows)]
    return "\n".join(parts)


def _topics(matrix: Matrix) -> Iterator[tuple[str, list[Case]]]:
    for topic, title in TOPICS.items():
        if cases := [case for case in matrix.cases if case.topic == topic]:
            yield title, cases


def _summary(matrix: Matrix) -> str:
    rows = [
        [server.name, server.version or "?", *(str(matrix.counts(server.name)[outcome]) for outcome in Outcome)]
        for server in matrix.servers
    ]
    return _table(["server", "version", *Outcome], rows)


def _outcomes(matrix: Matrix, cases: Sequence[Case]) -> str:
    rows = [
        [f"`{case.id}`", *(MARKS[matrix.cells[server.name, case.id].outcome] for server in matrix.servers)]
        for case in cases
    ]
    return _table(["", *(server.name for server in matrix.servers)], rows)


def _reasons(matrix: Matrix) -> Iterator[str]:
    for server in matrix.servers:
        by_reason: dict[str, list[str]] = {}
        for case, cell in matrix.of(server.name, Outcome.FAIL, Outcome.CRASHED, Outcome.NOT_TESTED):
            by_reason.setdefault(_said(cell), []).append(f"`{case.id}`")
        if by_reason:
            yield f"{server.name}:\n"
            yield "".join(f"- {', '.join(cases)}: {reason}\n" for reason, cases in by_reason.items())


def _said(cell: Cell) -> str:
    return cell.reason if cell.outcome is Outcome.FAIL else f"{cell.outcome}: {cell.reason}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
