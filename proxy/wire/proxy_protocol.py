"""The PROXY protocol, versions 1 and 2: how a load balancer says who the client is. Sans-IO.

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 (text) and 2.2 (binary). The header comes before anything else on
a connection. It is believed as it is: whoever is not known to send one must not be asked for one.

The reader keeps the contract of `readers`; its errors carry no reply, for the protocol has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from proxy.wire.codes import AddressType
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import Address
from proxy.wire.readers import take
from proxy.wire.writers import write_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
TEXT_LIMIT_BYTES = 107
EXTENSIONS_LIMIT_BYTES = 2048
PROXY_HEADER_LIMIT_BYTES = 16 + EXTENSIONS_LIMIT_BYTES
"""The format goes up to 16 + 65535. Addresses take 36 bytes; the rest is for extensions (TLVs), which are skipped."""

_TEXT_START = b"PROXY "
_TEXT = re.compile(r"PROXY (TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})", re.ASCII)
_UNKNOWN = b"PROXY UNKNOWN"

_LOCAL, _PROXY = 0, 1  # commands of version 2
_TCP4, _TCP6 = 0x11, 0x21  # address family and transport of version 2
_HIGHEST_FAMILY, _HIGHEST_TRANSPORT = 3, 2


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who the client is, and which address it connected to.

    None where the header does not say: the load balancer's own connection (LOCAL: a health check), or one of a kind
    that has no TCP addresses (UNKNOWN, UNSPEC, Unix, UDP). The addresses of the connection itself hold then.
    """

    source: Address | None = None
    destination: Address | None = None


def write_proxy_header(source: Address | None, destination: Address | None, version: Literal[1, 2] = 2) -> bytes:
    """A header; without addresses UNKNOWN or LOCAL. Raises ProtocolError (fault LOCAL) for what does not fit."""
    if source is None or destination is None:
        return _UNKNOWN + b"\r\n" if version == 1 else SIGNATURE + bytes((0x20 | _LOCAL, 0, 0, 0))
    if source.type is not destination.type or source.type is AddressType.DOMAIN:
        raise ProtocolError("addresses cannot be written: not two of IPv4 or two of IPv6", fault=Fault.LOCAL)
    is_ipv4 = source.type is AddressType.IPV4
    from_, to = write_address(source)[1:], write_address(destination)[1:]
    if version == 1:
        family = "TCP4" if is_ipv4 else "TCP6"
        line = f"PROXY {family} {source.host} {destination.host} {source.port} {destination.port}\r\n"
        return line.encode()
    addresses = from_[:-2] + to[:-2] + from_[-2:] + to[-2:]
    head = bytes((0x20 | _PROXY, _TCP4 if is_ipv4 else _TCP6)) + len(addresses).to_bytes(2, "big")
    return SIGNATURE + head + addresses


def read_proxy_header(buffer: bytearray) -> ProxyHeader | None:
    """The header at the front of a connection, in either version."""
    if buffer.startswith(_TEXT_START):
        return _read_text(buffer)
    if buffer.startswith(SIGNATURE):
        return _read_binary(buffer)
    if _TEXT_START.startswith(buffer) or SIGNATURE.startswith(buffer):
        return None  # goes for an empty buffer, too
    raise _bad("no header of version 1 or 2 in front; is this a load balancer that sends one?")


def _read_text(buffer: bytearray) -> ProxyHeader | None:
    end = buffer.find(b"\r\n", 0, TEXT_LIMIT_BYTES)
    if end < 0:
        if len(buffer) >= TEXT_LIMIT_BYTES:
            raise _bad(f"version 1: line of more than {TEXT_LIMIT_BYTES} bytes")
        return None
    line = take(buffer, end + 2)[:-2]
    if line == _UNKNOWN or line.startswith(_UNKNOWN + b" "):
        return ProxyHeader()
    match = _TEXT.fullmatch(line.decode("latin-1"))
    if match is None:
        raise _bad("version 1: line is not PROXY TCP4|TCP6 SOURCE DESTINATION SOURCE_PORT DESTINATION_PORT")
    type_ = AddressType.IPV4 if match[1] == "TCP4" else AddressType.IPV6
    source, destination = Address.of(match[2], int(match[4])), Address.of(match[3], int(match[5]))
    if source.type is not type_ or destination.type is not type_:
        raise _bad(f"version 1: an address that does not exist in {match[1]}")
    if source.port > 65535 or destination.port > 65535:
        raise _bad("version 1: a port above 65535")
    return ProxyHeader(source, destination)


def _read_binary(buffer: bytearray) -> ProxyHeader | None:
    if len(buffer) < 16:
        return None
    command, kind, size = buffer[12] & 0x0F, buffer[13], int.from_bytes(buffer[14:16], "big")
    if buffer[12] >> 4 != 2 or command not in (_LOCAL, _PROXY):
        raise _bad(f"version {buffer[12] >> 4} with command {command}, expected version 2 with command 0 or 1")
    if kind >> 4 > _HIGHEST_FAMILY or kind & 0x0F > _HIGHEST_TRANSPORT:
        raise _bad(f"version 2: address family and transport {kind:#04x} do not exist")
    if size > EXTENSIONS_LIMIT_BYTES:
        raise _bad(f"version 2: {size} bytes of addresses and extensions, expected at most {EXTENSIONS_LIMIT_BYTES}")
    if len(buffer) < 16 + size:
        return None
    data = take(buffer, 16 + size)[16:]
    if command == _LOCAL or kind not in (_TCP4, _TCP6):
        return ProxyHeader()
    type_, ip, width = (AddressType.IPV4, IPv4Address, 4) if kind == _TCP4 else (AddressType.IPV6, IPv6Address, 16)
    if size < 2 * width + 4:
        raise _bad(f"version 2: {size} bytes of addresses, expected {2 * width + 4}")
    ports = int.from_bytes(data[2 * width : 2 * width + 2], "big"), int.from_bytes(data[2 * width + 2 :][:2], "big")
    return ProxyHeader(
        Address(type_, str(ip(data[:width])), ports[0]),
        Address(type_, str(ip(data[width : 2 * width])), ports[1]),
    )


def _bad(why: str) -> ProtocolError:
    return ProtocolError(f"PROXY protocol: {why}")
