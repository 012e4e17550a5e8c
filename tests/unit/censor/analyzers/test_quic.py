"""censor/analyzers/quic.py"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.quic import ANALYZER
from censor.properties import Properties, Value
from tests.unit.censor.analyzers.initials import (
    DESTINATION,
    INITIAL,
    RETRY,
    V1,
    V2,
    crypto_frame,
    hello,
    initial,
    long_header,
    zero_rtt,
)

ALL = frozenset(ANALYZER.properties)
SHORT_HEADER = b"\x40" + bytes(40)
ABSENT: Properties = dict.fromkeys(("quic.sni", "quic.alpn", "quic.ech", "quic.datagrams"))


def read(datagrams: Iterable[bytes], wanted: frozenset[str] = ALL) -> list[Finding | Outcome]:
    """What each datagram of a flow gives."""
    assert ANALYZER.datagram
    reader = ANALYZER.datagram()
    return [reader(data, wanted) for data in datagrams]


def header(first_bytes: int, version: int = V1, destination_bytes: int = 8, source_bytes: int = 6) -> Properties:
    return {
        "quic": True,
        "quic.version": version,
        "quic.datagram_bytes": first_bytes,
        "quic.dcid_bytes": destination_bytes,
        "quic.scid_bytes": source_bytes,
    }


def messenger(datagrams: int) -> dict[str, Value | None]:
    return {
        "quic.sni": "messenger.example",
        "quic.alpn": ("h3",),
        "quic.ech": False,
        "quic.datagrams": datagrams,
    }


@pytest.mark.parametrize("version", [V1, V2])
def test_a_client_hello_in_one_packet(version: int) -> None:
    packet = initial(crypto_frame(0, hello(b"Messenger.Example.")), version=version, pad_to=1162)
    assert read([packet]) == [Finding({**header(len(packet), version), **messenger(1)})]


@pytest.mark.parametrize("version", [V1, V2])
def test_the_first_datagram_of_a_real_client(version: int) -> None:
    configuration = QuicConfiguration(
        server_name="messenger.example", alpn_protocols=["h3"], original_version=version, supported_versions=[version]
    )
    client = QuicConnection(configuration=configuration)
    client.connect(("192.0.2.1", 443), now=0.0)
    datagrams = [data for data, _ in client.datagrams_to_send(0.0)]
    assert read(datagrams) == [Finding({**header(1200, version, 8, 8), **messenger(1)})]


def test_pieces_in_any_order_between_pings_and_padding() -> None:
    """As Chromium sends it."""
    order = random.Random(5)
    message = hello(padding_bytes=900)
    cuts = [0, *sorted(order.sample(range(1, len(message)), 30)), len(message)]
    frames = [crypto_frame(start, message[start:end]) for start, end in pairwise(cuts)]
    frames += [b"\1", b"\1", b"\0\0", bytes(9)]
    order.shuffle(frames)
    packet = initial(b"".join(frames))
    assert read([packet]) == [Finding({**header(len(packet)), **messenger(1)})]


def test_pieces_over_the_packets_of_a_datagram() -> None:
    message = hello()
    first, second = crypto_frame(40, message[40:]), crypto_frame(0, message[:50])
    data = initial(first) + zero_rtt() + initial(second, number=1)
    assert read([data]) == [Finding({**header(len(data)), **messenger(1)})]


def test_pieces_over_datagrams() -> None:
    message = hello(padding_bytes=2000)
    pieces = [initial(crypto_frame(i, message[i : i + 900]), number=i // 900) for i in (900, 0, 1800)]
    found = read([pieces[0], SHORT_HEADER, zero_rtt(), pieces[1], pieces[2]])
    assert found[0] == Finding(header(len(pieces[0])), partial=True)
    assert found[1:4] == [Outcome.MORE] * 3
    assert found[4] == Finding({**header(len(pieces[0])), **messenger(5)})


def test_a_retransmission_completes_what_it_cuts_differently() -> None:
    message = hello()
    assert read(
        [
            initial(crypto_frame(0, message[:60])),
            initial(crypto_frame(0, message[:30]) + crypto_frame(20, message[20:])),
        ]
    )[1] == Finding({**header(len(initial(crypto_frame(0, message[:60])))), **messenger(2)})


def test_a_first_packet_without_crypto_frames() -> None:
    ping = initial(b"\1", pad_to=1162)
    found = read([ping, initial(crypto_frame(0, hello()), number=1)])
    assert found[0] == Finding(header(len(ping)), partial=True)
    assert found[1] == Finding({**header(len(ping)), **messenger(2)})


def test_the_destination_that_the_server_chose_leaves_the_keys() -> None:
    message = hello()
    first = initial(crypto_frame(0, message[:50]))
    second = initial(crypto_frame(50, message[50:]), number=1, destination=b"servers", keys_of=DESTINATION)
    assert read([first, second])[1] == Finding({**header(len(first)), **messenger(2)})


def test_a_retry_changes_the_keys() -> None:
    message = hello(padding_bytes=1000)
    first = initial(crypto_frame(0, message[:900]))
    again = [
        initial(crypto_frame(offset, message[offset : offset + 900]), destination=b"of the retry", token=b"token")
        for offset in (0, 900)
    ]
    found = read([first, *again])
    assert found[1] is Outcome.MORE
    assert found[2] == Finding({**header(len(first)), **messenger(3)})


@pytest.mark.parametrize(
    "data",
    [
        initial(crypto_frame(0, hello()), keys_of=b"others"),
        initial(crypto_frame(0, hello()))[:-1],
        long_header(INITIAL[V1]) + b"\0\x10" + bytes(16),  # too short to be protected
        initial(crypto_frame(0, b"\2" + hello()[1:])),  # a ServerHello
        initial(crypto_frame(0, b"\1\0\x40\1")),  # of 16,385 bytes
        initial(crypto_frame(0, b"\1\0\0\0")),
        initial(crypto_frame(0, b"\1\0\0\x03abc")),
    ],
)
def test_initials_without_a_client_hello_that_can_be_read(data: bytes) -> None:
    assert read([data]) == [Finding({**header(len(data)), **ABSENT})]


def test_a_version_that_cannot_be_decrypted() -> None:
    data = long_header(0xC0, 0xFF00001D).ljust(1250, b"x")
    assert read([data]) == [Finding({**header(1250, 0xFF00001D), **ABSENT})]


def test_names_and_protocols_that_are_not_there() -> None:
    data = initial(crypto_frame(0, hello(b"")))
    (found,) = read([data])
    assert isinstance(found, Finding)
    assert found.properties["quic.sni"] is None


@pytest.mark.parametrize(
    "data",
    [b"", SHORT_HEADER, b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", long_header(RETRY[V1]) + bytes(40), bytes(1300)],
)
def test_something_else(data: bytes) -> None:
    assert read([data]) == [Outcome.OTHER]


def test_0_rtt_that_overtook_the_initial() -> None:
    found = read([zero_rtt(), initial(crypto_frame(0, hello()))])
    assert found == [Outcome.MORE, Finding({**header(len(zero_rtt())), **messenger(2)})]
    assert read([zero_rtt()] * 10) == [Outcome.MORE] * 9 + [Outcome.OTHER]


def test_the_header_alone_needs_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    data = initial(crypto_frame(0, hello()))
    monkeypatch.delattr("hmac.digest")
    assert read([data], frozenset({"quic", "quic.version", "dns"})) == [Finding(header(len(data)))]


def test_ten_datagrams_at_most() -> None:
    first = initial(crypto_frame(0, hello()[:50]))
    found = read([first] + [SHORT_HEADER] * 9)
    assert found[0] == Finding(header(len(first)), partial=True)
    assert found[1:9] == [Outcome.MORE] * 8
    assert found[9] == Finding({**header(len(first)), **ABSENT})


def test_32_kib_at_most() -> None:
    """Pieces that overlap do not make it more."""
    first = initial(b"".join(crypto_frame(offset, bytes(10000)) for offset in range(1, 6)))
    assert read([first]) == [Finding({**header(len(first)), **ABSENT})]


def test_pieces_beyond_16_kib_are_not_kept() -> None:
    message = hello()
    first = initial(crypto_frame(16380, b"x" * 5) + crypto_frame(0, message))
    assert read([first]) == [Finding({**header(len(first)), **messenger(1)})]


@given(
    st.lists(
        st.binary(max_size=80)
        | st.binary(max_size=120).map(initial)
        | st.tuples(st.integers(0, 120), st.integers(0, 120)).map(
            lambda cut: initial(crypto_frame(min(cut), hello()[min(cut) : max(cut)]))
        )
        | st.just(zero_rtt()),
        max_size=12,
    )
)
def test_any_datagrams_are_good_input(datagrams: list[bytes]) -> None:
    """No more than ten are asked for; what is known once stays so."""
    known: Properties = {}
    for index, outcome in enumerate(read(datagrams)):
        if isinstance(outcome, Finding):
            assert known.items() <= outcome.properties.items()
            assert outcome.properties.keys() <= ANALYZER.properties.keys()
            known = outcome.properties
            if not outcome.partial:
                break
        if outcome is Outcome.OTHER:
            assert not known
            break
        assert index < 9


@given(st.permutations(range(6)), st.sets(st.integers(1, len(hello()) - 1), min_size=5, max_size=5))
def test_any_order_and_any_datagrams_tell_the_same(order: list[int], cuts: set[int]) -> None:
    message = hello()
    ends = [0, *sorted(cuts), len(message)]
    frames = [crypto_frame(ends[i], message[ends[i] : ends[i + 1]]) for i in order]
    assert read([initial(frame) for frame in frames])[-1] == Finding(
        {**header(len(initial(frames[0]))), **messenger(6)}
    )
    assert read([initial(b"".join(frames))]) == [Finding({**header(len(initial(b"".join(frames)))), **messenger(1)})]
