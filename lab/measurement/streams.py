"""Sans-IO: TCP conversations out of captured packets: the bytes of each direction and when they were there.

Reassembly as the receiving application would see it (RFC 9293 section 3.10): a byte counts from the moment when all
bytes before it had been seen; of overlapping segments the first copy is kept; a hole that is never filled ends the
stream. Injected resets carry no bytes and do not disturb it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.measurement.packets import ACK, SYN, TCP, Endpoint, Packet

_SPACE = 1 << 32


@dataclass(slots=True)
class Stream:
    """One direction. `data`: the contiguous bytes seen; `time_of`: when one of them was there."""

    data: bytearray = field(default_factory=bytearray)
    _base: int | None = None
    _ends: list[int] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _early: dict[int, bytes] = field(default_factory=dict)

    def begin(self, sequence: int) -> None:
        """The sequence number of the first byte; where there was no SYN, the first segment's stands for it."""
        if self._base is None:
            self._base = sequence % _SPACE

    def add(self, sequence: int, payload: bytes, t: float) -> None:
        """One segment, in order of capture."""
        self.begin(sequence)
        assert self._base is not None
        # The offset nearest to where the stream stands: sequence numbers wrap at 4 GB.
        distance = (sequence - self._base - len(self.data)) % _SPACE
        offset = len(self.data) + (distance if distance < _SPACE // 2 else distance - _SPACE)
        if len(payload) > len(self._early.get(offset, b"")):
            self._early[offset] = payload
        self._join(t)

    def _join(self, t: float) -> None:
        grown = False
        for offset in sorted(self._early):
            if offset > len(self.data):
                break
            payload = self._early.pop(offset)
            new = payload[len(self.data) - offset :]
            self.data += new
            grown = grown or bool(new)
        if grown:
            self._ends.append(len(self.data))
            self._times.append(t)

    def time_of(self, offset: int) -> float:
        """When the byte at `offset` was there. Raises IndexError for one that never was."""
        return self._times[bisect_right(self._ends, offset)]


@dataclass(slots=True)
class Conversation:
    """One TCP connection of the measured client; `opened` is when its first packet was seen."""

    client: Endpoint
    server: Endpoint
    opened: float
    upstream: Stream = field(default_factory=Stream)
    downstream: Stream = field(default_factory=Stream)


def conversations(packets: Iterable[Packet], client_addresses: Iterable[str]) -> list[Conversation]:
    """The client's TCP connections, in order of their opening; a new SYN on used ports begins a new one."""
    clients = frozenset(client_addresses)
    current: dict[tuple[Endpoint, Endpoint], Conversation] = {}
    initial: dict[tuple[Endpoint, Endpoint], int] = {}
    found: list[Conversation] = []
    for packet in packets:
        if packet.protocol != TCP:
            continue
        from_client = packet.source[0] in clients
        if not from_client and packet.destination[0] not in clients:
            continue
        ends = (packet.source, packet.destination) if from_client else (packet.destination, packet.source)
        opens = from_client and packet.flags & (SYN | ACK) == SYN
        if ends not in current or (opens and initial.get(ends) != packet.sequence):
            current[ends] = Conversation(*ends, opened=packet.t)
            found.append(current[ends])
        if opens:
            initial[ends] = packet.sequence
        stream = current[ends].upstream if from_client else current[ends].downstream
        if packet.flags & SYN:
            stream.begin(packet.sequence + 1)
        elif packet.payload:
            stream.add(packet.sequence, packet.payload, packet.t)
    return found
