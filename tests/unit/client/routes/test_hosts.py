from __future__ import annotations

from pathlib import Path

import pytest

from client.routes.hosts import is_localhost, parse_hosts, read_hosts

TABLE = """\
# a comment
127.0.0.1\tlocalhost localhost.localdomain
::1 localhost

192.0.2.7  Messenger.Example. other.example # the same machine
2001:db8::7 messenger.example
192.0.2.7 messenger.example
fe80::1%eth0 scoped.example
not-an-address nobody.example
"""


@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "a.b.localhost"])
def test_names_of_this_host(name: str) -> None:
    assert is_localhost(name)


@pytest.mark.parametrize("name", ["localhost.example", "notlocalhost", "", "."])
def test_names_of_others(name: str) -> None:
    assert not is_localhost(name)


def test_a_table() -> None:
    assert parse_hosts(TABLE) == {
        "localhost": ["127.0.0.1", "::1"],
        "localhost.localdomain": ["127.0.0.1"],
        "messenger.example": ["192.0.2.7", "2001:db8::7"],
        "other.example": ["192.0.2.7"],
        "scoped.example": ["fe80::1%eth0"],
    }


def test_a_table_from_a_file_or_from_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    assert read_hosts(str(path)) == read_hosts(None) == {}
    path.write_text(TABLE)
    assert read_hosts(str(path)) == parse_hosts(TABLE)
