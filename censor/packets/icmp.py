"""Sans-IO: the ICMP errors that a router sends when it rejects a packet."""

from __future__ import annotations

import enum
import struct

from censor.packets.forged import datagram
from censor.packets.headers import ICMP, ICMPV6, parse

_header = struct.Struct("!BBHI")
_UNREACHABLE, _UNREACHABLE_V6 = 3, 1
# As much of the packet as fits (RFC 1812, section 4.3.2.3; RFC 4443, section 3.1).
_LIMIT_BYTES, _LIMIT_BYTES_V6 = 576, 1280
# Echo request and reply, timestamp, address mask: the messages of IPv4 that are no errors.
_QUERIES = frozenset({0, 8, 13, 14, 15, 16, 17, 18})


class Unreachable(enum.Enum):
    """Why; the value is the code in (IPv4, IPv6): RFC 792 with RFC 1812, section 5.2.7.1; RFC 4443, section 3.1."""

    NETWORK = (0, 0)
    HOST = (1, 3)
    PORT = (3, 4)
    PROHIBITED = (13, 1)


def icmp_unreachable(data: bytes, code: Unreachable, *, source: bytes | None = None, ttl: int = 64) -> bytes | None:
    """A "destination unreachable" to the sender of the packet `data`.

    source: the router's address, 4 or 16 bytes as the packet's; by default the packet's destination speaks.
    None where no error may be sent: about ICMP errors, later fragments, packets to or from groups (RFC 1122, section
    3.2.2; RFC 4443, section 2.4), and what is not IP.
    """
    packet = parse(data)
    if packet is None or packet.fragment_offset or _is_group(packet.destination) or _is_group(packet.source):
        return None
    kind = data[packet.header_bytes : packet.header_bytes + 1]
    if packet.protocol == ICMP and (not kind or kind[0] not in _QUERIES):
        return None
    if packet.protocol == ICMPV6 and (not kind or kind[0] < 128):
        return None
    four, six = code.value
    if packet.version == 4:
        protocol, header, quoted = ICMP, _header.pack(_UNREACHABLE, four, 0, 0), _LIMIT_BYTES - 20 - 8
    else:
        protocol, header, quoted = ICMPV6, _header.pack(_UNREACHABLE_V6, six, 0, 0), _LIMIT_BYTES_V6 - 40 - 8
    quote = data[: min(quoted, packet.length)]
    return datagram(protocol, source or packet.destination, packet.source, header + quote, ttl=ttl)


def _is_group(address: bytes) -> bool:
    """A multicast address, the limited broadcast or the unspecified one."""
    if len(address) == 4:
        return address[0] >= 224 or address == bytes(4)
    return address[0] == 0xFF or address == bytes(16)
