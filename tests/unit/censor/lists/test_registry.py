"""censor/lists/registry.py"""

from __future__ import annotations

import pytest

from censor.lists.block_list import BlockList
from censor.lists.domains import DomainSet
from censor.lists.prefixes import PrefixSet
from censor.lists.registry import parse_registry
from sidedoor.settings import SettingsError

UPDATED = "Updated: 2018-04-17 12:00:00 +0300"


def dump(*rows: str) -> BlockList:
    """A dump of rows of three fields; the other three are added."""
    lines = [UPDATED, *(f"{row};Роскомнадзор;27-31-2018/Ид971-18;2018-04-16" for row in rows), ""]
    return parse_registry("\r\n".join(lines).encode("windows-1251"), "dump.csv")


@pytest.mark.parametrize(
    ("row", "domains", "networks", "urls"),
    [
        # No domain: an address ban.
        ("192.0.2.1;;", [], ["192.0.2.1"], []),
        ("192.0.2.0/24 | 2001:db8::/32|198.51.100.7;;", [], ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"], []),
        ("192.0.2.1;;http://192.0.2.1/a", [], ["192.0.2.1"], ["192.0.2.1/a"]),
        # A domain: the addresses say where it was.
        ("192.0.2.1;Messenger.Example;", ["messenger.example"], [], []),
        (";*.messenger.example| пример.рф;", ["messenger.example", "xn--e1afmkfd.xn--p1ai"], [], []),
        ("192.0.2.1;a.example;  ", ["a.example"], [], []),
        # Pages of a domain.
        ("192.0.2.1;a.example;http://a.example/x|y?z | http://A.example/", [], [], ["a.example/x|y?z", "a.example/"]),
        (";;http://a.example/x", [], [], ["a.example/x"]),
        # What cannot be seen on the wire.
        ("192.0.2.1;a.example;https://a.example/x", ["a.example"], ["192.0.2.1"], []),
        ("192.0.2.1;a.example;http://a.example/x | https://a.example/x", ["a.example"], ["192.0.2.1"], ["a.example/x"]),
        (";a.example;https://a.example/x", ["a.example"], [], []),
    ],
)
def test_what_a_row_bans(row: str, domains: list[str], networks: list[str], urls: list[str]) -> None:
    found = dump(row)
    assert found.domains == DomainSet(domains)
    assert found.networks == PrefixSet(networks)
    assert found.urls == frozenset(urls)
    assert (found.rows, found.skipped, found.updated) == (1, 0, "2018-04-17 12:00:00 +0300")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (";;", "neither an address nor a domain nor an http URL"),
        (" ; |;", "neither an address nor a domain nor an http URL"),
        (";;https://a.example/", "neither an address nor a domain nor an http URL"),
        ("192.0.2.1;a b.example;", "'a b.example' is not a domain name"),
        ("192.0.2.1;a b.example;http://a.example/", "'a b.example' is not a domain name"),
        ("192.0.2.300;;", "does not appear"),
        ("192.0.2.1|192.0.2.5/24;;", "host bits set"),
        ("192.0.2.300;a.example;https://a.example/", "does not appear"),
        ("192.0.2.1;a.example;a.example/x", "not an absolute URL"),
        ("192.0.2.1;a.example;http://a.example/x;y", "7 fields"),
        ("192.0.2.1;a.example", "5 fields"),
    ],
)
def test_a_malformed_row_bans_nothing(row: str, reason: str) -> None:
    found = dump("192.0.2.9;;", row)
    assert (len(found.domains), found.networks, found.urls) == (0, PrefixSet(["192.0.2.9"]), frozenset())
    assert (found.rows, found.skipped) == (2, 1)
    assert found.problems[0].line == 3
    assert reason in found.problems[0].reason


def test_a_byte_that_the_encoding_does_not_have() -> None:
    row = b"192.0.2.1;\x98.example;;a;b;c\n"
    found = parse_registry(UPDATED.encode() + b"\n192.0.2.9;;;\x98;b;c\n" + row, "dump.csv")
    assert (found.rows, found.skipped) == (2, 1)
    assert found.networks == PrefixSet(["192.0.2.9"])


def test_a_dump_without_rows() -> None:
    found = parse_registry(f"{UPDATED}\n\n \n".encode(), "dump.csv")
    assert (found.rows, len(found.domains), len(found.networks)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "dump.csv: line 1: found ''; expected `Updated: `"),
        ("ip;домен;url\n".encode("windows-1251"), "dump.csv: line 1: found 'ip;домен;url'; expected `Updated: `"),
        (b"Updated: x\na,b,c,d,e,f\n", "dump.csv: line 2: 1 fields between `;`; expected six fields"),
    ],
)
def test_what_is_no_dump(data: bytes, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_registry(data, "dump.csv")
    assert str(caught.value).startswith(message)
