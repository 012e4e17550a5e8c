"""censor/lists/binding.py: lists are read first and exchanged later, and whoever wants to know is told which."""

from __future__ import annotations

from pathlib import Path

import pytest

from censor.lists.binding import Lists
from censor.rules import List
from sidedoor.settings import SettingsError


def listed(*names: str) -> tuple[List, ...]:
    return tuple(List(name=name, entries=(f"{name}.example",)) for name in names)


def test_nothing_changes_before_the_commit(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage(listed("one", "two"), tmp_path)
    assert lists.commit() == frozenset()  # new ones: nobody has had others of these names
    holder = lists.holders["one"]
    lists.stage((List(name="one", entries=("new.example",)), List(name="three")), tmp_path)
    assert holder.content.domains.under("www.one.example") == "one.example"
    assert lists.commit() == {"one"}
    assert lists.holders["one"] is holder
    assert holder.content.domains.under("new.example") == "new.example"
    assert set(lists.holders) == {"one", "three"}


def test_what_is_the_same_is_held_once(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage(listed("one"), tmp_path)
    lists.commit()
    held = lists.staged["one"]
    lists.stage(listed("one"), tmp_path)
    assert lists.staged["one"] is not held
    assert lists.commit() == frozenset()
    assert lists.staged["one"] is held is lists.holders["one"].content


def test_what_was_read_elsewhere_is_staged(tmp_path: Path) -> None:
    lists, others = Lists(), Lists()
    others.stage(listed("one"), tmp_path)
    lists.stage_contents(others.staged)
    lists.commit()
    assert lists.holders["one"].content is others.staged["one"]


def test_entries_are_joined_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("file.example\n192.0.2.0/24\n")
    lists = Lists()
    lists.stage((List(name="one", file="file", entries=("entry.example", "2001:db8::/32")),), tmp_path)
    content = lists.staged["one"]
    assert content.domains.names == {"file.example", "entry.example"}
    assert content.networks.covers("192.0.2.0/24")
    assert content.networks.covers("2001:db8::/32")
    assert content.rows == 4


def test_a_list_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage(listed("one"), tmp_path)
    before = lists.staged
    with pytest.raises(SettingsError):
        lists.stage((List(name="one", file="missing"),), tmp_path)
    assert lists.staged is before
