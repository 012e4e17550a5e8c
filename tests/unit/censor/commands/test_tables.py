"""censor/commands/tables.py"""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from censor.commands.tables import facts, rows

HEAD = ("rule", "matched", "what it does")
BODY = [("sni", "12", "drop " * 20), ("[b]", "", "")]


def printed(width: int, *, numbers: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    rows(console, HEAD, BODY, numbers=numbers)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_where_there_is_room() -> None:
    lines = printed(160)
    assert lines[0].split() == ["rule", "matched", "what", "it", "does"]
    assert lines[1].split()[:2] == ["sni", "12"]
    assert lines[2].strip() == "[b]"  # no markup


def test_numbers_are_right_aligned() -> None:
    head, first, *_ = printed(160, numbers=True)
    assert head.index("matched") + len("matched") == first.index("12") + 2


def test_a_list_where_there_is_not() -> None:
    lines = printed(40)
    assert lines[0] == "sni"
    assert lines[1] == "  matched       12"
    assert lines[2].startswith("  what it does  drop drop")
    assert " ".join(lines).count("drop") == 20
    assert lines[-1] == "[b]"
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("width", [40, 160])
def test_facts(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    facts(console, [("when", "tls"), ("evidence", "")])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().split() == ["when", "tls"]
