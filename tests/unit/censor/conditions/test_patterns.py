"""censor/conditions/patterns.py"""

from __future__ import annotations

import pytest

from censor.conditions.patterns import compile_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        r"^.*\.vpn[0-9]+\.",
        r"^([a-z0-9-]{1,63}\.)+example$",
        "(a+)b+",
        "(a+){2}",
        "(a+)?",
        r"(\+)+",
        "([+*])+",
        "([]+])+",
        r"([^\]+])+",
        r"\(a+\)+",
        "(a+)(b)+",
        "(?x)a # )\n",
    ],
)
def test_expressions(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", ["(a+)+", "(a*)*b", "((a+)b)+", "(a{1,}){2,}", "(a|b(c*))+?", "(?:x(y+)z)*"])
def test_nested_repetitions_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="limit the inner one"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing \\)"),
        ("*", "nothing to repeat"),
        ("a{99999999999}", "repetition number is too large"),
        ("[[a]]", "Possible nested set"),
        ("(" * 5000 + ")" * 5000, "recursion"),
    ],
)
def test_what_is_no_regular_expression(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"no regular expression: .*{reason}"):
        compile_pattern(pattern)
