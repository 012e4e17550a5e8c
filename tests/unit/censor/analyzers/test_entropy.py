"""censor/analyzers/entropy.py"""

from __future__ import annotations

import math
import random
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.entropy import ANALYZER, first_payload
from censor.properties import Properties

ALL = frozenset(ANALYZER.properties)
# With 4 bits set and not printable; these make payloads that no exemption spares.
OPAQUE = b"\x8b"


def read(data: bytes, wanted: frozenset[str] = ALL) -> Properties:
    found = first_payload(data, wanted)
    assert isinstance(found, Finding)
    return found.properties


def is_encrypted(data: bytes) -> bool:
    return bool(read(data)["entropy"])


def with_bits(bits: int, length: int) -> bytes:
    """`length` bytes, none printable, with `bits` bits set in all: 8 at most in each but the first."""
    values = [0x80] * length  # 1 bit each
    left = bits - length
    for index in range(length):
        more = min(left, 7)
        values[index] |= (1 << more) - 1
        left -= more
    assert not left
    return bytes(values)


@pytest.mark.parametrize(
    ("bits", "verdict"), [(340, False), (341, True), (400, True), (459, True), (460, False), (800, False), (100, False)]
)
def test_bits_per_byte(bits: int, verdict: bool) -> None:
    """Exempt up to 3.4 and from 4.6 on."""
    data = with_bits(bits, 100)
    assert read(data)["entropy.bits_per_byte"] == bits / 100
    assert is_encrypted(data) is verdict


@pytest.mark.parametrize("byte", [b" ", b"~"])
def test_the_first_six_printable(byte: bytes) -> None:
    six = byte * 3 + b"abc"
    assert not is_encrypted(six + OPAQUE * 60)
    assert read(six + OPAQUE * 60)["entropy.printable_first"] is True
    for position in range(6):
        other = six[:position] + OPAQUE + six[position + 1 :]
        assert is_encrypted(other + OPAQUE * 60)
        assert read(other + OPAQUE * 60)["entropy.printable_first"] is False
    assert read(six[:5])["entropy.printable_first"] is False


@pytest.mark.parametrize("byte", [b"\x1f", b"\x7f", b"\x80", b"\0"])
def test_bytes_next_to_the_printable_ones(byte: bytes) -> None:
    assert read(byte * 10)["entropy.printable_share"] == 0


def test_more_than_half_printable() -> None:
    data = OPAQUE + b"G" + (b"G" + OPAQUE) * 49
    assert read(data)["entropy.printable_share"] == 0.5
    assert is_encrypted(data)
    assert not is_encrypted(data[:-1] + b"G")


def test_more_than_twenty_printable_in_a_row() -> None:
    twenty = OPAQUE * 40 + b"G" * 20 + OPAQUE * 40
    assert is_encrypted(twenty)
    assert read(twenty)["entropy.printable_run"] == 20
    more = OPAQUE * 40 + b"G" * 21 + OPAQUE * 40
    assert not is_encrypted(more)
    assert read(more)["entropy.printable_run"] == 21


@pytest.mark.parametrize("start", [b"\x16\x03\x00", b"\x17\x03\x09", b"GET ", b"PUT ", b"POST ", b"HEAD "])
def test_known_protocols(start: bytes) -> None:
    data = start + OPAQUE * 200
    assert read(data)["entropy.known_protocol"] is True
    assert not is_encrypted(data)


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x0a",
        b"\x17\x03\x0f",
        b"\x15\x03\x01",
        b"\x18\x03\x01",
        b"\x16\x02\x01",
        b"GET\x8b",
        b"get ",
        b"EVIL ",
    ],
)
def test_what_looks_almost_like_them(start: bytes) -> None:
    data = start + OPAQUE * 200
    assert read(data)["entropy.known_protocol"] is False
    assert is_encrypted(data)


def test_a_tls_record_that_is_cut_off_is_not_known() -> None:
    assert read(b"\x16\x03")["entropy.known_protocol"] is False


def test_what_the_paper_found_blocked() -> None:
    assert is_encrypted(random.Random(1).randbytes(200))


def test_an_empty_payload_is_none() -> None:
    assert first_payload(b"", ALL) is Outcome.OTHER


def test_what_costs_time_is_there_if_wanted() -> None:
    cheap = read(OPAQUE * 9, frozenset({"entropy"}))
    assert ALL - cheap.keys() == {"entropy.printable_run", "entropy.shannon_bits"}
    assert cheap["entropy.length"] == 9


def test_shannon_entropy() -> None:
    assert read(bytes(range(256)) * 3)["entropy.shannon_bits"] == pytest.approx(8)
    assert read(b"ab" * 7)["entropy.shannon_bits"] == pytest.approx(1)
    assert read(b"a" * 7)["entropy.shannon_bits"] == 0


@given(st.binary(min_size=1, max_size=400) | st.text("abc\0é", min_size=1, max_size=60).map(str.encode))
def test_any_bytes_have_the_properties_that_counting_gives(data: bytes) -> None:
    printable = [0x20 <= byte <= 0x7E for byte in data]
    found = read(data)
    assert found["entropy.length"] == len(data)
    assert found["entropy.bits_per_byte"] == sum(bin(byte).count("1") for byte in data) / len(data)
    assert found["entropy.printable_share"] == sum(printable) / len(data)
    assert found["entropy.printable_run"] == max(len(list(run)) if is_one else 0 for is_one, run in groupby(printable))
    assert found["entropy.printable_first"] == (len(data) >= 6 and all(printable[:6]))
    shannon = found["entropy.shannon_bits"]
    assert isinstance(shannon, float)
    assert 0 <= shannon <= math.log2(len(data)) + 1e-9
