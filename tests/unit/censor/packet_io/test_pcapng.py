"""censor/packet_io/pcapng.py: against scapy's writer, and blocks made by hand."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter

from censor.packet_io.capture_file import CaptureFile, Frame
from censor.packet_io.pcap import CapturedPacket, open_pcap
from censor.packet_io.pcapng import frames
from sidedoor.settings import UsageError

PACKET = bytes(IP(src="192.0.2.1", dst="203.0.113.1") / UDP() / b"datum")  # 33 bytes: padded
T = 1_700_000_000.25


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<", major: int = 1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1), order)


def interface(link_type: int = 101, snaplen: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link_type, 0, snaplen) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(ticks: int, data: bytes = PACKET, number: int = 0, order: str = "<", kept: int | None = None) -> bytes:
    kept = len(data) if kept is None else kept
    return block(6, struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, kept, 99) + data, order)


def simple(length: int, data: bytes = PACKET) -> bytes:
    return block(3, struct.pack("<I", length) + data)


def read(data: bytes) -> list[Frame]:
    return list(frames(CaptureFile(io.BytesIO(data), "some.pcapng")))


def test_scapys_file(tmp_path: Path) -> None:
    path = tmp_path / "some.pcapng"
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(PACKET)
    frame.time = T
    with PcapNgWriter(str(path)) as writer:
        writer.write(frame)
        writer.write(frame)
    with open_pcap(path) as reader:
        assert list(reader) == [CapturedPacket(T, PACKET, len(PACKET))] * 2
    assert (reader.skipped, reader.truncated) == (0, False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order(order: str) -> None:
    data = section(order) + interface(order=order) + enhanced(int(T * 10**6), order=order)
    assert read(data) == [Frame(T, 101, PACKET, 99)]


def test_a_section_has_its_own_order_and_interfaces() -> None:
    data = section() + interface() + enhanced(10**6) + section(">") + interface(1, order=">")
    assert read(data + enhanced(2 * 10**6, order=">")) == [Frame(1.0, 101, PACKET, 99), Frame(2.0, 1, PACKET, 99)]


def test_interfaces_have_their_own_clocks() -> None:
    options = (
        option(2, b"eth0") + option(9, b"\x09") + option(14, struct.pack("<q", -5)) + option(0, b"") + option(9, b"\0")
    )
    data = section() + interface() + interface(1, options=options) + interface(0, options=option(9, b"\x8a"))
    data += enhanced(3 * 10**6) + enhanced(10**10, number=1) + enhanced(512, number=2)
    assert [(frame.t, frame.link_type) for frame in read(data)] == [(3.0, 101), (5.0, 1), (0.5, 0)]


@pytest.mark.parametrize("options", [option(9, b"\x09\x09"), option(14, b"\1"), struct.pack("<HH", 9, 50), b"\x09\0"])
def test_malformed_options_say_nothing(options: bytes) -> None:
    assert read(section() + interface(options=options) + enhanced(10**6))[0].t == 1.0


def test_other_blocks_are_skipped() -> None:
    data = section() + block(5, b"statistics") + interface() + block(0x0BAD, b"custom") + block(4, b"")
    assert len(read(data + enhanced(1))) == 1


def test_simple_packets() -> None:
    data = section() + interface(snaplen=20) + interface(1) + simple(len(PACKET)) + enhanced(10**6) + simple(5)
    data += section() + interface() + simple(33) + simple(1500)
    assert read(data) == [
        Frame(0.0, 101, PACKET[:20], 33),
        Frame(1.0, 101, PACKET, 99),
        Frame(1.0, 101, PACKET[:5], 5),
        Frame(1.0, 101, PACKET, 33),
        Frame(1.0, 101, PACKET + bytes(3), 1500),
    ]


WHOLE = section() + interface() + enhanced(1) + enhanced(2)


@given(st.integers(8, len(WHOLE) - 1))
def test_a_file_cut_off_anywhere(size: int) -> None:
    edges = [len(section()), len(WHOLE) - 2 * len(enhanced(1)), len(WHOLE) - len(enhanced(1))]
    file = CaptureFile(io.BytesIO(WHOLE[:size]), "some.pcapng")
    assert len(list(frames(file))) == (size >= edges[2])
    assert file.truncated is (size not in edges)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (section()[:8] + b"\1\2\3\4" + section()[12:], "8: expected a section's byte order, found 01020304"),
        (section(major=2), "12: expected pcapng version 1, found 02000000"),
        (block(0x0A0D0D0A, b"\x4d\x3c\x2b\x1a"), "12: expected pcapng version 1, found "),
        (section() + struct.pack("<II", 6, 8) + bytes(20), "32: expected the length of a block, found 8"),
        (section() + struct.pack("<II", 6, 18) + bytes(20), "32: expected the length of a block, found 18"),
        (section() + struct.pack("<II", 6, 1 << 25) + bytes(20), "32: expected the length of a block, found 33554432"),
        (
            section() + interface()[:-4] + bytes(4),
            "44: expected a block's length again, 20, found 0",
        ),
        (
            section() + block(1, b"\1\0\0\0"),
            "36: expected an interface's link type and snapshot length, the block ends",
        ),
        (
            section() + interface() + block(6, bytes(16)),
            "56: expected a packet's interface, time and lengths, the block ends",
        ),
        (section() + interface() + enhanced(1, number=1), "56: expected one of 1 interfaces, found number 1"),
        (
            section() + interface() + enhanced(1, kept=37),
            "68: expected the length of a packet within its block, found 37",
        ),
        (section() + simple(33), "36: expected a packet of the first interface, there is none or the block ends"),
        (
            section() + interface() + block(3, b""),
            "56: expected a packet of the first interface, there is none or the block ends",
        ),
    ],
)
def test_damage(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(data)
    assert str(caught.value) == f"some.pcapng: at byte {message}"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (section(), section() + interface(), section(">") + interface(order=">")):
        with suppress(UsageError):
            read(start + data)
