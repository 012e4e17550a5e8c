"""Fragments of datagrams: RFC 1928 section 7. The clock is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.reassembly import Reassembly
from proxy.wire import LAST_FRAGMENT, Address, Datagram

TARGET = Address.of("192.0.2.1", 53)
OTHER = Address.of("192.0.2.2", 53)


def add(reassembly: Reassembly, *fragments: int, target: Address = TARGET, now: float = 0.0) -> list[bytes]:
    """The data of what became whole. A fragment's data is its number."""
    whole = [reassembly.add(Datagram(fragment, target, bytes((fragment,))), now) for fragment in fragments]
    assert all(one is None or (one.fragment, one.target) == (0, target) for one in whole)
    return [one.data for one in whole if one is not None]


def test_a_datagram_that_stands_alone_goes_through() -> None:
    datagram = Datagram(0, TARGET, b"data")
    assert Reassembly().add(datagram, 0.0) is datagram


def test_fragments_become_one_with_the_last() -> None:
    reassembly = Reassembly()
    assert add(reassembly, 1, 2) == []
    assert add(reassembly, 0x83) == [b"\x01\x02\x83"]
    assert add(reassembly, 0x84) == []


def test_a_sequence_of_one() -> None:
    assert add(Reassembly(), 0x81) == [b"\x81"]


def test_the_longest_sequence() -> None:
    assert add(Reassembly(), *range(1, 127), 0xFF) == [bytes([*range(1, 127), 0xFF])]


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=127))
def test_any_data_comes_out_as_it_went_in(parts: list[bytes]) -> None:
    reassembly = Reassembly()
    for position, part in enumerate(parts[:-1], start=1):
        assert reassembly.add(Datagram(position, TARGET, part), 0.0) is None
    whole = reassembly.add(Datagram(len(parts) | LAST_FRAGMENT, TARGET, parts[-1]), 0.0)
    assert whole == Datagram(0, TARGET, b"".join(parts))


@pytest.mark.parametrize(
    "fragments",
    [
        (1, 3, 0x84),  # a gap
        (2, 0x83),  # no first one
        (1, 2, 2, 0x83),  # one twice: there is no telling whether of the same sequence
        (1, 2, 3, 2, 0x83),  # a lower one
        (1, 2, 0, 0x83),  # one that stands alone is a lower one, too
        (1, 0x80, 0x82),  # the end without a position
        (0x82,),
    ],
)
def test_what_is_not_the_next_abandons_the_sequence(fragments: tuple[int, ...]) -> None:
    reassembly = Reassembly()
    assert add(reassembly, *fragments) == ([b"\x00"] if 0 in fragments else [])
    assert add(reassembly, 1, 0x82) == [b"\x01\x82"]


def test_the_first_fragment_begins_anew() -> None:
    reassembly = Reassembly()
    assert add(reassembly, 1, 2) == []
    assert add(reassembly, 1, 0x82, target=OTHER) == [b"\x01\x82"]
    assert add(reassembly, 1, 1, 0x82) == [b"\x01\x82"]


def test_another_target_abandons_the_sequence() -> None:
    reassembly = Reassembly()
    assert add(reassembly, 1) == []
    assert add(reassembly, 2, target=OTHER) == []
    assert add(reassembly, 0x82) == []


def test_the_timer_runs_from_the_first_fragment() -> None:
    reassembly = Reassembly(seconds=5.0)
    assert add(reassembly, 1, now=100.0) == []
    assert add(reassembly, 2, now=104.9) == []
    assert add(reassembly, 0x83, now=105.0) == []
    assert add(reassembly, 1, now=105.0) == []
    assert add(reassembly, 0x82, now=109.9) == [b"\x01\x82"]


@pytest.mark.parametrize("seconds", [4.9, 0.0, float("nan")])
def test_a_timer_that_the_rfc_forbids(seconds: float) -> None:
    with pytest.raises(ValueError, match="expected 5 s or more"):
        Reassembly(seconds=seconds)


def test_memory_is_bounded() -> None:
    reassembly = Reassembly(limit_bytes=10)
    assert reassembly.add(Datagram(1, TARGET, bytes(6)), 0.0) is None
    whole = reassembly.add(Datagram(0x82, TARGET, bytes(4)), 0.0)
    assert whole is not None
    assert len(whole.data) == 10
    assert reassembly.add(Datagram(1, TARGET, bytes(6)), 0.0) is None
    assert reassembly.add(Datagram(2, TARGET, bytes(5)), 0.0) is None
    assert reassembly.add(Datagram(0x83, TARGET, b""), 0.0) is None
    assert reassembly.add(Datagram(0x81, TARGET, bytes(11)), 0.0) is None
