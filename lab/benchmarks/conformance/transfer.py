"""Bulk in several directions at once, compared byte by byte."""

from __future__ import annotations

import select
from dataclasses import dataclass
from random import Random

from lab.benchmarks.conformance.outcome import Wrong
from lab.benchmarks.conformance.stage import Clock, Connection

BULK = Random(1928).randbytes(4 << 20)
"""More than the buffers of sockets take."""
_CHUNK_BYTES = 1 << 18


@dataclass(slots=True)
class Transfer:
    """`data` from one end to the other, then a FIN if `finish`. `sent` and `received` count its bytes."""

    source: Connection
    sink: Connection
    what: str
    data: bytes = BULK
    finish: bool = True
    sent: int = 0
    received: int = 0
    written: bool = False
    """All was sent."""
    ended: bool = False
    """All came."""

    def write(self) -> None:
        """Send what the socket takes now."""
        if self.sent < len(self.data):
            self.sent += self.source.sock.send(self.data[self.sent : self.sent + _CHUNK_BYTES])
        if self.sent == len(self.data):
            self.written = True
            if self.finish:
                self.source.finish()

    def read(self) -> None:
        """Take what has come, and compare. Raises Wrong."""
        try:
            data = self.sink.sock.recv(_CHUNK_BYTES)
        except ConnectionResetError:
            raise Wrong(f"{self.what}: a reset came after {self.received} of {len(self.data)} bytes") from None
        if data != self.data[self.received : self.received + len(data)]:
            raise Wrong(f"{self.what}: other bytes came, behind {self.received} right ones")
        self.received += len(data)
        if not data:
            if self.received < len(self.data):
                raise Wrong(f"{self.what}: the end came after {self.received} of {len(self.data)} bytes")
            self.ended = True
        elif not self.finish and self.received == len(self.data):
            self.ended = True


def carry(clock: Clock, *transfers: Transfer) -> None:
    """All of them, at once, to their ends. Raises Wrong."""
    for transfer in transfers:
        transfer.source.sock.setblocking(False)
        transfer.sink.sock.setblocking(False)
    while open_ := [transfer for transfer in transfers if not transfer.ended]:
        readers = {transfer.sink.sock: transfer for transfer in open_}
        writers = {transfer.source.sock: transfer for transfer in open_ if not transfer.written}
        readable, writable, _ = select.select(readers, writers, [], clock.left())
        if not readable and not writable:
            first = open_[0]
            end = " and no end" if first.received == len(first.data) else ""
            raise Wrong(f"{first.what}: {first.received} of {len(first.data)} bytes came{end}")
        for sock in readable:
            readers[sock].read()
        for sock in writable:
            writers[sock].write()
