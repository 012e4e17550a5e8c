"""Sans-IO: IP, TCP and UDP headers out of bytes, and forged segments and datagrams into bytes.

Reading is tolerant: whatever does not parse is None, never an error. What is built carries full checksums (RFC 791,
768, 9293, 8200), for it leaves through raw sockets that fill in nothing.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

TCP = 6
UDP = 17

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_TTL = 64
_ipv4 = struct.Struct("!BBHHHBBH4s4s")
_ipv6 = struct.Struct("!IHBB16s16s")
_tcp = struct.Struct("!HHIIBBHHH")
_udp = struct.Struct("!HHHH")
# IPv6 extension headers that may stand before the transport header: hop-by-hop, routing, destination options.
_EXTENSIONS = (0, 43, 60)
_EXTENSIONS_MAX = 8


class Packet(NamedTuple):
    """One TCP segment or UDP datagram. Ports are 0 where the packet is neither, or is a later fragment."""

    protocol: int
    source: bytes
    """4 or 16 bytes."""
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes
    """Transport payload; less than `payload_length` where the packet was copied in part."""
    payload_length: int
    length: int
    """Bytes of the whole packet, IP header included."""
    sequence: int = 0
    acknowledgment: int = 0
    flags: int = 0

    @property
    def version(self) -> int:
        return 4 if len(self.source) == 4 else 6


def parse(data: bytes) -> Packet | None:
    """The packet that starts with an IP header at data[0]; None: not IP, or cut off within the headers."""
    if not data:
        return None
    if data[0] >> 4 == 4:
        return _parse_ipv4(data)
    if data[0] >> 4 == 6:
        return _parse_ipv6(data)
    return None


def _parse_ipv4(data: bytes) -> Packet | None:
    if len(data) < 20:
        return None
    first, _, length, _, fragment, _, protocol, _, source, destination = _ipv4.unpack_from(data)
    header = (first & 0x0F) * 4
    if header < 20 or length < header:
        return None
    if fragment & 0x1FFF:
        return Packet(protocol, source, destination, 0, 0, b"", 0, length)
    return _parse_transport(data, header, protocol, source, destination, length)


def _parse_ipv6(data: bytes) -> Packet | None:
    if len(data) < 40:
        return None
    _, payload_length, protocol, _, source, destination = _ipv6.unpack_from(data)
    # Zero: a jumbogram or a super-packet beyond 64 KB; what was copied is all that is known.
    length = 40 + payload_length if payload_length else len(data)
    start = 40
    for _ in range(_EXTENSIONS_MAX):
        if protocol not in _EXTENSIONS:
            break
        if start + 8 > min(length, len(data)):
            return None
        protocol, units = data[start], data[start + 1]
        start += 8 + units * 8
    return _parse_transport(data, start, protocol, source, destination, length)


def _parse_transport(
    data: bytes, start: int, protocol: int, source: bytes, destination: bytes, length: int
) -> Packet | None:
    end = min(length, len(data))
    if protocol == TCP:
        if end < start + 20:
            return None
        sport, dport, sequence, ack, offset, flags, _, _, _ = _tcp.unpack_from(data, start)
        body = start + (offset >> 4) * 4
        if body < start + 20 or body > length:
            return None
        payload = data[body:end]
        return Packet(
            TCP, source, destination, sport, dport, payload, length - body, length, sequence, ack, flags & 0x3F
        )
    if protocol == UDP:
        if end < start + 8:
            return None
        sport, dport, _, _ = _udp.unpack_from(data, start)
        return Packet(UDP, source, destination, sport, dport, data[start + 8 : end], length - start - 8, length)
    return Packet(protocol, source, destination, 0, 0, data[start:end], max(length - start, 0), length)


def address(packed: bytes) -> str:
    """4 or 16 bytes as text."""
    return str(ipaddress.ip_address(packed))


def endpoint(packed: bytes, port: int) -> str:
    """`192.0.2.1:53`, `[2001:db8::1]:53`."""
    return f"{address(packed)}:{port}" if len(packed) == 4 else f"[{address(packed)}]:{port}"


def flow_name(packet: Packet, *, reverse: bool = False) -> str:
    """`tcp 192.0.2.10:40000 > 203.0.113.10:443`; `reverse`: told from the other end."""
    protocol = {TCP: "tcp", UDP: "udp"}.get(packet.protocol, f"protocol-{packet.protocol}")
    source = endpoint(packet.source, packet.source_port)
    destination = endpoint(packet.destination, packet.destination_port)
    return f"{protocol} {destination} > {source}" if reverse else f"{protocol} {source} > {destination}"


def reset_forward(packet: Packet) -> bytes:
    """An RST in the name of the sender of a *dropped* packet to its receiver (RFC 9293, section 3.5.3).

    It carries the sequence number that the receiver expects next, which is the dropped packet's own. Anything else in
    the window is answered with a challenge ACK (RFC 5961).
    """
    return _segment(packet, packet.sequence, 0, RST, back=False)


def reset_back(packet: Packet) -> bytes:
    """An RST|ACK in the name of the packet's receiver to its sender."""
    ack = (packet.sequence + _sequence_length(packet)) & 0xFFFFFFFF
    return _segment(packet, packet.acknowledgment, ack, RST | ACK, back=True)


def udp_reply(packet: Packet, payload: bytes) -> bytes:
    """A datagram back to the packet's sender, in the name of its receiver."""
    header = _udp.pack(packet.destination_port, packet.source_port, 8 + len(payload), 0)
    return _datagram(UDP, packet.destination, packet.source, header + payload, checksum_at=6)


def _sequence_length(packet: Packet) -> int:
    """Sequence numbers that the segment takes up: payload, SYN and FIN."""
    return packet.payload_length + (packet.flags & SYN > 0) + (packet.flags & FIN > 0)


def _segment(packet: Packet, sequence: int, ack: int, flags: int, *, back: bool) -> bytes:
    source, sport, destination, dport = packet.source, packet.source_port, packet.destination, packet.destination_port
    if back:
        source, sport, destination, dport = destination, dport, source, sport
    header = _tcp.pack(sport, dport, sequence, ack, 5 << 4, flags, 0, 0, 0)
    return _datagram(TCP, source, destination, header, checksum_at=16)


def _datagram(protocol: int, source: bytes, destination: bytes, transport: bytes, *, checksum_at: int) -> bytes:
    pseudo = source + destination + struct.pack("!II", len(transport), protocol)
    checksum = internet_checksum(pseudo + transport)
    if protocol == UDP and not checksum:
        checksum = 0xFFFF  # zero means "no checksum" (RFC 768)
    transport = transport[:checksum_at] + struct.pack("!H", checksum) + transport[checksum_at + 2 :]
    if len(source) == 4:
        header = _ipv4.pack(0x45, 0, 20 + len(transport), 0, 0, _TTL, protocol, 0, source, destination)
        header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    else:
        header = _ipv6.pack(6 << 28, len(transport), protocol, _TTL, source, destination)
    return header + transport


def internet_checksum(data: bytes) -> int:
    """The ones' complement checksum of RFC 1071 over `data`."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
