"""TCP reassembly: bytes and the times at which they were there."""

from __future__ import annotations

import pytest

from lab.measurement.packets import parse
from lab.measurement.streams import Stream, conversations
from tests.unit.lab.measurement.traffic import CLIENT, MESSENGER, Frame, pcap, tcp, udp

HERE, THERE = (CLIENT, 40000), (MESSENGER, 443)


def stream(*segments: tuple[int, bytes, float]) -> Stream:
    made = Stream()
    made.begin(100)
    for sequence, payload, t in segments:
        made.add(sequence, payload, t)
    return made


def test_in_order() -> None:
    made = stream((100, b"ab", 1.0), (102, b"cd", 2.0))
    assert bytes(made.data) == b"abcd"
    assert [made.time_of(i) for i in range(4)] == [1.0, 1.0, 2.0, 2.0]
    with pytest.raises(IndexError):
        made.time_of(4)


def test_a_byte_counts_from_when_all_before_it_were_there() -> None:
    made = stream((104, b"e", 0.5), (102, b"cd", 1.0), (100, b"ab", 2.0), (105, b"f", 3.0))
    assert bytes(made.data) == b"abcdef"
    assert [made.time_of(i) for i in range(6)] == [2.0] * 5 + [3.0]


def test_of_copies_the_first_counts() -> None:
    made = stream((100, b"abc", 1.0), (100, b"xyz", 2.0), (101, b"..d", 3.0), (100, b"", 4.0))
    assert bytes(made.data) == b"abcd"
    assert [made.time_of(i) for i in range(4)] == [1.0, 1.0, 1.0, 3.0]


def test_a_longer_copy_replaces_a_shorter_one_that_still_waits() -> None:
    made = stream((102, b"c", 1.0), (102, b"cde", 1.5), (102, b"c", 1.7), (100, b"ab", 2.0))
    assert bytes(made.data) == b"abcde"


def test_a_hole_ends_the_stream() -> None:
    assert bytes(stream((100, b"ab", 1.0), (103, b"d", 2.0)).data) == b"ab"


def test_sequence_numbers_wrap() -> None:
    made = Stream()
    made.add(2**32 - 2, b"abcd", 1.0)
    made.add(2, b"ef", 2.0)
    made.add(2**32 - 2, b"ab", 3.0)
    assert bytes(made.data) == b"abcdef"


def found(*frames: Frame) -> list[tuple[tuple[str, int], float, bytes, bytes]]:
    return [
        (talk.server, round(talk.opened, 6), bytes(talk.upstream.data), bytes(talk.downstream.data))
        for talk in conversations(parse(pcap(frames, start=0.0)), [CLIENT])
    ]


def test_a_conversation_has_both_directions() -> None:
    assert found(
        (1.0, tcp(HERE, THERE, "S", 10, 0)),
        (1.1, tcp(THERE, HERE, "SA", 20, 11)),
        (1.2, tcp(HERE, THERE, "PA", 11, 21, b"ping")),
        (1.3, tcp(THERE, HERE, "PA", 21, 15, b"pong")),
        (1.4, tcp(HERE, THERE, "A", 15, 25)),
        (1.5, tcp(THERE, HERE, "R", 25, 0)),
    ) == [(THERE, 1.0, b"ping", b"pong")]


def test_a_repeated_syn_is_the_same_and_another_is_a_new_conversation() -> None:
    assert found(
        (1.0, tcp(HERE, THERE, "S", 10, 0)),
        (2.0, tcp(HERE, THERE, "S", 10, 0)),
        (2.1, tcp(HERE, THERE, "PA", 11, 1, b"first")),
        (3.0, tcp(HERE, THERE, "S", 500, 0)),
        (3.1, tcp(HERE, THERE, "PA", 501, 1, b"second")),
    ) == [(THERE, 1.0, b"first", b""), (THERE, 3.0, b"second", b"")]


def test_a_conversation_that_had_begun_before_starts_where_it_is_first_seen() -> None:
    assert found((1.0, tcp(THERE, HERE, "PA", 900, 1, b"late"))) == [(THERE, 1.0, b"", b"late")]


def test_udp_and_other_peoples_conversations_are_none() -> None:
    other = ("192.0.2.20", 4)
    assert found((1.0, udp(HERE, THERE, b"x")), (1.0, tcp(other, THERE, "S", 1, 0))) == []
