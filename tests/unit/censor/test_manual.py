"""docs/censor-rules.md has every key of a rules file, and no key that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from censor.actions import Action, AnyAction
from censor.censor_table import CensorTable, FragmentsTable, OverloadTable, TcpTable
from censor.rules import List, Rule, RuleSet

MANUAL = (Path(__file__).parents[3] / "docs/censor-rules.md").read_text(encoding="utf-8")
TABLES = {"tcp", "fragments", "overload"}


def keys(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def section(title: str) -> str:
    _, found, rest = MANUAL.partition(f"\n{title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def first_column(text: str) -> set[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize("action", get_args(AnyAction), ids=lambda action: action.__struct_config__.tag)
def test_actions(action: type[Action]) -> None:
    (row,) = [
        line for line in section("## Actions").splitlines() if line.startswith(f"| `{action.__struct_config__.tag}` ")
    ]
    documented = set(re.findall(r"`([a-z_]+)`", row.split("|")[2]))
    assert keys(action) <= documented
    assert documented - keys(action) == set()


def test_rules() -> None:
    long_form = first_column(section("## A rule").partition("### ")[0])
    short_form = section("## A rule").partition("### The short form")[2]
    in_short = set(re.findall(r"`([a-z_]+)`", short_form)) & keys(Rule)
    assert long_form | in_short == keys(Rule)
    assert long_form <= keys(Rule)


def test_lists() -> None:
    assert first_column(section("## Lists").partition("What a row stands for")[0]) == keys(List)


def test_the_tables_of_the_censor() -> None:
    text = section("## `[censor]`")
    top, _, rest = text.partition("| `[censor.tcp]`")
    tcp, _, fragments = rest.partition("| `[censor.fragments]`")
    assert first_column(top) == keys(CensorTable) - TABLES
    assert first_column(tcp) == keys(TcpTable)
    assert first_column(fragments) == keys(FragmentsTable)
    assert keys(OverloadTable) <= set(re.findall(r"`([a-z_]+)`", fragments))


def test_what_a_file_is_made_of() -> None:
    assert all(f"[{key}]" in MANUAL or f"[[{key}]]" in MANUAL for key in keys(RuleSet) - {"profile"})
