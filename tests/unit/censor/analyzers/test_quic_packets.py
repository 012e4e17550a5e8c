"""censor/analyzers/quic_packets.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers.quic_packets import VERSIONS, Initial, Keys, crypto, datagram
from tests.unit.censor.analyzers.initials import (
    DESTINATION,
    INITIAL,
    RETRY,
    SOURCE,
    V1,
    V2,
    crypto_frame,
    initial,
    long_header,
    varint,
    zero_rtt,
)

# RFC 9001, A.2, which RFC 9369, A.2 has, too: the CRYPTO frame of the client's first packet.
RFC_FRAME = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c000004130113"
    "02010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce1"
    "5d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806"
    "048000ffff"
)
# The protected packets' first 32 bytes and the tag that authenticates all of them.
RFC_PACKETS = {
    V1: (
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        "e221af44860018ab0856972e194cd934",
    ),
    V2: (
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        "a18b2faa745b6fe189cf772a9f84cbfc",
    ),
}


def rfc_packet(version: int) -> bytes:
    return initial(RFC_FRAME, version=version, source=b"", number=2, number_bytes=4, pad_to=1162)


@pytest.mark.parametrize("version", [V1, V2])
def test_the_packets_of_the_rfcs(version: int) -> None:
    packet = rfc_packet(version)
    head, tag = (bytes.fromhex(text) for text in RFC_PACKETS[version])
    assert (packet[:32], packet[-16:], len(packet)) == (head, tag, 1200)

    read = datagram(packet)
    assert read is not None
    assert read == (version, DESTINATION, b"", [Initial(0, 18, 1200)], True, False)
    assert Keys(VERSIONS[version], DESTINATION).frames(packet, read.initials[0]) == RFC_FRAME + bytes(917)
    assert crypto(RFC_FRAME + bytes(917)) == [(0, RFC_FRAME[4:])]


@pytest.mark.parametrize("number_bytes", [1, 2, 3, 4])
def test_packet_numbers_of_all_lengths(number_bytes: int) -> None:
    packet = initial(b"\1" + bytes(40), number=7, number_bytes=number_bytes, token=b"t" * 100)
    read = datagram(packet)
    assert read is not None
    assert Keys(VERSIONS[V1], DESTINATION).frames(packet, read.initials[0]) == b"\1" + bytes(40)


def test_frames_of_a_packet_that_is_not_for_these_keys() -> None:
    packet = initial(bytes(40))
    place = Initial(0, len(packet) - 58, len(packet))
    assert Keys(VERSIONS[V1], DESTINATION).frames(packet, place) == bytes(40)
    assert Keys(VERSIONS[V1], b"elsewhere").frames(packet, place) is None
    assert Keys(VERSIONS[V2], DESTINATION).frames(packet, place) is None
    for position in range(len(packet)):
        changed = packet[:position] + bytes((packet[position] ^ 0x20,)) + packet[position + 1 :]
        assert Keys(VERSIONS[V1], DESTINATION).frames(changed, place) is None
    assert Keys(VERSIONS[V1], DESTINATION).frames(packet, Initial(0, len(packet) - 19, len(packet))) is None


@pytest.mark.parametrize("version", [V1, V2])
def test_coalesced_packets(version: int) -> None:
    first, second = initial(bytes(40), version=version), initial(bytes(50), version=version, number=1)
    early = zero_rtt(version)
    read = datagram(first + early + second + b"\x40short header")
    assert read is not None
    starts = [packet.start for packet in read.initials]
    assert starts == [0, len(first) + len(early)]
    assert read.initials[-1].end == len(first + early + second)
    assert read.opens
    assert read.zero_rtt


def test_packets_of_another_version_or_connection_end_the_walk() -> None:
    first = initial(bytes(40))
    for other in (initial(bytes(40), version=V2), initial(bytes(40), destination=b"elsewhere"), b"\xc0\0\0", bytes(99)):
        read = datagram(first + other)
        assert read is not None
        assert [packet.start for packet in read.initials] == [0]


def test_no_more_than_eight_initials_are_looked_at() -> None:
    read = datagram(initial(bytes(40)) * 20)
    assert read is not None
    assert len(read.initials) == 8


@pytest.mark.parametrize("cut", [1, 30, 57])
def test_an_initial_that_is_cut_off_opens_a_flow_but_is_not_read(cut: int) -> None:
    read = datagram(initial(bytes(40))[:-cut])
    assert read == (V1, DESTINATION, SOURCE, [], True, False)


@pytest.mark.parametrize("behind", [b"", b"\x40", b"\0", b"\0\x80", b"\0\xff" + bytes(7), b"\xff" + bytes(7)])
def test_an_initial_whose_lengths_are_cut_off(behind: bytes) -> None:
    assert datagram(long_header(INITIAL[V1]) + behind) == (V1, DESTINATION, SOURCE, [], True, False)


@pytest.mark.parametrize("version", [V1, V2])
def test_packets_that_open_no_flow(version: int) -> None:
    assert datagram(zero_rtt(version)) == (version, DESTINATION, SOURCE, [], False, True)
    retry = long_header(RETRY[version], version) + bytes(40)
    assert datagram(retry) == (version, DESTINATION, SOURCE, [], False, False)


def test_a_version_that_nothing_is_known_of() -> None:
    header = long_header(0xC0, 0xFF00001D)
    assert datagram(header.ljust(1200, b"x")) == (0xFF00001D, DESTINATION, SOURCE, [], True, False)
    assert datagram(header.ljust(1199, b"x")) is None
    assert datagram(long_header(0xC0, 0).ljust(1200, b"x")) is None  # version negotiation


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"\x40" + bytes(50),  # short header
        b"\x80\0\0\0\1" + bytes(50),  # fixed bit not set
        long_header(INITIAL[V1], destination=bytes(21)),
        long_header(INITIAL[V1], source=bytes(21)),
        *(long_header(INITIAL[V1])[:length] for length in range(21)),
    ],
)
def test_something_else(data: bytes) -> None:
    assert datagram(data) is None


def test_connection_ids_of_twenty_bytes() -> None:
    read = datagram(long_header(INITIAL[V1], destination=bytes(20), source=bytes(20)))
    assert read is not None
    assert (read.destination, read.source) == (bytes(20), bytes(20))


def test_crypto_frames_between_others() -> None:
    ack = b"\2" + varint(5000) + varint(3) + varint(1) + varint(0) + varint(0) + varint(7)
    ack_with_counts = b"\3" + varint(9) + varint(3) + varint(0) + varint(1) + varint(1) + varint(2) + varint(3)
    frames = b"\1" + crypto_frame(70, b"b" * 100) + b"\0\0\0" + ack + ack_with_counts + b"\0" + crypto_frame(0, b"a")
    assert crypto(frames) == [(70, b"b" * 100), (0, b"a")]
    assert crypto(frames + b"\x1c" + crypto_frame(1, b"c")) == [(70, b"b" * 100), (0, b"a")]  # CONNECTION_CLOSE
    assert crypto(frames + b"\2" + varint(5000)) == [(70, b"b" * 100), (0, b"a")]
    assert crypto(frames[:-1]) == [(70, b"b" * 100)]


@given(st.binary(max_size=200), st.sampled_from([V1, V2, 3]))
def test_any_bytes_are_good_input(data: bytes, version: int) -> None:
    assert all(isinstance(piece, bytes) for _, piece in crypto(data))
    whole = long_header(INITIAL.get(version, 0xC0), version) + data
    for text in (data, whole):
        read = datagram(text)
        assert read is None or all(packet.number <= packet.end <= len(text) for packet in read.initials)
