"""censor/packet_io/capture_file.py"""

from __future__ import annotations

import io

from censor.packet_io.capture_file import CaptureFile


def capture_file(data: bytes) -> CaptureFile:
    return CaptureFile(io.BytesIO(data), "some.pcap")


def test_bytes_in_order_and_where_they_are() -> None:
    file = capture_file(b"0123456789")
    assert file.peek(2) == file.peek(2) == b"01"
    assert (file.offset, file.start(4)) == (0, b"0123")
    assert (file.offset, file.more(6)) == (4, b"456789")
    assert (file.start(1), file.truncated, file.offset) == (None, False, 10)


def test_a_record_that_is_cut_off() -> None:
    file = capture_file(b"0123")
    assert (file.start(8), file.truncated) == (None, True)
    file = capture_file(b"0123")
    assert file.start(4) == b"0123"
    assert (file.more(1), file.truncated) == (None, True)


def test_a_short_peek_loses_nothing() -> None:
    file = capture_file(b"01")
    assert file.peek(4) == b"01"
    assert file.start(2) == b"01"


def test_error() -> None:
    assert str(capture_file(b"").error(7, "expected x")) == "some.pcap: at byte 7: expected x"
