"""How a case can end."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Of one case with one server."""

    PASS = "pass"
    FAIL = "fail"
    NOT_OFFERED = "not offered"
    """An optional feature that the server refuses cleanly."""
    CRASHED = "crashed"
    """It died, or served nobody afterwards."""
    NOT_TESTED = "not tested"
    """This machine or this peer's start does not allow it."""


class Wrong(Exception):
    """The server is wrong; says what came back."""


class NotOffered(Exception):
    """The server refuses an optional feature, as it may; says how."""


class NotTested(Exception):
    """The case cannot be tried here; says why."""
