"""censor/packet_io/ordered_pcap.py"""

from __future__ import annotations

import io

from censor.packet_io.ordered_pcap import WAITING_LIMIT, OrderedPcapWriter
from censor.packet_io.pcap import PcapReader, PcapWriter

PACKET = b"\x45packet"


class Pcap:
    """A file with packets that are told apart by their lengths."""

    def __init__(self, waiting_limit: int = WAITING_LIMIT) -> None:
        self._file = io.BytesIO()
        self.ordered = OrderedPcapWriter(PcapWriter(self._file), waiting_limit)

    def write(self, *packets: tuple[float, int]) -> None:
        for t, length in packets:
            self.ordered.write(t, PACKET, length)

    def times(self) -> list[tuple[float, int]]:
        read = PcapReader(io.BytesIO(self._file.getvalue()), "some.pcap")
        return [(packet.t, packet.length) for packet in read]


def test_in_the_order_of_their_times() -> None:
    pcap = Pcap()
    pcap.write((3.5, 11), (1, 12), (2, 13), (1, 14))
    assert pcap.times() == []
    pcap.ordered.advance(2)
    assert pcap.times() == [(1, 12), (1, 14)]
    pcap.ordered.finish()
    assert pcap.times() == [(1, 12), (1, 14), (2, 13), (3.5, 11)]


def test_the_earliest_goes_when_too_many_wait() -> None:
    pcap = Pcap(waiting_limit=2)
    pcap.write((5, 11), (3, 12), (4, 13))
    assert pcap.times() == [(3, 12)]
