"""The conformance table names a test in each row, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
DOCUMENTATION = TESTS.parent / "docs/proxy-conformance.md"
ROW = re.compile(r"^\| (?!case|---)(.*) \| (.*) \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall(DOCUMENTATION.read_text(encoding="utf-8"))


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("case", "does", "tests"), ROWS, ids=[case for case, _, _ in ROWS])
def test_each_row_names_tests_that_exist(case: str, does: str, tests: str) -> None:
    assert case
    assert does
    named = tests.split()
    assert named
    for test in named:
        match = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", test)
        assert match, test
        assert match[2] in functions(TESTS / match[1]), test


def test_every_line_of_the_tables_is_a_row() -> None:
    lines = [line for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(lines) == len(ROWS) + 2 * 2  # each of the two tables has a head of two lines
