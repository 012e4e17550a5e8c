"""censor/lists/prefixes.py"""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.lists.prefixes import Interval, PrefixSet, Version, interval

V4 = int(ipaddress.IPv4Address("203.0.113.0"))
V6 = int(ipaddress.IPv6Address("2001:db8::"))
TOP_V4, TOP_V6 = (1 << 32) - 1, (1 << 128) - 1


def blocks(bits: int) -> st.SearchStrategy[tuple[int, int]]:
    """(first address, prefix length): close together in a small part of the space, or anywhere."""
    near = st.tuples(st.integers(0, 255), st.integers(bits - 8, bits))
    anywhere = st.tuples(st.integers(0, (1 << bits) - 1), st.integers(0, bits))
    return st.one_of(near, anywhere).map(lambda pair: (pair[0] >> bits - pair[1] << bits - pair[1], pair[1]))


networks_v4 = st.lists(blocks(32).map(ipaddress.IPv4Network))
networks_v6 = st.lists(blocks(128).map(ipaddress.IPv6Network))
intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.5", (4, V4 + 5, V4 + 5)),
        ("203.0.113.5/32", (4, V4 + 5, V4 + 5)),
        ("203.0.113.0/24", (4, V4, V4 + 255)),
        ("203.0.113.0/255.255.255.0", (4, V4, V4 + 255)),
        ("0.0.0.0/0", (4, 0, TOP_V4)),
        ("203.0.113.5-203.0.113.7", (4, V4 + 5, V4 + 7)),
        ("203.0.113.5 - 203.0.113.5", (4, V4 + 5, V4 + 5)),
        ("2001:db8::5", (6, V6 + 5, V6 + 5)),
        ("2001:DB8:0:0:0:0:0:5", (6, V6 + 5, V6 + 5)),
        ("2001:db8::/64", (6, V6, V6 + (1 << 64) - 1)),
        ("2001:db8::192.0.2.1", (6, V6 + 0xC0000201, V6 + 0xC0000201)),
        ("::", (6, 0, 0)),
        ("::1", (6, 1, 1)),
        ("::/0", (6, 0, TOP_V6)),
        ("2001:db8::5-2001:db8::7", (6, V6 + 5, V6 + 7)),
    ],
)
def test_interval(text: str, expected: tuple[Version, int, int]) -> None:
    assert interval(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not appear"),
        ("messenger.example", "does not appear"),
        ("203.0.113.5/24", "host bits set"),
        ("203.0.113.5/", "does not appear"),
        ("203.0.113.5/33", "does not appear"),
        ("203.0.113.256", "does not appear"),
        ("203.0.113.05", "does not appear"),
        (" 203.0.113.5", "does not appear"),
        ("203.0.113", "does not appear"),
        ("٢٠٣.0.113.5", "does not appear"),
        ("2001:db8::5/64", "host bits set"),
        ("2001:db8::/129", "does not appear"),
        ("2001:db8::/", "does not appear"),
        ("2001:db8:::", "does not appear"),
        ("1::2::3", "does not appear"),
        ("1:2:3:4:5:6:7:8::", "does not appear"),
        ("1:2:3:4:5:6:7", "does not appear"),
        ("1:2:3:4:5:6:7:12345", "does not appear"),
        ("1:2:3:4:5:6:7:0x1", "does not appear"),
        ("fe80::1%eth0", "zone"),
        ("203.0.113.7-203.0.113.5", "first to last"),
        ("203.0.113.5-2001:db8::5", "first to last"),
        ("203.0.113.0/24-203.0.113.255", "first to last"),
        ("203.0.113.5-", "does not appear"),
        ("203.0.113.5-203.0.113.6-203.0.113.7", "is not a range"),
        ("203.0.113.5-" * 5_000, "is not a range"),
    ],
)
def test_what_is_no_interval(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        interval(text)
    with pytest.raises(ValueError, match=reason):
        PrefixSet(["203.0.113.1", text])


@given(st.text("0123456789abcdef:./- ", max_size=24) | st.text())
def test_an_interval_is_what_ipaddress_says(text: str) -> None:
    try:
        expected = ipaddress.ip_network(text)
    except ValueError:
        return
    assert interval(text)[1:] == (int(expected.network_address), int(expected.broadcast_address))


@given(networks_v4, networks_v6)
def test_aggregation_is_what_ipaddress_says(v4: list[ipaddress.IPv4Network], v6: list[ipaddress.IPv6Network]) -> None:
    prefixes = PrefixSet(map(str, [*v6, *v4]))
    collapsed = [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]
    assert list(prefixes.networks()) == [str(network) for network in collapsed]
    assert prefixes.count(4) == sum(n.num_addresses for n in ipaddress.collapse_addresses(v4))
    assert prefixes.count(6) == sum(n.num_addresses for n in ipaddress.collapse_addresses(v6))
    assert PrefixSet(prefixes.networks()) == prefixes


@given(intervals, st.integers(0, 80))
def test_a_look_up_finds_what_an_interval_has(given_: list[Interval], address: int) -> None:
    listed = any(first <= address <= last for first, last in given_)
    assert (address.to_bytes(4, "big") in PrefixSet.from_intervals(v4=given_)) is listed
    assert (address.to_bytes(16, "big") in PrefixSet.from_intervals(v6=given_)) is listed
    assert address.to_bytes(16, "big") not in PrefixSet.from_intervals(v4=given_)
    assert address.to_bytes(4, "big") not in PrefixSet.from_intervals(v6=given_)


@given(intervals)
def test_intervals_are_sorted_and_never_touch(given_: list[Interval]) -> None:
    found = PrefixSet.from_intervals(v4=given_).intervals(4)
    assert all(first <= last for first, last in found)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))
    assert len(PrefixSet.from_intervals(v4=given_, v6=given_)) == 2 * len(found)


@given(intervals, intervals)
def test_diff_leads_from_old_to_new_and_leaves_the_rest(old: list[Interval], new: list[Interval]) -> None:
    for version in (4, 6):
        old_set, new_set = (PrefixSet.from_intervals(**{f"v{version}": one}) for one in (old, new))
        added, removed = new_set.diff(old_set, version)
        elements = old_set.intervals(version)
        for element in removed:
            elements.remove(element)
        assert not set(elements) & set(added)
        assert sorted([*elements, *added]) == new_set.intervals(version)
        assert not set(removed) & set(added)


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("203.0.113.0/25", True),
        ("203.0.113.0/24", True),
        ("203.0.113.255", True),
        ("203.0.113.250-203.0.114.0", False),
        ("203.0.112.255", False),
        ("203.0.114.0", False),
        ("0.0.0.0/0", False),
        ("255.255.255.255", True),
        ("2001:db8::ffff", True),
        ("2001:db8::/32", False),
        (f"{ipaddress.IPv6Address(TOP_V6)}", True),
    ],
)
def test_covers(text: str, covered: bool) -> None:
    last_v6 = str(ipaddress.IPv6Address(TOP_V6))
    halves = ["203.0.113.0/25", "203.0.113.128/25", "255.255.255.255", "2001:db8::/64", last_v6]
    assert PrefixSet(halves).covers(text) is covered


def test_the_ends_of_the_space() -> None:
    everything = PrefixSet(["0.0.0.0/0", "::/0"])
    assert everything.intervals(4) == [(0, TOP_V4)]
    assert everything.intervals(6) == [(0, TOP_V6)]
    assert list(everything.networks()) == ["0.0.0.0/0", "::/0"]
    assert b"\xff" * 4 in everything
    assert b"\xff" * 16 in everything


def test_equality() -> None:
    one, same = PrefixSet(["203.0.113.0/31", "203.0.113.2/31"]), PrefixSet(["203.0.113.0/30"])
    assert one == same
    assert hash(one) == hash(same)
    assert one != PrefixSet()
    assert one != PrefixSet(["203.0.113.0/30", "::1"])
    assert one != "203.0.113.0/30"
    assert repr(one) == "<PrefixSet of 1>"
