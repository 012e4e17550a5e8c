"""censor/packet_io/pcap.py: against scapy's reader and writers."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapReader as ScapyReader
from scapy.utils import PcapWriter as ScapyWriter

from censor.packet_io.pcap import CapturedPacket, PcapReader, PcapWriter, open_pcap
from sidedoor.settings import UsageError

FOUR = IP(src="192.0.2.1", dst="203.0.113.1") / UDP() / b"four"
SIX = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP() / b"six"
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
T = 1_700_000_000.25


def written(*packets: tuple[float, bytes]) -> bytes:
    file = io.BytesIO()
    writer = PcapWriter(file)
    for t, data in packets:
        writer.write(t, data)
    return file.getvalue()


def read(data: bytes) -> list[CapturedPacket]:
    return list(PcapReader(io.BytesIO(data), "some.pcap"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_scapys_files(tmp_path: Path, order: str, nano: bool) -> None:
    path = tmp_path / "some.pcap"
    frames = [Ether(**MACS) / FOUR, Ether(**MACS) / ARP(), Ether(**MACS) / SIX]
    for number, frame in enumerate(frames):
        frame.time = T + number
    with ScapyWriter(str(path), linktype=1, endianness=order, nano=nano) as writer:
        for frame in frames:
            writer.write(frame)
    with open_pcap(path) as reader:
        assert list(reader) == [
            CapturedPacket(T, bytes(FOUR), len(FOUR)),
            CapturedPacket(T + 2, bytes(SIX), len(SIX)),
        ]
    assert (reader.skipped, reader.truncated) == (1, False)


def test_scapy_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    with path.open("wb") as file:
        writer = PcapWriter(file)
        writer.write(T, bytes(FOUR))
        writer.write(T + 1, bytes(SIX)[:50], len(SIX))
    with ScapyReader(str(path)) as packets:
        four, six = packets
    assert (bytes(four), float(four.time)) == (bytes(FOUR), T)
    assert (bytes(six), six.wirelen) == (bytes(SIX)[:50], len(SIX))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=100)), max_size=8))
def test_what_is_written_is_read(packets: list[tuple[int, bytes]]) -> None:
    given_packets = [(float(t), b"\x45" + data) for t, data in packets]
    assert [(t, data) for t, data, _ in read(written(*given_packets))] == given_packets


def test_a_fraction_that_rounds_up_is_a_second() -> None:
    assert [t for t, _, _ in read(written((4.9999999999, bytes(FOUR))))] == [5.0]


def test_a_packet_captured_in_part() -> None:
    file = io.BytesIO()
    PcapWriter(file).write(T, bytes(FOUR)[:25], len(FOUR))
    assert read(file.getvalue()) == [CapturedPacket(T, bytes(FOUR)[:25], len(FOUR))]


@given(st.integers(4, len(written((T, bytes(FOUR)), (T, bytes(SIX)))) - 1))
def test_a_file_cut_off_anywhere(size: int) -> None:
    data = written((T, bytes(FOUR)), (T, bytes(SIX)))
    first = 24 + 16 + len(FOUR)
    reader = PcapReader(io.BytesIO(data[:size]), "some.pcap")
    assert [packet.data for packet in reader] == [bytes(FOUR)] * (size >= first)
    assert reader.truncated is (size not in (24, first))


def test_the_frame_check_sequence_is_not_the_link_type() -> None:
    data = bytearray(written((T, bytes(FOUR))))
    data[20:24] = struct.pack("<I", 0x24000000 | 101)
    assert len(read(bytes(data))) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "some.pcap: at byte 0: expected a pcap or pcapng file, found nothing"),
        (b"MZ", "some.pcap: at byte 0: expected a pcap or pcapng file, found 4d5a"),
        (
            b"\x1f\x8b\x08\x00",
            "some.pcap: at byte 0: expected a pcap or pcapng file, found 1f8b0800; decompress it first (gzip)",
        ),
        (written()[:4] + b"\3\0" + written()[6:], "some.pcap: at byte 4: expected pcap version 2.4, found 3.4"),
        (
            written() + struct.pack("<IIII", 0, 0, 1 << 20, 40),
            "some.pcap: at byte 32: expected the length of a packet, found 1048576",
        ),
        (
            written()[:20] + b"\x69\0\0\0" + written((T, b"x"))[24:],
            "some.pcap: at byte 41: a packet of link type 105, expected one of 0, 1, 101, 108, 113, 228, 229, 276",
        ),
    ],
)
def test_damage(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(data)
    assert str(caught.value) == message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.pcap: cannot be read: No such file"), open_pcap(tmp_path / "none.pcap"):
        pass


@given(st.sampled_from([written()[:24], b"\x0a\x0d\x0d\x0a", b""]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(start: bytes, data: bytes) -> None:
    with suppress(UsageError):
        read(start + data)
