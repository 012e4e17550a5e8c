"""censor/analyzers/descriptions.py, and the table of the reference, which says the same."""

from __future__ import annotations

from pathlib import Path

from censor.analyzers.all import PROPERTIES
from censor.analyzers.descriptions import DESCRIPTIONS
from censor.commands.properties import meaning

REFERENCE = (Path(__file__).resolve().parents[4] / "docs/censor-conditions.md").read_text(encoding="utf-8")


def test_each_property_is_described_in_the_order_of_the_analyzers() -> None:
    assert list(DESCRIPTIONS) == list(PROPERTIES)


def test_descriptions_are_short_lines() -> None:
    assert [text for text in DESCRIPTIONS.values() if "\n" in text or len(text) > 110] == []


def test_the_reference_has_them() -> None:
    section = REFERENCE.split("\n## Properties\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `")]
    assert table == [f"| `{name}` | {type_.value} | {meaning(name)} |" for name, type_ in PROPERTIES.items()]
