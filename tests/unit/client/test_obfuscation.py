from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from client.obfuscation import (
    GREETING_PADDING_BYTES,
    PAYLOAD_LIMIT_BYTES,
    RECORD_PADDING_BYTES,
    SALT_BYTES,
    WINDOW_SECONDS,
    BridgeCodec,
    ClientCodec,
    ObfuscationError,
    SaltMemory,
)

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
NOW = 1_800_000_000.25
GREETING_LEAST = SALT_BYTES + 20 + 8 + 16
RECORD_LEAST = 20 + 16


def admitting(salt: bytes, sent_at: float) -> bool:
    return sent_at == NOW


def ends(
    seed: int = 1, key: bytes = KEY, admit: Callable[[bytes, float], bool] = admitting
) -> tuple[ClientCodec, BridgeCodec]:
    return ClientCodec(KEY, random.Random(seed), NOW), BridgeCodec(key, random.Random(f"bridge {seed}"), admit)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.binary(max_size=400), max_size=6), st.lists(st.integers(0, 10_000), max_size=20), st.integers())
def test_whatever_the_pieces_are(messages: list[bytes], cuts: list[int], seed: int) -> None:
    client, bridge = ends(seed)
    sealed = client.seal(b"hello") + b"".join(map(client.seal, messages))
    assert b"".join(map(bridge.open, pieces(sealed, cuts))) == b"hello" + b"".join(messages)
    sealed = b"".join(map(bridge.seal, [b"welcome", *messages]))
    assert b"".join(map(client.open, pieces(sealed, cuts))) == b"welcome" + b"".join(messages)


def test_byte_by_byte_nothing_is_said_too_early() -> None:
    client, bridge = ends()
    sealed = client.seal(b"hello")
    opened = [bridge.open(sealed[at : at + 1]) for at in range(len(sealed))]
    assert opened[-1] == b"hello"
    assert set(opened[:-1]) == {b""}
    answer = bridge.seal(b"welcome")
    opened = [client.open(answer[at : at + 1]) for at in range(len(answer))]
    assert (opened[-1], set(opened[:-1])) == (b"welcome", {b""})


def test_long_payloads_are_several_records() -> None:
    client, bridge = ends()
    data = random.Random(3).randbytes(3 * PAYLOAD_LIMIT_BYTES + 1)
    sealed = client.seal(data)
    assert bridge.open(sealed) == data
    assert len(sealed) <= GREETING_LEAST + GREETING_PADDING_BYTES + len(data) + 4 * (
        RECORD_LEAST + RECORD_PADDING_BYTES
    )


@given(st.data())
def test_no_changed_bit_is_taken(data: st.DataObject) -> None:
    client, bridge = ends()
    sealed = bytearray(client.seal(b"hello"))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ObfuscationError):
        bridge.open(bytes(sealed))
    assert not bridge.admitted or bit // 8 > GREETING_LEAST


def test_an_answer_that_is_changed_or_of_another_stream_is_not_taken() -> None:
    client, bridge = ends()
    bridge.open(client.seal(b"hello"))
    answer = bridge.seal(b"welcome")
    stranger, _ = ends(seed=7)
    stranger.seal(b"hello")
    with pytest.raises(ObfuscationError):
        stranger.open(answer)
    with pytest.raises(ObfuscationError):
        client.open(answer[:-1] + bytes([answer[-1] ^ 1]))


def test_records_in_another_order_are_not_taken() -> None:
    client, bridge = ends()
    bridge.open(client.seal(b"hello"))
    first, second = client.seal(b"one"), client.seal(b"two")
    with pytest.raises(ObfuscationError):
        bridge.open(second + first)


def test_a_reflected_stream_is_not_taken() -> None:
    client, _ = ends()
    with pytest.raises(ObfuscationError):
        client.open(client.seal(b"hello"))


@pytest.mark.parametrize(
    "data", [bytes(100), b"GET / HTTP/1.1\r\nHost: bridge.example\r\n\r\n" * 3, bytes(51) + b"\xff"]
)
def test_probes_are_not_taken(data: bytes) -> None:
    _, bridge = ends()
    with pytest.raises(ObfuscationError):
        bridge.open(data)
    with pytest.raises(AssertionError):
        bridge.seal(b"welcome")


def test_another_key() -> None:
    client, bridge = ends(key=OTHER_KEY)
    with pytest.raises(ObfuscationError, match="not sealed with this key"):
        bridge.open(client.seal(b"hello"))


def test_a_stream_played_again_is_not_taken() -> None:
    memory = SaltMemory(NOW - 1)

    def admit(salt: bytes, sent_at: float) -> bool:
        return memory.admit(salt, sent_at, NOW + 1)

    client, bridge = ends(admit=admit)
    stream = client.seal(b"hello")
    assert bridge.open(stream) == b"hello"
    _, bridge = ends(admit=admit)
    with pytest.raises(ObfuscationError, match="played again"):
        bridge.open(stream)


def test_a_greeting_that_is_no_time() -> None:
    class Ancient(ClientCodec):
        """A client of another version: what comes first is not a time."""

    client = Ancient(KEY, random.Random(1), NOW)
    client._first = client._salt
    client._sealer._count = 0
    _, bridge = ends()
    with pytest.raises(ObfuscationError, match="another time"):
        bridge.open(client.seal(b"x" * 200))


# -- memory


def test_salts_are_remembered_as_long_as_their_time_is_good() -> None:
    memory = SaltMemory(0.0, window_seconds=10)
    assert memory.admit(b"a", 100.0, 95.0), "the client's clock is ahead"
    assert not memory.admit(b"a", 100.0, 110.0)
    assert not memory.admit(b"a", 110.0, 115.0), "still known"
    assert memory.admit(b"b", 106.0, 116.0)
    assert not memory.admit(b"c", 105.9, 116.0), "too old"
    assert not memory.admit(b"c", 126.1, 116.0), "too far ahead"
    assert memory.admit(b"d", 120.0, 120.0)
    assert len(memory) == 2, "a is forgotten: its own time is over"


def test_what_was_sent_before_the_memory_began_is_refused() -> None:
    memory = SaltMemory(100.0)
    assert not memory.admit(b"a", 99.9, 100.0)
    assert memory.admit(b"a", 100.0, 100.0 + WINDOW_SECONDS)


# -- what an observer sees


def streams(count: int) -> list[bytes]:
    """What clients and bridges send for the same plaintext, over and over."""
    made = []
    for seed in range(count):
        client, bridge = ends(seed)
        made.append(client.seal(b"\x16\x03\x01" + bytes(200)))
        bridge.open(made[-1])
        made.append(bridge.seal(b"\x16\x03\x03" + bytes(200)))
    return made


STREAMS = streams(2000)


@pytest.mark.parametrize("at", [0, 1, 31, 32, 35, 36, 47, 51, 52, 53, 60, 87])
def test_each_position_is_uniform(at: int) -> None:
    """4000 streams: salt, lengths, tags, payload. The seeds are fixed, and with them the outcome."""
    counts = [0] * 256
    for stream in STREAMS:
        counts[stream[at]] += 1
    assert chisquare(counts).pvalue > 0.001


def test_all_bytes_together_are_uniform() -> None:
    counts = [0] * 256
    for stream in STREAMS:
        for byte in stream:
            counts[byte] += 1
    assert sum(counts) > 2_000_000
    assert chisquare(counts).pvalue > 0.001


def test_the_length_of_the_first_flight_says_little() -> None:
    """It is the payload's and two paddings': spread over a kilobyte, and no length is frequent."""
    lengths = [len(stream) for stream in STREAMS[::2]]
    least, most = min(lengths), max(lengths)
    assert most - least > 0.9 * (GREETING_PADDING_BYTES + RECORD_PADDING_BYTES)
    greeting = [length - GREETING_LEAST - RECORD_LEAST - 203 for length in lengths]
    assert min(greeting) >= 0
    assert max(map(lengths.count, set(lengths))) <= 12


def test_the_length_of_records_is_spread_evenly() -> None:
    client, _ = ends()
    client.seal(b"")
    paddings = [len(client.seal(b"x" * 100)) - 100 - RECORD_LEAST for _ in range(2000)]
    assert (min(paddings), max(paddings)) == (0, RECORD_PADDING_BYTES)
    assert kstest(paddings, "randint", args=(0, RECORD_PADDING_BYTES + 1)).pvalue > 0.001


def test_two_streams_have_nothing_in_common() -> None:
    (first, _), (second, _) = ends(1), ends(2)
    one, other = first.seal(b"same"), second.seal(b"same")
    windows = {one[at : at + 4] for at in range(len(one) - 3)}
    assert not any(other[at : at + 4] in windows for at in range(len(other) - 3))
