"""censor/packet_io/netlink.py: the bytes; the socket is tested in tests/integration/censor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from censor.packet_io.netlink import HEADER_BYTES, attribute, attributes, message


def test_attribute_is_padded_to_four_bytes() -> None:
    assert attribute(3, b"abcde") == b"\x09\0\x03\0abcde\0\0\0"


def test_message() -> None:
    sent = message(3, 1, 258, b"body", flags=4, sequence=9)
    assert sent == b"\x18\0\0\0\x01\x03\x05\0\x09\0\0\0\0\0\0\0\0\0\x01\x02body"


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=50))))
def test_attributes_come_back(sent: list[tuple[int, bytes]]) -> None:
    data = memoryview(bytes(HEADER_BYTES) + b"".join(attribute(*one) for one in sent))
    found = [(type_, bytes(data[start:end])) for type_, start, end in attributes(data, HEADER_BYTES, len(data))]
    assert found == sent


@given(st.binary(max_size=60))
def test_any_bytes_are_good_input(data: bytes) -> None:
    for _, start, end in attributes(memoryview(data), 0, len(data)):
        assert 4 <= start <= end <= len(data)
