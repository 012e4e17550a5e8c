"""WebSocket messages out of a decrypted stream, whole and in pieces."""

from __future__ import annotations

import pytest

from lab.measurement.websocket_frames import messages
from tests.unit.lab.measurement.traffic import UPGRADE, websocket


@pytest.mark.parametrize("mask", [b"", b"\x01\x02\x03\x04"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_every_length_form(size: int, mask: bytes) -> None:
    payload = bytes(i % 251 for i in range(size))
    frame = websocket(payload, mask=mask)
    stream = UPGRADE + frame + websocket(b"next", mask=mask)
    first, second = messages(stream)
    assert (first.start, first.end, first.data) == (len(UPGRADE), len(UPGRADE) + len(frame), payload)
    assert second.data == b"next"


def test_what_is_not_whole_is_left_out() -> None:
    stream = UPGRADE + websocket(b"hello", mask=b"abcd")
    assert [list(messages(stream[:length])) for length in range(len(stream))] == [[]] * len(stream)


def test_a_message_in_fragments_with_a_ping_between() -> None:
    first = websocket(b"he", final=False)
    stream = UPGRADE + first + websocket(b"?", opcode=9) + websocket(b"llo", opcode=0) + websocket(b"text", opcode=1)
    whole, text = messages(stream)
    assert (whole.start, whole.data, text.data) == (len(UPGRADE), b"hello", b"text")


def test_no_upgrade_no_messages() -> None:
    assert list(messages(websocket(b"hello"))) == []
