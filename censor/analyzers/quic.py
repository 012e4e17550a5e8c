"""Sans-IO: the properties of a QUIC flow out of its client's first datagrams, the ClientHello's among them (RFC 9001).

A ClientHello may be spread over several packets of a datagram and over datagrams, in pieces in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from censor.analyzers import Analyzer, Finding, Outcome, Read, Wanted
from censor.analyzers.quic_packets import VERSIONS, Datagram, Keys, crypto, datagram
from censor.analyzers.tls import hello_properties
from censor.properties import Properties, Type

_CLIENT_HELLO = 1
_HELLO_BYTES_MAX = 16384
_GATHERED_BYTES_MAX = 2 * _HELLO_BYTES_MAX  # with what was sent twice
_DATAGRAMS_MAX = 10
_OF_THE_HEADER = {
    "quic": Type.BOOLEAN,
    "quic.version": Type.INTEGER,
    "quic.datagram_bytes": Type.INTEGER,
    "quic.dcid_bytes": Type.INTEGER,
    "quic.scid_bytes": Type.INTEGER,
}
_OF_THE_HELLO = {
    "quic.sni": Type.NAME,
    "quic.alpn": Type.TEXTS,
    "quic.ech": Type.BOOLEAN,
    "quic.datagrams": Type.INTEGER,
}
_HELLO_NAMES = frozenset(_OF_THE_HELLO)
_WITHOUT_HELLO: Properties = dict.fromkeys(_OF_THE_HELLO)


@dataclass(slots=True)
class _Flow:
    """What the client has sent up to now."""

    known: Properties = field(default_factory=dict)
    """Of the header of the first Initial; empty before it."""
    datagrams: int = 0
    first_bytes: int = 0
    keys: Keys | None = None
    pieces: dict[int, bytes] = field(default_factory=dict)
    """Of the CRYPTO stream: offset to bytes."""
    gathered_bytes: int = 0

    def read(self, data: bytes, wanted: Wanted) -> Finding | Outcome:
        """The next datagram.

        Partial after the first one if the ClientHello goes on in others: what its header says is known then. If nothing
        else is wanted, nothing is decrypted. `quic.datagrams` is how many the ClientHello took; it and what that says
        are absent if it cannot be read: unknown version, other keys, over 16 KiB or 10 datagrams.
        """
        self.datagrams += 1
        packets = datagram(data)
        is_new = not self.known
        if is_new:
            self.first_bytes = self.first_bytes or len(data)
            if packets is None or not packets.opens:
                # 0-RTT packets may overtake the Initial.
                waits = packets is not None and packets.zero_rtt and self.datagrams < _DATAGRAMS_MAX
                return Outcome.MORE if waits else Outcome.OTHER
            self._begin(packets)
        if _HELLO_NAMES.isdisjoint(wanted):
            return Finding(self.known)
        is_readable = packets is not None and self._gather(data, packets)
        hello = self._hello()
        if hello:
            return self._finding(hello, wanted)
        is_over = self.datagrams >= _DATAGRAMS_MAX or self.gathered_bytes > _GATHERED_BYTES_MAX
        if hello is not None or is_over or (is_new and not is_readable):
            return Finding({**self.known, **_WITHOUT_HELLO})
        return Finding(self.known, partial=True) if is_new else Outcome.MORE

    def _begin(self, packets: Datagram) -> None:
        self.known = {
            "quic": True,
            "quic.version": packets.version,
            "quic.datagram_bytes": self.first_bytes,
            "quic.dcid_bytes": len(packets.destination),
            "quic.scid_bytes": len(packets.source),
        }

    def _gather(self, data: bytes, packets: Datagram) -> bool:
        """Collects the datagram's pieces of the CRYPTO stream; whether any of its packets could be read.

        Keys come from the first Initial's destination, after a Retry from the one that it told; the client's other
        changes of the destination leave them (RFC 9001, 5.2).
        """
        keys = [self.keys] if self.keys else []
        if packets.initials and (not keys or keys[0].connection_id != packets.destination):
            keys.append(Keys(VERSIONS[packets.version], packets.destination))
        is_readable = False
        for packet in packets.initials:
            for candidate in keys:
                frames = candidate.frames(data, packet)
                if frames is not None:
                    self.keys, is_readable = candidate, True
                    self._keep(crypto(frames))
                    break
        return is_readable

    def _keep(self, pieces: list[tuple[int, bytes]]) -> None:
        kept = self.pieces
        for offset, piece in pieces:
            if offset + len(piece) <= _HELLO_BYTES_MAX and len(piece) > len(kept.get(offset, b"")):
                if self.gathered_bytes > _GATHERED_BYTES_MAX:
                    return
                self.gathered_bytes += len(piece)
                kept[offset] = piece

    def _hello(self) -> bytes | None:
        """The ClientHello's body, without type and length. None: not all of it is there; empty: none, or too long."""
        stream = self._joined() if len(self.pieces) > 1 else self.pieces.get(0, b"")
        if stream and stream[0] != _CLIENT_HELLO:
            return b""
        if len(stream) < 4:
            return None
        end = 4 + int.from_bytes(stream[1:4], "big")
        if end > _HELLO_BYTES_MAX:
            return b""
        return stream[4:end] if len(stream) >= end else None

    def _joined(self) -> bytes:
        """The CRYPTO stream up to the first gap."""
        stream = bytearray()
        for offset, piece in sorted(self.pieces.items()):
            end = len(stream)
            if offset > end:
                break
            stream += piece[end - offset :]
        return bytes(stream)

    def _finding(self, hello: bytes, wanted: Wanted) -> Finding:
        found = hello_properties(hello, wanted & _HELLO_NAMES, "quic")
        if found is None:
            return Finding({**self.known, **_WITHOUT_HELLO})
        return Finding({**self.known, **found, "quic.datagrams": self.datagrams})


def reader() -> Read:
    """The reader of one flow's datagrams."""
    return _Flow().read


ANALYZER = Analyzer("quic", {**_OF_THE_HEADER, **_OF_THE_HELLO}, datagram=reader)
