"""censor/lists/binding.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from censor.lists import binding
from censor.lists.binding import Lists, check_files, load, load_aside
from censor.lists.block_list import BlockList
from censor.lists.formats import read
from censor.rules import List
from sidedoor.settings import SettingsError


def names(lists: Lists, name: str) -> frozenset[str]:
    found: frozenset[str] = lists.holders[name].content.domains.names  # type: ignore[attr-defined]  # of a BlockList
    return found


def test_entries_in_place_and_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("file.example\n192.0.2.0/24\n")
    both = load(List(name="x", file="list.txt", entries=("place.example", "2001:db8::/32")), tmp_path)
    assert both.domains.names == {"file.example", "place.example"}
    assert list(both.networks.networks()) == ["192.0.2.0/24", "2001:db8::/32"]
    assert both.rows == 4
    assert load(List(name="x", file="list.txt"), tmp_path).rows == 2
    assert load(List(name="x", entries=("a.example",)), tmp_path).domains.names == {"a.example"}
    assert load(List(name="x"), tmp_path).rows == 0


def test_urls_are_joined_too(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,category_code\nhttp://a.example/x,NEWS\n")
    found = load(List(name="x", file="list.csv", format="citizenlab", entries=("b.example",)), tmp_path)
    assert "a.example/x" in found.urls
    assert "b.example" in found.domains.names


def test_contents_are_exchanged_by_commit_alone(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage((List(name="x", entries=("a.example",)), List(name="y", entries=("c.example",))), tmp_path)
    assert lists.commit() == frozenset()
    holder = lists.holders["x"]
    lists.stage((List(name="x", entries=("b.example",)), List(name="y", entries=("c.example",))), tmp_path)
    assert names(lists, "x") == {"a.example"}
    assert lists.commit() == {"x"}
    assert names(lists, "x") == {"b.example"}
    assert lists.holders["x"] is holder  # so that conditions that are compiled ask the new content


def test_lists_come_and_go(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage((List(name="x", entries=("a.example",)),), tmp_path)
    lists.commit()
    lists.stage((List(name="y", entries=("a.example",)),), tmp_path)
    assert set(lists.holders) == {"x", "y"}
    lists.commit()
    assert set(lists.holders) == {"y"}


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (List(name="x", file="none.txt"), "none.txt: cannot be read"),
        (List(name="x", entries=("a b",)), "list 'x': line 1"),
    ],
)
def test_after_a_mistake_nothing_has_changed(tmp_path: Path, one: List, says: str) -> None:
    lists = Lists()
    lists.stage((List(name="x", entries=("a.example",)),), tmp_path)
    lists.commit()
    with pytest.raises(SettingsError, match=says):
        lists.stage((one,), tmp_path)
    assert lists.commit() == frozenset()
    assert names(lists, "x") == {"a.example"}


def test_what_is_the_same_is_held_once(tmp_path: Path) -> None:
    lists = Lists()
    lists.stage((List(name="x", entries=("a.example",)),), tmp_path)
    lists.commit()
    held = lists.staged["x"]
    lists.stage((List(name="x", entries=("a.example",)),), tmp_path)
    assert lists.staged["x"] is not held
    assert lists.commit() == frozenset()
    assert lists.staged["x"] is held is lists.holders["x"].content


def test_what_was_read_elsewhere_is_staged(tmp_path: Path) -> None:
    lists, others = Lists(), Lists()
    others.stage((List(name="x", entries=("a.example",)),), tmp_path)
    lists.stage_contents(others.staged)
    lists.commit()
    assert lists.holders["x"].content is others.staged["x"]


async def test_reading_aside_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("file.example\n")
    lists = (
        List(name="x", file="list.txt", entries=("place.example",)),
        List(name="y", file="list.txt"),
        List(name="z"),
    )

    async def read_here(path: Path, format: str) -> BlockList:
        return read(path, format)

    monkeypatch.setattr(binding, "read_aside", read_here)
    for large in (1 << 20, 1):
        monkeypatch.setattr(binding, "_LARGE_BYTES", large)
        aside, here = Lists(), Lists()
        await aside.stage_aside(lists, tmp_path)
        here.stage(lists, tmp_path)
        assert aside.staged == here.staged
    with pytest.raises(SettingsError, match=r"none\.txt: cannot be read"):
        await Lists().stage_aside((List(name="x", file="none.txt"),), tmp_path)


async def test_mistakes_name_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = List(name="blocked", file="missing.txt")
    for check in (lambda: check_files((List(name="x"), missing), tmp_path), lambda: load(missing, tmp_path)):
        with pytest.raises(SettingsError, match=r"^list 'blocked': .*missing\.txt: cannot be read: "):
            check()
    (tmp_path / "bad.csv").write_text("no,column\n1,2\n")
    bad = List(name="pages", file="bad.csv", format="citizenlab")
    check_files((bad,), tmp_path)
    monkeypatch.setattr(binding, "_LARGE_BYTES", 0)
    with pytest.raises(SettingsError, match=r"^list 'pages': .*bad\.csv"):
        await load_aside(bad, tmp_path)
