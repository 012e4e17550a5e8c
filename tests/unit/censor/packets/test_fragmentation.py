"""censor/packets/fragmentation.py: scapy puts the fragments together again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption_NOP, IPOption_Router_Alert, defragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    defragment6,
)
from scapy.utils import checksum

from censor.packets.checksums import with_ip_header
from censor.packets.fragmentation import fragments_of, piece_of
from tests.unit.censor.packets.observer import V4, V6, parsed


def datagram(ip: Any, size: int) -> bytes:
    return bytes(ip / UDP(sport=5000, dport=443) / (bytes(range(250)) * 20)[:size])


@given(st.integers(0, 3000), st.integers(28, 1500))
def test_ipv4(size: int, mtu: int) -> None:
    data = datagram(IP(**V4, id=7), size)
    fragments = fragments_of(data, mtu)
    assert all(len(fragment) <= mtu for fragment in fragments)
    if len(fragments) == 1:
        assert fragments == (data,)
        return
    assert all(checksum(fragment[:20]) == 0 for fragment in fragments)
    assert [bytes(packet) for packet in defragment([IP(fragment) for fragment in fragments])] == [data]


@pytest.mark.parametrize(
    "ip",
    [IPv6(**V6), IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["2001:db8::1"])],
)
def test_ipv6(ip: Any) -> None:
    data = datagram(ip / IPv6ExtHdrDestOpt(), 2000)
    fragments = fragments_of(data, 1280, identification=99)
    assert [len(fragment) <= 1280 for fragment in fragments] == [True, True]
    read = [IPv6(fragment) for fragment in fragments]
    assert {fragment[IPv6ExtHdrFragment].id for fragment in read} == {99}
    assert bytes(defragment6(read)) == data


@pytest.mark.parametrize(
    "ip",
    [
        IP(**V4, id=7, tos=4),
        IPv6(**V6, fl=9),
        IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["2001:db8::1"]) / IPv6ExtHdrDestOpt(),
    ],
)
def test_pieces_make_the_whole_again(ip: Any) -> None:
    data = datagram(ip, 2000)
    fragments = [parsed(fragment) for fragment in fragments_of(data, 1280)]
    pieces = [piece_of(fragment) for fragment in fragments]
    assert with_ip_header(pieces[0][0], b"".join(piece for _, piece in pieces)) == data
    assert [fragment.fragment_offset for fragment in fragments] == [0, len(pieces[0][1])]


def test_identification_of_ipv4_is_its_own_if_it_has_one() -> None:
    assert [IP(data).id for data in fragments_of(datagram(IP(**V4, id=0), 50), 60, identification=9)] == [9, 9]
    assert [IP(data).id for data in fragments_of(datagram(IP(**V4, id=7), 50), 60, identification=9)] == [7, 7]


def test_options_go_where_they_have_to() -> None:
    options = [IPOption_NOP(), IPOption_Router_Alert(), IPOption_NOP()]
    fragments = fragments_of(datagram(IP(**V4, options=options), 50), 80)
    first, later = (IP(data) for data in fragments)
    assert (first.ihl, later.ihl) == (7, 6)
    assert [type(option) for option in later.options] == [IPOption_Router_Alert]
    assert checksum(fragments[1][:24]) == 0


def test_a_malformed_option_ends_the_options() -> None:
    data = datagram(IP(**V4, options=b"\x07\x00\x01\x94"), 50)
    assert [IP(fragment).ihl for fragment in fragments_of(data, 80)] == [6, 6]


def test_no_room() -> None:
    with pytest.raises(ValueError, match="no room for 8 bytes"):
        fragments_of(datagram(IP(**V4), 100), 27)
