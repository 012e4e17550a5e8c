"""Sans-IO: IP, TCP and UDP headers out of bytes.

Reading is tolerant: whatever does not parse is None, never an error.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

IPV4 = struct.Struct("!BBHHHBBH4s4s")
IPV6 = struct.Struct("!IHBB16s16s")
TCP_HEADER = struct.Struct("!HHIIBBHHH")
UDP_HEADER = struct.Struct("!HHHH")
# IPv6 fragment header: next header, reserved, offset (units of 8 bytes, three flag bits below), identification.
FRAGMENT_HEADER = struct.Struct("!BxHI")
FRAGMENT = 44
# IPv6 extension headers that may stand before the transport header: hop-by-hop, routing, destination options.
EXTENSIONS = (0, 43, 60)
_EXTENSIONS_MAX = 8
# An IPv4 header without options and a TCP header, which is most of what there is; without what is not looked at.
_ipv4_tcp = struct.Struct("!xxHHHBxxx4s4sHHIIBBHxxxx")


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
    window: int = 0
    ttl: int = 0
    """IPv6: the hop limit."""
    ip_id: int = 0
    """Identification; IPv6 has one in fragments only."""
    fragment_offset: int = 0
    """In bytes."""
    more_fragments: bool = False
    header_bytes: int = 0
    """Where the transport header starts, or what a later fragment carries; see `data`."""
    data: bytes = b""
    """All of it, as it was copied."""

    @property
    def version(self) -> int:
        return 4 if len(self.source) == 4 else 6

    @property
    def fragmented(self) -> bool:
        """Whether this is a fragment, the first or a later one."""
        return self.more_fragments or self.fragment_offset > 0


# A named tuple's own constructor costs as much again as the tuple.
_new = tuple.__new__


def parse(data: bytes) -> Packet | None:
    """The packet that starts with an IP header at data[0]; None: not IP, or cut off within the headers.

    The first fragment of a datagram may end within the transport header (the "tiny fragment" of RFC 1858); then it has
    no ports either.
    """
    if len(data) < 20:
        return None
    first = data[0]
    if first == 0x45 and data[9] == TCP and len(data) >= 40:
        return _parse_plain(data)
    if first >> 4 == 4:
        return _parse_ipv4(data)
    if first >> 4 == 6:
        return _parse_ipv6(data)
    return None


def _parse_plain(data: bytes) -> Packet | None:
    """TCP over IPv4 without options."""
    unpacked = _ipv4_tcp.unpack_from(data)
    length, ip_id, fragment, ttl, source, destination, sport, dport, sequence, ack, offset, flags, window = unpacked
    body = 20 + (offset >> 4) * 4
    if fragment & 0x3FFF or body < 40 or body > length:
        return _parse_ipv4(data)
    return _new(
        Packet,
        (
            *(TCP, source, destination, sport, dport, data[body:length], length - body, length),
            *(sequence, ack, flags & 0x3F, window, ttl, ip_id, 0, False, 20, data),
        ),
    )


def _parse_ipv4(data: bytes) -> Packet | None:
    first, _, length, ip_id, fragment, ttl, protocol, _, source, destination = IPV4.unpack_from(data)
    header = (first & 0x0F) * 4
    if header < 20 or length < header:
        return None
    more, offset = fragment & 0x2000 > 0, (fragment & 0x1FFF) * 8
    return _parse_transport(data, header, protocol, source, destination, length, ttl, ip_id, offset, more)


def _parse_ipv6(data: bytes) -> Packet | None:
    if len(data) < 40:
        return None
    _, payload_length, protocol, ttl, source, destination = IPV6.unpack_from(data)
    # Zero: a jumbogram or a super-packet beyond 64 KB; what was copied is all that is known.
    length = 40 + payload_length if payload_length else len(data)
    start, ip_id, offset, more, fragmented = 40, 0, 0, False, False
    for _ in range(_EXTENSIONS_MAX):
        if protocol not in EXTENSIONS and (protocol != FRAGMENT or fragmented):
            break
        if start + 8 > min(length, len(data)):
            return None
        if protocol == FRAGMENT:
            protocol, fragment, ip_id = FRAGMENT_HEADER.unpack_from(data, start)
            more, offset, fragmented = fragment & 1 > 0, fragment & 0xFFF8, True
            start += 8
            if offset:  # what follows is not a header, whatever its number says
                break
        else:
            protocol, units = data[start], data[start + 1]
            start += 8 + units * 8
    return _parse_transport(data, start, protocol, source, destination, length, ttl, ip_id, offset, more)


def _parse_transport(
    data: bytes,
    start: int,
    protocol: int,
    source: bytes,
    destination: bytes,
    length: int,
    ttl: int,
    ip_id: int,
    fragment_offset: int,
    more: bool,
) -> Packet | None:
    end = min(length, len(data))
    sport = dport = sequence = ack = flags = window = 0
    body = start
    if fragment_offset:
        pass
    elif protocol == TCP and end >= start + 20:
        sport, dport, sequence, ack, offset, flags, window, _, _ = TCP_HEADER.unpack_from(data, start)
        body = start + (offset >> 4) * 4
        if body < start + 20 or (body > length and not more):
            return None
    elif protocol == UDP and end >= start + 8:
        sport, dport, _, _ = UDP_HEADER.unpack_from(data, start)
        body = start + 8
    elif protocol in (TCP, UDP) and not more:
        return None
    return _new(
        Packet,
        (
            *(protocol, source, destination, sport, dport, data[body:end], max(length - body, 0), length),
            *(sequence, ack, flags & 0x3F, window, ttl, ip_id, fragment_offset, more, start, data),
        ),
    )


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
