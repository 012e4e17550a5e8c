"""What a typed line means: a message, or a command that begins with `/`. Sans-IO."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

HELP = (
    "/send FILE     send a file of up to 64 MB",
    "/routes        how each route is",
    "/quit          end (so do Ctrl-D and Ctrl-C)",
    "//TEXT         say /TEXT",
    "A line of yours is queued (·), then sent (✓), then shown to the other end (✓✓).",
)
_ARGUMENTS = {"send": "FILE", "routes": "", "quit": "", "help": ""}


@dataclass(frozen=True, slots=True)
class Say:
    """`text` is to be sent."""

    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """A command, with its argument if it has one."""

    name: Literal["send", "routes", "quit", "help"]
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with the line, and what was expected."""

    text: str


def meaning(line: str) -> Say | Order | Mistake | None:
    """Of one line; None: it is empty."""
    if not line.strip():
        return None
    if line.startswith("//") or not line.startswith("/"):
        return Say(line[1:] if line.startswith("//") else line)
    name, _, argument = line[1:].strip().partition(" ")
    argument = argument.strip()
    match name:
        case "send" if argument:
            return Order("send", argument)
        case "routes" | "quit" | "help" if not argument:
            return Order(name)
    if name in _ARGUMENTS:
        return Mistake(f"expected /{name} {_ARGUMENTS[name]}".rstrip())
    close = difflib.get_close_matches(name, _ARGUMENTS, 1)
    hint = f"did you mean /{close[0]}?" if close else "/help lists what there is"
    return Mistake(f"there is no /{name}; {hint}")
