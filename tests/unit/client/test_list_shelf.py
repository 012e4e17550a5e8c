from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.list_shelf import ListShelf
from client.proxy_list import ListSource, part_for, sign
from client.settings import Socks5Route
from sidedoor.settings import SettingsError

ADDRESS = "203.0.113.9"


class File:
    """The origin's file, and what was reported of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def write(self, *documents: bytes) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(b"\n".join(documents) + b"\n")
        os.replace(new, self.path)

    def shelf(self) -> ListShelf:
        return ListShelf(str(self.path), self.emit)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "proxies.signed")


def documents(version: int, parts: int = 1) -> list[bytes]:
    routes = (Socks5Route(name="proxy1", host="198.51.100.1"),)
    source = ListSource(version=version, expires=datetime(2027, 1, 1, tzinfo=UTC), routes=routes, parts=parts)
    return sign(source, SigningKey(bytes(32)))


def test_who_knows_an_older_list_or_none_gets_it(file: File) -> None:
    file.write(*documents(3))
    shelf = file.shelf()
    assert shelf.document(0, ADDRESS) == shelf.document(2, ADDRESS) == documents(3)[0]
    assert shelf.document(3, ADDRESS) == shelf.document(4, ADDRESS) == b""


def test_each_network_gets_its_part(file: File) -> None:
    file.write(*documents(3, 4))
    shelf = file.shelf()
    for address in ("203.0.113.9", "198.18.0.1", "2001:db8::1"):
        assert shelf.document(0, address) == documents(3, 4)[part_for(address, 4)]


def test_the_file_is_read_again_when_it_changes(file: File) -> None:
    file.write(*documents(3))
    shelf = file.shelf()
    file.write(*documents(4, 2))
    assert shelf.document(3, ADDRESS) == documents(4, 2)[part_for(ADDRESS, 2)]
    loaded = [fields for event, fields in file.events if event == "proxy_list_loaded"]
    assert loaded == [{"version": 3, "parts": 1}, {"version": 4, "parts": 2}]


@pytest.mark.parametrize(
    "content",
    [[b"nonsense"], [], documents(4, 2)[:1], [documents(4, 2)[0]] * 2, [documents(4, 2)[0], documents(5, 2)[1]]],
    ids=["no list", "empty", "part missing", "part twice", "two versions"],
)
def test_a_file_that_is_no_list_is_reported_once_and_the_last_good_one_stays(file: File, content: list[bytes]) -> None:
    file.write(*documents(3))
    shelf = file.shelf()
    file.write(*content)
    for _ in range(2):
        assert shelf.document(0, ADDRESS) == documents(3)[0]
    assert [event for event, _ in file.events] == ["proxy_list_loaded", "proxy_list_unusable"]
    file.write(*content)
    with pytest.raises(SettingsError, match=r"proxy_list .*; `sidedoor client proxies sign` makes it"):
        file.shelf()


def test_a_file_that_goes_is_reported_once(file: File) -> None:
    file.write(*documents(3))
    shelf = file.shelf()
    file.path.unlink()
    for _ in range(2):
        assert shelf.document(0, ADDRESS) == documents(3)[0]
    assert [event for event, _ in file.events] == ["proxy_list_loaded", "proxy_list_unusable"]
    with pytest.raises(SettingsError, match="No such file"):
        file.shelf()
