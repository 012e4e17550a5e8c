"""Sans-IO: a pcap file of packets that become known out of order: some leave later than those that come after them."""

from __future__ import annotations

import heapq

from censor.packet_io.pcap import PcapWriter

WAITING_LIMIT = 65536
"""Packets that wait for their time at most; with one more the earliest is written before its turn."""


class OrderedPcapWriter:
    """Writes packets in the order of their times; those of one time in the order in which they came."""

    def __init__(self, writer: PcapWriter, waiting_limit: int = WAITING_LIMIT) -> None:
        self._writer = writer
        self._limit = waiting_limit
        self._count = 0
        self._waiting: list[tuple[float, int, bytes, int]] = []

    def write(self, t: float, data: bytes, length: int) -> None:
        """A packet as in `PcapWriter.write`, as soon as its time has come. Raises OSError, as the others do."""
        self._count += 1
        heapq.heappush(self._waiting, (t, self._count, data, length))
        if len(self._waiting) > self._limit:
            self._write_first()

    def advance(self, t: float) -> None:
        """Nothing earlier than `t` is to come: what is due before it is written."""
        while self._waiting and self._waiting[0][0] < t:
            self._write_first()

    def finish(self) -> None:
        """Write all that waits."""
        self.advance(float("inf"))

    def _write_first(self) -> None:
        t, _, data, length = heapq.heappop(self._waiting)
        self._writer.write(t, data, length)
