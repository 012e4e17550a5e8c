"""Sans-IO: checksums of packets: whether they are right, and full ones where the kernel left a part to do.

A packet that never was on a wire (between namespaces) or that offloads have merged carries a *partial* checksum: the
sum over the pseudo-header alone, not inverted, which the network card would complete. Such a packet is sound, but must
not be sent again through a raw socket as it is.
"""

from __future__ import annotations

import struct

from censor.packets.headers import ICMP, ICMPV6, IPV6, TCP, UDP, Packet, parse

_be16 = struct.Struct("!H")
_pseudo = struct.Struct("!II")
# Where in the transport header the checksum stands, by protocol.
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}


def internet_checksum(data: bytes) -> int:
    """The ones' complement checksum of RFC 1071 over `data`."""
    return ~_sum(data) & 0xFFFF


def _sum(data: bytes) -> int:
    """The ones' complement sum of 16-bit words: the number that the bytes are, modulo 2^16 - 1 (0xffff, not 0)."""
    number = int.from_bytes(data, "big")
    if len(data) % 2:
        number <<= 8
    return number % 0xFFFF or (0xFFFF if number else 0)


def with_ip_header(template: bytes, transport: bytes) -> bytes:
    """The IP header (with options or extension headers) `template`, made to fit `transport`, and `transport`."""
    if template[0] >> 4 == 4:
        length = _be16.pack(len(template) + len(transport))
        before, after = template[:2] + length + template[4:10], template[12:]
        return before + _be16.pack(internet_checksum(before + b"\0\0" + after)) + after + transport
    size = len(template) - IPV6.size + len(transport)
    # Zero stands for what has no room here: a super-packet.
    return template[:4] + _be16.pack(size if size <= 0xFFFF else 0) + template[6:] + transport


def with_checksum(protocol: int, source: bytes, destination: bytes, transport: bytes) -> bytes:
    """A TCP segment, UDP datagram or ICMP message with its full checksum (RFC 9293, 768, 792, 4443)."""
    at = _CHECKSUM_AT[protocol]
    blank = transport[:at] + b"\0\0" + transport[at + 2 :]
    checksum = internet_checksum(_pseudo_header(protocol, source, destination, len(transport)) + blank)
    if protocol == UDP and not checksum:
        checksum = 0xFFFF  # zero means "no checksum" (RFC 768)
    return transport[:at] + _be16.pack(checksum) + transport[at + 2 :]


def _pseudo_header(protocol: int, source: bytes, destination: bytes, length: int) -> bytes:
    """Of either IP version: the sum is the same where zeros are put in between. ICMP for IPv4 has none."""
    return b"" if protocol == ICMP else source + destination + _pseudo.pack(length, protocol)


def checksum_ok(data: bytes) -> bool:
    """Whether the checksums of the packet (from its IP header on) are right; a partial one is.

    A fragment's transport checksum cannot be known, nor that of a packet that was copied in part: only the IP header
    counts there. False, too, for what is not IP.
    """
    packet = parse(data)
    if packet is None:
        return False
    if packet.version == 4 and _sum(data[: packet.header_bytes]) != 0xFFFF:
        return False
    at = _CHECKSUM_AT.get(packet.protocol)
    if at is None or packet.fragmented or len(data) < packet.length:
        return True
    return _transport_ok(packet, packet.header_bytes, at)


def _transport_ok(packet: Packet, start: int, at: int) -> bool:
    transport = packet.data[start : packet.length]
    found = transport[at : at + 2]
    if packet.protocol == UDP and found == b"\0\0":
        return packet.version == 4  # "no checksum", which IPv6 does not have (RFC 8200, section 8.1)
    pseudo = _pseudo_header(packet.protocol, packet.source, packet.destination, len(transport))
    return _sum(pseudo + transport) == 0xFFFF or (pseudo != b"" and found == _be16.pack(_sum(pseudo)))


def full_checksum(data: bytes) -> bytes:
    """The packet with full checksums, to be sent again. Fragments, and what is cut or not IP, stay as they are."""
    packet = parse(data)
    if packet is None or packet.fragmented or len(data) < packet.length:
        return data
    transport = data[packet.header_bytes : packet.length]
    at = _CHECKSUM_AT.get(packet.protocol)
    # UDP without a checksum stays so: the receiver must not find one where the sender left it out.
    if at is not None and len(transport) >= at + 2 and (packet.protocol, transport[at : at + 2]) != (UDP, b"\0\0"):
        transport = with_checksum(packet.protocol, packet.source, packet.destination, transport)
    return with_ip_header(data[: packet.header_bytes], transport)
