"""censor/lists/formats.py"""

from __future__ import annotations

import csv
import io
import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.lists.block_list import BlockList, Problem
from censor.lists.domains import DomainSet
from censor.lists.formats import FORMATS, HEAD_BYTES, parse, read
from censor.lists.prefixes import PrefixSet
from sidedoor.settings import SettingsError

PLAIN = """\
# a comment

Messenger.Example   # with one behind it
*.пример.рф
192.0.2.1
192.0.2.8/30
192.0.2.16 - 192.0.2.18
2001:db8::/64
2001:db8:1::1-2001:db8:1::3
"""
HOSTS = """\
127.0.0.1 localhost localhost.localdomain
255.255.255.255 broadcasthost
fe80::1%lo0 localhost
192.0.2.1 printer.example
0.0.0.0 0.0.0.0
0.0.0.0 ads.example www.Ads.example # two
127.0.0.1\ttracker.example
:: six.example
::1 one.example
"""
CITIZENLAB = """\
url,category_code,category_description,date_added,source,notes
https://www.messenger.example/,COMT,Communication Tools,2017-04-12,citizenlab,
http://news.example/a?b=1,NEWS,"News, Media",2017-04-12,me,"two
lines"

http://192.0.2.1/,NEWS,,,,
"""
REGISTRY = """\
Updated: 2018-04-17 12:00:00 +0300
192.0.2.0/24;;;Генпрокуратура;27-31-2018/Ид971-18;2018-04-16
192.0.3.1;сайт.рф;;суд;1;2018-04-16
"""

names = st.lists(
    st.lists(st.text("abcxyz019-", min_size=1, max_size=6), min_size=1, max_size=3).map(
        lambda s: ".".join([*s, "example"])
    )
)
networks = st.lists(
    st.one_of(
        st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 32)).map(
            lambda pair: str(ipaddress.IPv4Network(pair, strict=False))
        ),
        st.tuples(st.integers(0, (1 << 128) - 1), st.integers(0, 128)).map(
            lambda pair: str(ipaddress.IPv6Network(pair, strict=False))
        ),
    )
)
paths = st.text("abc/?=&%|,\"'", max_size=8).map(lambda text: f"/{text}")


pieces = [
    b"Updated: ",
    b"url\n",
    b"0.0.0.0 ",
    b"192.0.2.1",
    b";;",
    b";a;b;c\n",
    b"|",
    b"http://",
    b"a.example",
    b"\xe0",
    b'"',
    b"\n",
]
fragments = st.lists(st.sampled_from(pieces) | st.binary(max_size=3)).map(b"".join)


def message(data: bytes | str, format: str = "auto") -> str:
    with pytest.raises(SettingsError) as caught:
        parse(data, format, origin="list.txt")
    return str(caught.value)


def test_plain() -> None:
    found = parse(PLAIN, "plain")
    assert found.domains == DomainSet(["messenger.example", "пример.рф"])
    assert found.networks == PrefixSet(
        ["192.0.2.1", "192.0.2.8/30", "192.0.2.16/31", "192.0.2.18", "2001:db8::/64", "2001:db8:1::1-2001:db8:1::3"]
    )
    assert (found.rows, found.skipped, found.updated) == (7, 0, None)


def test_plain_with_malformed_rows() -> None:
    found = parse("a.example\n192.0.2.1/24\n\nb.example\na b\nc.example\r\n", "plain")
    assert found.domains == DomainSet(["a.example", "b.example", "c.example"])
    assert found.problems == (
        Problem(2, "not a domain name, and 192.0.2.1/24 has host bits set"),
        Problem(5, "not a domain name, and 'a b' does not appear to be an IPv4 or IPv6 network"),
    )
    assert (found.rows, found.skipped, len(found.networks)) == (5, 2, 0)


def test_cidr_has_no_names() -> None:
    found = parse("192.0.2.0/25\n192.0.2.128/25 # the rest\nmessenger.example\n", "cidr")
    assert found.networks == PrefixSet(["192.0.2.0/24"])
    assert (len(found.domains), found.rows, found.skipped) == (0, 3, 1)


def test_hosts() -> None:
    found = parse(HOSTS, "hosts")
    blocked = ["ads.example", "www.ads.example", "tracker.example", "six.example", "one.example"]
    assert found == BlockList(DomainSet(blocked), PrefixSet(), rows=9)


@pytest.mark.parametrize("row", ["0.0.0.0", "0.0.0.0 a_b.example c:d", "ads.example 0.0.0.0", "192.0.2.1 192.0.2.2"])
def test_hosts_with_a_malformed_row(row: str) -> None:
    found = parse(f"0.0.0.0 ads.example\n{row}\n", "hosts")
    assert found.domains == DomainSet(["ads.example"])
    assert [problem.line for problem in found.problems] == [2]


def test_citizenlab() -> None:
    found = parse(CITIZENLAB, "citizenlab")
    assert found.domains == DomainSet(["www.messenger.example", "news.example"])
    assert found.networks == PrefixSet(["192.0.2.1"])
    assert found.urls == {"news.example/a?b=1", "192.0.2.1/"}
    assert found.covers_url("news.example", "/a?b=1")
    assert (found.rows, found.skipped) == (3, 0)


def test_citizenlab_finds_its_column_and_counts_malformed_rows() -> None:
    found = parse("notes, URL\nx,https://a.example/\nx\nx,a.example\nx,http://b.example\n", "citizenlab")
    assert found.domains == DomainSet(["a.example", "b.example"])
    assert found.urls == {"b.example/"}
    assert found.problems == (
        Problem(3, "no column `url` among 1"),
        Problem(4, "'a.example' is not an absolute URL"),
    )


def test_registry() -> None:
    for data in (REGISTRY, REGISTRY.encode("windows-1251")):
        found = parse(data, "registry")
        assert found.domains == DomainSet(["сайт.рф"])
        assert found.networks == PrefixSet(["192.0.2.0/24"])
        assert found.updated == "2018-04-17 12:00:00 +0300"
        assert parse(data) == found


@pytest.mark.parametrize(
    ("data", "format"), [(PLAIN, "plain"), (HOSTS, "hosts"), (CITIZENLAB, "citizenlab"), ("192.0.2.0/24", "cidr")]
)
def test_auto_finds_the_format(data: str, format: str) -> None:
    expected = parse(data, format)
    assert parse(data) == expected
    assert parse(b"\xef\xbb\xbf" + data.encode()) == expected


@pytest.mark.parametrize("data", [PLAIN, HOSTS])
def test_auto_looks_behind_a_long_licence(data: str) -> None:
    assert parse("# a licence of many lines\n\r\n" * HEAD_BYTES + data) == parse(data)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing", b"\xef\xbb\xbf# nothing\n\n#"])
def test_a_list_of_nothing_blocks_nothing(data: bytes) -> None:
    assert parse(data) == BlockList(DomainSet(), PrefixSet())


def test_auto_looks_at_the_beginning_only() -> None:
    rows = HEAD_BYTES // 10
    found = parse("".join(f"site{number}.example\n" for number in range(rows)) + "192.0.2.1 a.example\n" * (rows - 1))
    assert (found.rows, found.skipped) == (2 * rows - 1, rows - 1)
    assert found.problems[0].line == rows + 1


def test_auto_reads_a_line_that_is_longer_than_the_beginning() -> None:
    assert "hosts: line 1: '<<<<" in message("<" * (HEAD_BYTES + 1))


def test_what_is_in_no_format() -> None:
    found = message("\n<html>\n<p>Not found</p>\n")
    assert found.startswith("list.txt: is in none of the formats that were tried: registry: line 1: found ''")
    assert "citizenlab: line 2: found '<html>'; expected a CSV header with the column `url`" in found
    assert "hosts: line 2: '<html>' has no name behind the address; expected an address and names a line" in found
    assert (
        "plain: line 2: not a domain name, and '<html>' does not appear to be an IPv4 or IPv6 network; expected a"
        in found
    )


@pytest.mark.parametrize(
    ("data", "format", "expected"),
    [
        ("a b\n", "plain", "list.txt: line 1: not a domain name, and 'a b' does not appear to be"),
        ("a.example\n", "cidr", "list.txt: line 1: 'a.example' does not appear to be"),
        ("a.example\n", "hosts", "list.txt: line 1: 'a.example' has no name"),
        ("a.example\n", "registry", "list.txt: line 1: found 'a.example'; expected `Updated: `"),
        ("", "citizenlab", "list.txt: line 1: found ''; expected a CSV header with the column `url`"),
        ("\n\nuri,x\n", "citizenlab", "list.txt: line 3: found 'uri,x'; expected a CSV header"),
        ("url\na\n", "citizenlab", "list.txt: line 2: 'a' is not an absolute URL; expected CSV"),
        ('url\n"' + "a" * (1 << 18), "citizenlab", "list.txt: line 2: field larger than field limit"),
        ('"' + "a" * (1 << 18), "citizenlab", "list.txt: line 1: field larger than field limit"),
        ("", "dnsmasq", "list.txt: 'dnsmasq' is no format of lists; expected auto, plain, cidr, hosts, registry, citi"),
    ],
)
def test_a_list_in_another_format(data: str, format: str, expected: str) -> None:
    assert message(data, format).startswith(expected)


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(PLAIN.encode())
    assert read(path) == read(str(path), "plain") == parse(PLAIN)
    path.write_text("<html>")
    with pytest.raises(SettingsError, match=r"list\.txt: line 1: not a domain name, and '<html>'"):
        read(path, "plain")
    with pytest.raises(SettingsError, match=r"missing\.txt: cannot be read: No such file"):
        read(tmp_path / "missing.txt")


@given(names, networks)
def test_round_trip_plain_and_cidr(listed: list[str], blocks: list[str]) -> None:
    rows = "\n".join([*listed, *blocks])
    assert parse(rows, "plain") == BlockList(DomainSet(listed), PrefixSet(blocks), rows=len(listed) + len(blocks))
    assert parse("\n".join(blocks), "cidr") == BlockList(DomainSet(), PrefixSet(blocks), rows=len(blocks))
    ranges = [f"{first}-{last}" for first, last in map(ends, blocks)]
    assert parse("\n".join(ranges), "cidr").networks == PrefixSet(blocks)


def ends(block: str) -> tuple[str, str]:
    network = ipaddress.ip_network(block)
    return str(network[0]), str(network[-1])


@given(names)
def test_round_trip_hosts(listed: list[str]) -> None:
    found = parse("".join(f"0.0.0.0 {name}\n" for name in listed), "hosts")
    assert found == BlockList(DomainSet(listed), PrefixSet(), rows=len(listed))


@given(names, paths)
def test_round_trip_citizenlab(listed: list[str], path: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["url", "notes"], *([f"http://{name}{path}", ""] for name in listed)])
    found = parse(text.getvalue(), "citizenlab")
    assert found.domains == DomainSet(listed)
    assert found.urls == {f"{name}{path}" for name in found.domains.names}
    assert (found.rows, found.skipped) == (len(listed), 0)


@given(names, networks, paths)
def test_round_trip_registry(listed: list[str], blocks: list[str], path: str) -> None:
    rows = [f"192.0.2.1;{name};;a;n;d" for name in listed]
    rows += [f"{block};;;a;n;d" for block in blocks]
    rows += [f"192.0.2.1;{name};http://{name}{path};a;n;d" for name in listed]
    found = parse("\n".join(["Updated: now", *rows]), "registry")
    urls = frozenset(f"{name}{path}" for name in found.domains.names)
    assert found == BlockList(DomainSet(listed), PrefixSet(blocks), urls, rows=len(rows), updated="now")


@pytest.mark.parametrize("format", ["auto", *FORMATS])
@given(data=st.binary() | fragments | st.text())
def test_any_content_is_a_list_or_a_settings_error(format: str, data: bytes | str) -> None:
    try:
        found = parse(data, format)
    except SettingsError:
        return
    assert 0 <= found.skipped <= found.rows
    assert len(found.problems) == min(found.skipped, 10)
