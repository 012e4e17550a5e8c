"""What a case is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lab.benchmarks.conformance.stage import Stage


class Needs(StrEnum):
    """How the server has to be started for a case."""

    NO_USERS = "no users"
    USER = "a user"
    SHORT_DEADLINE = "a deadline of handshakes of 1 s"
    LONGEST_USER = "a user and a password of 255 bytes"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a server does right or wrong. `id` is stable: it may be quoted.

    `passes` tries it and returns; or raises Wrong, NotOffered or NotTested; what else it may raise is OSError, which
    is the server's fault, too. `source`: where it is written what is right. `optional`: refusing it is no fault.
    """

    id: str
    source: str
    sent: str
    right: str
    passes: Callable[[Stage], None]
    needs: Needs = Needs.NO_USERS
    optional: bool = False

    @property
    def topic(self) -> str:
        """The file that it is in."""
        return self.id.partition("-")[0]


def case(
    id: str, source: str, *, sent: str, right: str, needs: Needs = Needs.NO_USERS, optional: bool = False
) -> Callable[[Callable[[Stage], None]], Case]:
    """Makes a Case of the function that tries it."""
    return lambda passes: Case(id, source, sent, right, passes, needs, optional)
