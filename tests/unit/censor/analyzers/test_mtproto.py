"""censor/analyzers/mtproto.py"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.mtproto import ANALYZER, transport

# The first message of a new client as core.telegram.org/mtproto/samples-auth_key has it: req_pq_multi, unencrypted.
REQ_PQ = bytes.fromhex("000000000000000060970500ebe5776714000000f18e7ebe79f0afb50252e5fc96924bfcecda4f05")
ENCRYPTED = b"keyid678" + bytes(range(16)) + bytes(64)
LONG = b"keyid678" + bytes(16) + bytes(512)


def read(data: bytes) -> Finding | Outcome:
    return transport(data, frozenset(ANALYZER.properties))


def mtproto(name: str, consumed: int, *, obfuscated: bool = False, dc: int | None = None) -> Finding:
    return Finding(
        {
            "mtproto": True,
            "mtproto.transport": name,
            "mtproto.obfuscated": obfuscated,
            "mtproto.dc": dc,
            "mtproto.plausible": True,
        },
        consumed,
    )


NOT_RULED_OUT = Finding(
    {
        "mtproto": False,
        "mtproto.transport": None,
        "mtproto.obfuscated": None,
        "mtproto.dc": None,
        "mtproto.plausible": True,
    }
)


def abridged(message: bytes, quick_ack: int = 0) -> bytes:
    words = len(message) // 4
    head = bytes((words | quick_ack,)) if words < 127 else bytes((127 | quick_ack,)) + words.to_bytes(3, "little")
    return b"\xef" + head + message


def intermediate(message: bytes, tag: bytes = b"\xee" * 4, quick_ack: int = 0) -> bytes:
    return tag + struct.pack("<I", len(message) | quick_ack) + message


def full(message: bytes) -> bytes:
    body = struct.pack("<II", len(message) + 12, 0) + message
    return body + struct.pack("<I", zlib.crc32(body))


def obfuscated(tag: bytes, dc: int, *, secret: bytes = b"", seed: int = 1) -> bytes:
    """The 64 bytes that a client sends first, made as core.telegram.org/mtproto/mtproto-transports says."""
    source = random.Random(seed)
    init = source.randbytes(56) + tag + struct.pack("<h", dc) + source.randbytes(2)
    key = hashlib.sha256(init[8:40] + secret).digest() if secret else init[8:40]
    encrypted = Cipher(algorithms.AES(key), modes.CTR(init[40:56])).encryptor().update(init)
    return init[:56] + encrypted[56:]


PLAIN = [
    (abridged(REQ_PQ), mtproto("abridged", 2)),
    (abridged(ENCRYPTED), mtproto("abridged", 2)),
    (abridged(ENCRYPTED, quick_ack=128), mtproto("abridged", 2)),
    (abridged(LONG), mtproto("abridged", 5)),
    (abridged(LONG, quick_ack=128), mtproto("abridged", 5)),
    (intermediate(REQ_PQ), mtproto("intermediate", 8)),
    (intermediate(LONG), mtproto("intermediate", 8)),
    (intermediate(LONG, quick_ack=1 << 31), mtproto("intermediate", 8)),
    (intermediate(REQ_PQ, b"\xdd" * 4), mtproto("padded-intermediate", 8)),
    (intermediate(REQ_PQ + bytes(15), b"\xdd" * 4), mtproto("padded-intermediate", 8)),
    (intermediate(LONG + bytes(15), b"\xdd" * 4), mtproto("padded-intermediate", 8)),
    (full(REQ_PQ), mtproto("full", len(REQ_PQ) + 12)),
    (full(LONG), mtproto("full", len(LONG) + 12)),
]


@pytest.mark.parametrize(("data", "found"), PLAIN)
def test_plain_transports(data: bytes, found: Finding) -> None:
    assert read(data) == found
    assert read(data + b"more") == found


@pytest.mark.parametrize(
    "data",
    [
        abridged(bytes(20)),  # nothing in it
        abridged(ENCRYPTED + bytes(4)),  # not whole AES blocks
        abridged(REQ_PQ + bytes(4)),  # longer than what it says inside
        abridged(REQ_PQ[:-4]),
        b"\xef\x7f\xff\xff\xff" + bytes(60),
        b"\xef\0" + bytes(60),
        intermediate(LONG + b"x"),
        intermediate(REQ_PQ + b"x"),
        intermediate(bytes(20)),
        b"\xee\xee\xee\xee\0\0\0\2" + bytes(60),
        intermediate(REQ_PQ + bytes(16), b"\xdd" * 4),
        full(REQ_PQ)[:-1] + b"x",
        full(bytes(20)),
        full(REQ_PQ + b"x"),
        b"\x04\x40\0\0\0\0\0\0" + bytes(60),  # of 16,388 bytes
    ],
)
def test_almost_plain_transports(data: bytes) -> None:
    assert read(data) is Outcome.OTHER


@pytest.mark.parametrize(
    ("tag", "name"),
    [(b"\xef" * 4, "abridged"), (b"\xee" * 4, "intermediate"), (b"\xdd" * 4, "padded-intermediate")],
)
def test_the_obfuscated_transport_without_a_secret_is_read(tag: bytes, name: str) -> None:
    data = obfuscated(tag, 2)
    assert read(data) == mtproto(name, 64, obfuscated=True, dc=2)
    assert read(data + b"more") == mtproto(name, 64, obfuscated=True, dc=2)
    assert read(data[:-1]) is Outcome.MORE


@pytest.mark.parametrize(
    ("number", "dc"),
    [
        (1, 1),
        (-4, -4),
        (1000, 1000),
        (1001, None),
        (0, None),
        (10000, None),
        (10002, 10002),
        (-10002, -10002),
        (11000, 11000),
        (11001, None),
        (-32768, None),
    ],
)
def test_data_centres(number: int, dc: int | None) -> None:
    assert read(obfuscated(b"\xee" * 4, number)) == mtproto("intermediate", 64, obfuscated=True, dc=dc)


@pytest.mark.parametrize("seed", range(20))
def test_with_a_secret_it_cannot_be_ruled_out(seed: int) -> None:
    data = obfuscated(b"\xdd" * 4, 2, secret=bytes(range(16)), seed=seed)
    assert read(data) == NOT_RULED_OUT
    assert read(data + b"more") == NOT_RULED_OUT


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n".ljust(64, b"x"),
        b"HEAD",
        b"POST",
        b"OPTIONS",
        b"\x16\x03\x01\x02\x00",
        b"\x16\x03\x01\x07\x00\x01",
        b"EHLO mail.example and so on, long enough to be judged by it".ljust(64, b"."),
        b"\x80" * 8 + bytes(56),
        b"\xff" * 64,
        b"\x7f" * 32 + b"\x01" * 32,  # as many bits as random bytes have, but no highest ones
    ],
)
def test_something_else(data: bytes) -> None:
    assert read(data) is Outcome.OTHER


def test_as_random_as_five_standard_deviations() -> None:
    """Of 512 bits some 256 are set, of the 64 highest ones some 32."""

    def with_bits(highest: int, others: int) -> bytes:
        """8 bytes are there to be neither a tag nor eight zeros."""
        values = [0x80] * highest + [0] * (64 - highest)
        for index in range(others):
            values[index % 64] |= 1 << index // 64
        return bytes(values)

    for highest, others, is_random in [
        (32, 168, True),
        (32, 167, False),
        (32, 280, True),
        (32, 281, False),
        (12, 220, True),
        (11, 221, False),
        (52, 220, True),
        (53, 220, False),
    ]:
        assert read(with_bits(highest, others)) == (NOT_RULED_OUT if is_random else Outcome.OTHER)


@given(
    st.binary(max_size=100)
    | st.sampled_from([data for data, _ in PLAIN])
    | st.tuples(st.sampled_from([data for data, _ in PLAIN]), st.binary(max_size=80), st.integers(1, 30)).map(
        lambda mix: mix[0][: mix[2]] + mix[1]
    )
    | st.integers(1, 99).map(lambda seed: obfuscated(b"\xee" * 4, 2, seed=seed))
)
def test_any_bytes_are_good_input_and_cuts_do_not_matter(data: bytes) -> None:
    whole = read(data)
    assert next((o for n in range(len(data)) if (o := read(data[:n])) is not Outcome.MORE), whole) == whole


@given(st.binary(min_size=8, max_size=100).map(lambda data: data.ljust(ANALYZER.limit_bytes, b"\0")))
def test_no_more_than_the_limit_is_needed(data: bytes) -> None:
    assert read(data) is not Outcome.MORE
