"""censor/packet_io/nft_messages.py; that the kernel understands them is shown in tests/integration/censor."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from censor.packet_io import nft_messages
from censor.packet_io.netlink import HEADER_BYTES, attribute, attributes
from censor.packet_io.nft_messages import Field

NAMES = attribute(1, b"t\0") + attribute(2, b"s\0")
ACK = 5  # NLM_F_REQUEST | NLM_F_ACK
DOCUMENTATION = 0x20010DB8 << 96
END = attribute(3, b"\0\0\0\x01")


def parts(message: bytes) -> tuple[int, int, bytes]:
    """Type, flags and attributes of a request of the family inet."""
    length, kind, flags, sequence, port, family, version, resource = struct.unpack("=IHHIIBBH", message[:HEADER_BYTES])
    assert (length, kind >> 8, sequence, port, family, version, resource) == (len(message), 10, 0, 0, 1, 0, 0)
    return kind & 0xFF, flags, message[HEADER_BYTES:]


def element(key: bytes, more: bytes = b"") -> bytes:
    return attribute(0x8001, attribute(0x8001, attribute(1, key)) + more)


def elements(*each: bytes) -> bytes:
    return NAMES + attribute(0x8003, b"".join(each))


def test_a_batch_is_for_nf_tables() -> None:
    assert nft_messages.begin(7) == struct.pack("=IHHII", 20, 0x10, 1, 7, 0) + b"\0\0\0\x0a"
    assert nft_messages.end(8) == struct.pack("=IHHII", 20, 0x11, 1, 8, 0) + b"\0\0\0\x0a"


def test_fields_of_a_key_are_padded() -> None:
    assert nft_messages.key(b"\xc0\0\x02\x01", b"\x06", b"\x01\xbb") == b"\xc0\0\x02\x01\x06\0\0\0\x01\xbb\0\0"


def test_a_concatenated_set() -> None:
    fields = (Field.IPV6_ADDRESS, Field.PROTOCOL, Field.PORT)
    kind, flags, body = parts(nft_messages.add_set("t", "s", fields, timeouts=True))
    assert (kind, flags) == (9, ACK | 0x400)
    key_type = (8 << 6 | 12) << 6 | 13
    numbers = ((3, 0x10), (4, key_type), (5, 16 + 4 + 4), (10, 1))
    expected = NAMES + b"".join(attribute(type_, struct.pack("!I", number)) for type_, number in numbers)
    assert body == expected


def test_a_set_of_intervals() -> None:
    _, _, body = parts(nft_messages.add_set("t", "s", [Field.IPV4_ADDRESS], intervals=True))
    assert attribute(3, b"\0\0\0\x04") + attribute(4, b"\0\0\0\x07") + attribute(5, b"\0\0\0\x04") in body


def test_removals() -> None:
    assert parts(nft_messages.delete_set("t", "s")) == (11, ACK, NAMES)
    assert parts(nft_messages.flush_set("t", "s")) == (14, ACK, NAMES)
    assert parts(nft_messages.flush_chain("t", "s")) == (8, ACK, NAMES)
    assert parts(nft_messages.delete_chain("t", "s")) == (5, ACK, attribute(1, b"t\0") + attribute(3, b"s\0"))


def test_a_jump() -> None:
    kind, flags, body = parts(nft_messages.add_jump("t", "s", "plan"))
    assert (kind, flags) == (6, ACK | 0xC00)  # appended
    verdict = attribute(0x8002, attribute(1, struct.pack("!i", -3)) + attribute(2, b"plan\0"))
    data = attribute(1, bytes(4)) + attribute(0x8002, verdict)
    expression = attribute(0x8001, attribute(1, b"immediate\0") + attribute(0x8002, data))
    assert body == NAMES + attribute(0x8004, expression)


def test_an_owned_table() -> None:
    table = attribute(1, b"t\0") + attribute(2, b"\0\0\0\x02")
    assert parts(nft_messages.add_owned_table("t")) == (0, ACK | 0x400, table)


def test_a_chain_in_the_forward_hook() -> None:
    hook = attribute(0x8004, attribute(1, b"\0\0\0\x02") + attribute(2, struct.pack("!i", -170)))
    names = attribute(1, b"t\0") + attribute(3, b"s\0")
    expected = (3, ACK | 0x400, names + hook + attribute(7, b"filter\0"))
    assert parts(nft_messages.add_forward_chain("t", "s", -170)) == expected


def test_a_rule_that_marks() -> None:
    kind, flags, body = parts(nft_messages.add_mark("t", "s", 0x08000000))
    assert (kind, flags) == (6, ACK | 0xC00)
    one, mark = b"\0\0\0\x01", attribute(2, b"\0\0\0\x03")
    mask, bits = (attribute(1, struct.pack("=I", value)) for value in (0xF7FFFFFF, 0x08000000))
    change = attribute(1, one) + attribute(2, one) + attribute(3, b"\0\0\0\x04")
    change += attribute(0x8004, mask) + attribute(0x8005, bits)
    steps = [(b"meta\0", mark + attribute(1, one)), (b"bitwise\0", change), (b"meta\0", mark + attribute(3, one))]
    expressions = b"".join(attribute(0x8001, attribute(1, name) + attribute(0x8002, data)) for name, data in steps)
    assert body == NAMES + attribute(0x8004, expressions)


def test_elements_with_a_timeout() -> None:
    (message,) = nft_messages.add_elements("t", "s", [b"key1", b"key2"], timeout_ms=90_000)
    timeout = attribute(4, struct.pack("!Q", 90_000))
    assert parts(message) == (12, ACK | 0x400, elements(element(b"key1", timeout), element(b"key2", timeout)))


def test_elements_without_a_timeout() -> None:
    assert parts(nft_messages.add_elements("t", "s", [b"key1"])[0])[2] == elements(element(b"key1"))
    assert parts(nft_messages.delete_elements("t", "s", [b"key1"])[0]) == (14, ACK, elements(element(b"key1")))


@pytest.mark.parametrize(
    ("version", "interval", "keys"),
    [
        (4, (0xC0000200, 0xC00002FF), (b"\xc0\0\x02\0", b"\xc0\0\x03\0")),
        (4, (0, 0), (bytes(4), b"\0\0\0\x01")),
        (4, (0xE0000000, 0xFFFFFFFF), (b"\xe0\0\0\0",)),
        (6, (DOCUMENTATION, DOCUMENTATION + 255), (DOCUMENTATION.to_bytes(16), (DOCUMENTATION + 256).to_bytes(16))),
        (6, (1, (1 << 128) - 1), (bytes(15) + b"\x01",)),
    ],
)  # fmt: skip
def test_an_interval_is_its_start_and_what_is_behind_it(
    version: int, interval: tuple[int, int], keys: Sequence[bytes]
) -> None:
    expected = elements(*(element(key, END if number else b"") for number, key in enumerate(keys)))
    (added,) = nft_messages.add_intervals("t", "s", [interval], version=version)
    (deleted,) = nft_messages.delete_intervals("t", "s", [interval], version=version)
    assert parts(added) == (12, ACK | 0x400, expected)
    assert parts(deleted) == (14, ACK, expected)


@pytest.mark.parametrize("version", [4, 6])
def test_many_intervals_are_several_messages(version: int) -> None:
    """An attribute has at most 65,535 bytes."""
    wanted = [(number * 10, number * 10 + 4) for number in range(2000)]
    size = 4 if version == 4 else 16
    starts: list[int] = []
    messages = nft_messages.add_intervals("t", "s", wanted, version=version)
    for message in messages:
        view = memoryview(message)
        *_, (kind, first, last) = attributes(view, HEADER_BYTES, len(view))
        assert (kind, last) == (3, len(message))
        for _, start, end in attributes(view, first, last):
            if end - start == 8 + size:
                starts.append(int.from_bytes(view[end - size : end]))
    assert len(messages) == 3
    assert starts == [first for first, _ in wanted]


def test_nothing_is_no_message() -> None:
    assert nft_messages.add_intervals("t", "s", [], version=4) == nft_messages.add_elements("t", "s", []) == []
