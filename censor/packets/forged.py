"""Sans-IO: TCP segments and UDP datagrams in the name of either end of a flow, out of a packet of it (the trigger).

Which sequence number a segment carries decides whether it is believed: hosts since RFC 5961 act on an RST only if it
has exactly the number that they expect next, and answer any other in the window with a challenge ACK.
"""

from __future__ import annotations

from censor.packets.checksums import with_checksum, with_ip_header
from censor.packets.headers import ACK, FIN, IPV4, IPV6, PSH, RST, SYN, TCP, TCP_HEADER, UDP, UDP_HEADER, Packet

_TTL = 64
_WINDOW = 0xFFFF
_MASK = 0xFFFFFFFF
_FLAGS_AT = 13


def reset(
    packet: Packet,
    *,
    back: bool,
    flags: int | None = None,
    sequence_offset: int = 0,
    ttl: int = _TTL,
    window: int = 0,
    passed: bool = False,
    payload_acknowledged: bool = True,
) -> bytes:
    """An RST to the sender of `packet` (`back`, in the name of its receiver) or to its receiver (RFC 9293, 3.10.7).

    flags: RST or RST|ACK; by default RST|ACK back and RST forward.
    sequence_offset: is added to the exact number; the GFW of 2006 sent one RST each at 0, +1460 and +4380 (Clayton et
        al. 2006), in the hope that one would be exact when more had been sent meanwhile.
    passed: of an RST forward: whether the packet is let through before it, so that the receiver has counted it.
    payload_acknowledged: of an RST back with ACK: whether the packet is acknowledged, or only what was before it.
    """
    after = (packet.sequence + _sequence_length(packet)) & _MASK
    if back:
        sequence, ack = packet.acknowledgment, after if payload_acknowledged else packet.sequence
    else:
        sequence, ack = after if passed else packet.sequence, packet.acknowledgment
    if flags is None:
        flags = RST | ACK if back else RST
    if not flags & ACK:
        ack = 0
    return _segment(packet, sequence + sequence_offset, ack, flags, back=back, ttl=ttl, window=window)


def reset_forward(packet: Packet) -> bytes:
    """An RST in the name of the sender of a *dropped* packet to its receiver (RFC 9293, section 3.5.3)."""
    return reset(packet, back=False)


def reset_back(packet: Packet) -> bytes:
    """An RST|ACK in the name of the packet's receiver to its sender."""
    return reset(packet, back=True)


def rewritten_reset(packet: Packet) -> bytes:
    """The packet itself as an RST|ACK without payload: addresses, ports, numbers, options and TTL are its own.

    So nothing about it looks forged (TSPU, SNI-I: Xue et al., IMC 2022). The TTL needs no further step down: a packet
    that waits in the kernel's FORWARD hook has been counted down by this router already.
    """
    start = packet.header_bytes
    segment = packet.data[start : packet.length - packet.payload_length]
    segment = segment[:_FLAGS_AT] + bytes((RST | ACK,)) + segment[_FLAGS_AT + 1 :]
    segment = with_checksum(TCP, packet.source, packet.destination, segment)
    return with_ip_header(packet.data[:start], segment)


def segments_back(
    packet: Packet, payload: bytes, *, flags: int = FIN | PSH | ACK, segment_bytes: int = 1400, ttl: int = _TTL
) -> tuple[bytes, ...]:
    """Data to the sender of `packet` in the name of its receiver (a block page), which acknowledges the packet.

    flags: of the last segment; the others have ACK alone.
    """
    ack = (packet.sequence + _sequence_length(packet)) & _MASK
    segments = []
    for start in range(0, max(len(payload), 1), segment_bytes):
        piece = payload[start : start + segment_bytes]
        last = start + segment_bytes >= len(payload)
        sequence, its_flags = packet.acknowledgment + start, flags if last else ACK
        segments.append(_segment(packet, sequence, ack, its_flags, back=True, ttl=ttl, window=_WINDOW, payload=piece))
    return tuple(segments)


def udp_reply(packet: Packet, payload: bytes, *, ttl: int = _TTL) -> bytes:
    """A datagram back to the packet's sender, in the name of its receiver."""
    header = UDP_HEADER.pack(packet.destination_port, packet.source_port, 8 + len(payload), 0)
    return datagram(UDP, packet.destination, packet.source, header + payload, ttl=ttl)


def _sequence_length(packet: Packet) -> int:
    """Sequence numbers that the segment takes up: payload, SYN and FIN."""
    return packet.payload_length + (packet.flags & SYN > 0) + (packet.flags & FIN > 0)


def _segment(
    packet: Packet, sequence: int, ack: int, flags: int, *, back: bool, ttl: int, window: int, payload: bytes = b""
) -> bytes:
    source, sport, destination, dport = packet.source, packet.source_port, packet.destination, packet.destination_port
    if back:
        source, sport, destination, dport = destination, dport, source, sport
    header = TCP_HEADER.pack(sport, dport, sequence & _MASK, ack, 5 << 4, flags, window, 0, 0)
    return datagram(TCP, source, destination, header + payload, ttl=ttl)


def datagram(protocol: int, source: bytes, destination: bytes, transport: bytes, *, ttl: int = _TTL) -> bytes:
    """An IP packet around a transport header and payload, whose checksum is filled in."""
    transport = with_checksum(protocol, source, destination, transport)
    if len(source) == 4:
        header = IPV4.pack(0x45, 0, 0, 0, 0, ttl, protocol, 0, source, destination)
    else:
        header = IPV6.pack(6 << 28, 0, protocol, ttl, source, destination)
    return with_ip_header(header, transport)
