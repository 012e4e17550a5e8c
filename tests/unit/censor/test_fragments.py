"""censor/fragments.py"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from censor.fragments import FragmentPolicy, Fragments, FragmentSettings, Ruling
from censor.overlaps import Overlap
from censor.packets import fragments_of
from tests.unit.censor.packets.observer import V4, V6, parsed, rebuilt

PASS, DROP, REASSEMBLE, HOLD = FragmentPolicy
IPS = [IP(**V4, id=7), IPv6(**V6), IPv6(**V6) / IPv6ExtHdrDestOpt()]


def datagram(ip: Any, size: int = 3000) -> bytes:
    return bytes(ip / UDP(sport=5000, dport=443) / (bytes(range(250)) * 20)[:size])


def fragments(policy: FragmentPolicy, **settings: Any) -> Fragments:
    return Fragments(FragmentSettings(policy, **settings))


def add(to: Fragments, packet: Any, token: int = 0, t: float = 0.0) -> Ruling:
    return to.add(parsed(packet), token, t)


def tokens(ruling: Ruling) -> list[int]:
    return [released.token for released in ruling.released]


def piece(start: int, payload: bytes, *, more: bool = True, id_: int = 7, **fields: Any) -> Any:
    """An IPv4 fragment."""
    return IP(**V4, id=id_, frag=start // 8, flags="MF" if more else "", proto=17, **fields) / payload


def test_pass_and_drop() -> None:
    packet = piece(8, b"x" * 8)
    ruling = add(fragments(PASS), packet, 5)
    assert [(released.token, released.replacement) for released in ruling.released] == [(5, None)]
    assert (ruling.whole, ruling.dropped) == (None, ())
    assert ruling.released[0].packet.data == bytes(packet)
    assert add(fragments(DROP), packet, 5) == Ruling(dropped=(5,))


@given(st.sampled_from(IPS), st.integers(1500, 4000), st.sampled_from([None, *Overlap]), st.randoms())
def test_reassembly_in_any_order(ip: Any, size: int, overlap: Overlap | None, random: Random) -> None:
    whole = datagram(ip, size)
    pieces = list(enumerate(fragments_of(whole, 600, identification=9)))
    random.shuffle(pieces)
    tested = fragments(REASSEMBLE, overlap=overlap)
    for token, packet in pieces[:-1]:
        assert add(tested, packet, token) == Ruling()
    ruling = add(tested, pieces[-1][1], pieces[-1][0])
    assert ruling.whole == whole
    assert tokens(ruling) == [token for token, _ in pieces]
    assert {released.replacement for released in ruling.released} == {None}
    assert tested.bytes_held == 0


def test_datagrams_are_told_apart() -> None:
    tested = fragments(REASSEMBLE)
    for token, id_ in enumerate((1, 2)):
        add(tested, piece(0, b"%d" % id_ * 8, id_=id_), token)
    ruling = add(tested, piece(8, b"x", more=False, id_=2), 2)
    assert (tokens(ruling), ruling.whole is not None and ruling.whole[20:]) == ([1, 2], b"2" * 8 + b"x")


def test_the_first_ones_ttl_is_for_all() -> None:
    tested = fragments(HOLD)
    later = piece(8, b"x" * 8, ttl=50)
    assert add(tested, later, 1) == add(tested, piece(16, b"y", more=False, ttl=60), 2) == Ruling()
    ruling = add(tested, piece(0, b"z" * 8, ttl=60), 3)
    assert (tokens(ruling), ruling.whole) == ([1, 2, 3], None)
    changed, *same = (released.replacement for released in ruling.released)
    assert changed is not None
    assert same == [None, None]
    found = rebuilt(changed, IP)
    expected = later.copy()
    expected.ttl = 60
    assert bytes(found) == bytes(expected)


def test_the_first_ones_hop_limit_is_for_all() -> None:
    tested = fragments(HOLD)
    first, second, third = (bytes(packet) for packet in fragments_of(datagram(IPS[2]), 1280))
    add(tested, first, 1)
    add(tested, second[:7] + b"\x09" + second[8:], 2)
    ruling = add(tested, third, 3)
    assert [released.replacement for released in ruling.released] == [None, second, None]


def test_one_fragment_too_many_drops_all_and_what_comes_yet() -> None:
    tested = fragments(HOLD)
    for number in range(45):
        assert add(tested, piece(number * 8, b"x" * 8), number) == Ruling()
    assert add(tested, piece(45 * 8, b"x"), 45) == Ruling(dropped=(45,))  # ragged: of no use, and not counted
    assert add(tested, piece(45 * 8, b"x", more=False), 46).dropped == (*range(45), 46)
    assert add(tested, piece(45 * 8, b"x", more=False), 47) == Ruling(dropped=(47,))
    assert tested.bytes_held == 0


def test_as_many_fragments_as_may_be() -> None:
    tested = fragments(HOLD)
    for number in range(44):
        add(tested, piece(number * 8, b"x" * 8), number)
    assert len(add(tested, piece(44 * 8, b"x", more=False), 44).released) == 45


@pytest.mark.parametrize("policy", [REASSEMBLE, HOLD])
def test_an_overlap_drops_all(policy: FragmentPolicy) -> None:
    tested = fragments(policy)
    add(tested, piece(8, b"x" * 16), 1)
    assert add(tested, piece(0, b"y" * 16), 2) == Ruling(dropped=(1, 2))
    assert add(tested, piece(24, b"z", more=False), 3) == Ruling(dropped=(3,))
    assert tested.bytes_held == 0


def test_a_copy_is_no_overlap() -> None:
    tested = fragments(REASSEMBLE)
    add(tested, piece(0, b"x" * 8), 1)
    assert add(tested, piece(0, b"x" * 8, ttl=9), 2) == Ruling(dropped=(2,))
    assert tokens(add(tested, piece(8, b"y", more=False), 3)) == [1, 3]


@pytest.mark.parametrize(("overlap", "expected"), [(Overlap.FIRST, b"yxx"), (Overlap.LAST, b"yyx")])
def test_overlap_policies(overlap: Overlap, expected: bytes) -> None:
    tested = fragments(REASSEMBLE, overlap=overlap)
    add(tested, piece(8, b"x" * 16, more=False), 1)
    ruling = add(tested, piece(0, b"y" * 16), 2)
    assert ruling.whole is not None
    assert ruling.whole[20:] == b"".join(bytes((byte,)) * 8 for byte in expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (piece(8, b"x" * 8, more=False), piece(16, b"x" * 8)),
        (piece(8, b"x" * 8, more=False), piece(8, b"x" * 4, more=False)),
        (piece(8, b"x" * 8, more=False), piece(16, b"x" * 4, more=False)),
        (piece(16, b"x" * 8), piece(8, b"x" * 8, more=False)),
    ],
)
def test_two_ends_drop_all(first: Any, second: Any) -> None:
    tested = fragments(REASSEMBLE, overlap=Overlap.FIRST)
    add(tested, first, 1)
    assert add(tested, second, 2) == Ruling(dropped=(1, 2))


def test_nothing_may_be_longer_than_a_packet_can_be() -> None:
    tested = fragments(REASSEMBLE)
    assert add(tested, piece(65504, b"x" * 20, more=False), 1) == Ruling(dropped=(1,))  # no header fits before it
    # The first fragment's options make it too long.
    assert add(tested, piece(65488, b"x" * 20, more=False, id_=8), 2) == Ruling()
    assert add(tested, piece(0, b"x" * 8, id_=8, options=b"\x01" * 40), 3) == Ruling(dropped=(2, 3))


def test_the_longest_of_all() -> None:
    tested = fragments(REASSEMBLE)
    whole = bytes(IPv6(**V6) / UDP(len=65535) / bytes(65535 - 8))
    pieces = fragments_of(whole, 9000)
    rulings = [add(tested, packet, token) for token, packet in enumerate(pieces)]
    assert rulings[-1].whole == whole
    beyond = IPv6(**V6) / IPv6ExtHdrFragment(id=5, offset=65528 // 8, nh=17) / bytes(8)
    assert add(tested, beyond, 99) == Ruling(dropped=(99,))


@pytest.mark.parametrize("packet", [piece(8, b""), piece(8, b"x" * 9), bytes(piece(8, b"x" * 16))[:-8]])
def test_fragments_of_no_use(packet: Any) -> None:
    tested = fragments(REASSEMBLE)
    assert add(tested, packet, 4) == Ruling(dropped=(4,))
    assert tested.bytes_held == 0


def test_what_is_not_completed_in_time_is_dropped() -> None:
    tested = fragments(REASSEMBLE)
    add(tested, piece(0, b"x" * 8), 1, 10.0)
    add(tested, piece(8, b"x" * 8), 2, 39.9)
    add(tested, piece(0, b"x" * 8, id_=8), 3, 20.0)
    assert tested.expire(39.9) == ()
    assert add(tested, piece(16, b"x", more=False), 4, 40.0) == Ruling(dropped=(1, 2))
    assert tested.expire(50.0) == (3,)
    assert tested.expire(70.0) == (4,)
    assert (tested.expired, tested.bytes_held) == (3, 0)


def test_a_dead_datagram_is_forgotten_in_time() -> None:
    tested = fragments(REASSEMBLE)
    add(tested, piece(8, b"x" * 16), 1)
    add(tested, piece(0, b"y" * 16), 2)
    assert tested.expire(30.0) == ()
    assert tested.expired == 0
    assert add(tested, piece(0, b"x" * 8), 3, 30.0) == Ruling()


@pytest.mark.parametrize("limit", [{"limit_datagrams": 2}, {"limit_bytes": 60}])
def test_the_oldest_goes_for_want_of_room(limit: dict[str, int]) -> None:
    tested = fragments(REASSEMBLE, **limit)
    for id_ in (1, 2):
        assert add(tested, piece(0, b"x" * 8, id_=id_), id_) == Ruling()
    assert add(tested, piece(0, b"x" * 8, id_=3), 3) == Ruling(dropped=(1,))
    assert (tested.evicted, tested.bytes_held) == (1, 56)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 6), st.integers(0, 40), st.booleans(), st.integers(0, 9)),
        max_size=40,
    ),
    st.sampled_from([REASSEMBLE, HOLD]),
    st.sampled_from([None, *Overlap]),
)
def test_every_token_comes_back_once(
    steps: list[tuple[int, int, int, bool, int]], policy: FragmentPolicy, overlap: Overlap | None
) -> None:
    tested = fragments(
        policy, overlap=overlap, limit_fragments=4, limit_datagrams=3, limit_bytes=400, timeout_seconds=20.0
    )
    back: list[int] = []
    t = 0.0
    for token, (id_, start, size, more, seconds) in enumerate(steps):
        t += seconds
        ruling = add(tested, piece(start * 8, b"x" * size, more=more or not start, id_=id_), token, t)
        back += [*tokens(ruling), *ruling.dropped]
        assert tested.bytes_held <= 400
    back += tested.expire(t + 20)
    assert sorted(back) == list(range(len(steps)))
    assert tested.bytes_held == 0
