"""The datagrams of UDP ASSOCIATE: RFC 1928 section 7. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from proxy.wire.codes import AddressType
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import Address
from proxy.wire.readers import address_end, parse_address
from proxy.wire.writers import write_address

DATAGRAM_HEADER_LIMIT_BYTES = 4 + 1 + 255 + 2
LAST_FRAGMENT = 0x80
"""The bit of FRAG that says that this fragment ends its sequence."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """What goes between client and proxy: to `target`, or, on the way back, from it.

    `fragment` is FRAG: 0 for a datagram that stands alone; else the position, 1 to 127, with the high bit at the last.
    """

    fragment: int
    target: Address
    data: bytes = field(repr=False)


def read_datagram(data: bytes) -> Datagram:
    """A whole datagram; what follows the header is data, and may be empty. RSV is not looked at, as in requests.

    An IP literal that came as a domain is an IP address here. Raises ProtocolError; there is nothing to answer: such a
    datagram is dropped.
    """
    if len(data) < 4:
        raise ProtocolError(f"datagram: {len(data)} bytes, the header alone has more")
    end = address_end(data, refusal=b"")
    if end is None or len(data) < end:
        raise ProtocolError(f"datagram: its {len(data)} bytes end within the header")
    return Datagram(data[2], _target(data[3:end]), data[end:])


def write_datagram(message: Datagram) -> bytes:
    """RSV RSV FRAG ATYP DST.ADDR DST.PORT DATA. Raises ProtocolError (fault LOCAL) for what does not fit."""
    if not 0 <= message.fragment <= 255:
        raise ProtocolError(f"datagram: fragment {message.fragment}, the format carries 0 to 255", fault=Fault.LOCAL)
    return bytes((0, 0, message.fragment)) + write_address(message.target) + message.data


@lru_cache(1024)  # most datagrams of an association go to the few targets that it has
def _target(data: bytes) -> Address:
    target = parse_address(bytes(3) + data, refusal=b"")
    return Address.of(target.host, target.port) if target.type is AddressType.DOMAIN else target
