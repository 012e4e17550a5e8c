"""SOCKS4 and SOCKS4a, requests and replies, both directions. Sans-IO.

Sources: "SOCKS: A protocol for TCP proxy across firewalls" (Y.-D. Lee) and "SOCKS 4A: A Simple Extension to SOCKS 4
Protocol" (the same), which lets the proxy resolve names: the impossible address 0.0.0.x, and a domain at the end.

The readers keep the contract of `readers`. An IP literal that came as a domain is an IP address; the writer makes use
of that for what SOCKS4 has no room for, IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address

from proxy.wire.codes import AddressType
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import UNSPECIFIED, Address
from proxy.wire.readers import parse_domain, take

SOCKS4_VERSION = 4
REPLY_VERSION = 0  # the version of the reply code, not of SOCKS

USER_LIMIT_BYTES = 255
DOMAIN_LIMIT_BYTES = 255
SOCKS4_REQUEST_LIMIT_BYTES = 8 + USER_LIMIT_BYTES + 1 + DOMAIN_LIMIT_BYTES + 1
SOCKS4_REPLY_LIMIT_BYTES = 8

_MARK = "0.0.0.1"  # of the impossible addresses the usual one


class Socks4Command(IntEnum):
    """CD of a request."""

    CONNECT = 1
    BIND = 2


class Socks4Code(IntEnum):
    """CD of a reply."""

    GRANTED = 90
    REJECTED = 91
    NO_IDENTD = 92
    IDENT_MISMATCH = 93


@dataclass(frozen=True, slots=True)
class Socks4Request:
    """Client: what it wants, where to, and who it says that it is, at most 255 bytes without NUL."""

    command: Socks4Command
    target: Address
    user: bytes = b""


@dataclass(frozen=True, slots=True)
class Socks4Reply:
    """Server: the outcome, and for BIND the address that it listens on, then the one of the peer.

    IPv6 has no room and becomes 0.0.0.0, which stands for the address of the server itself.
    """

    code: Socks4Code
    bound: Address = UNSPECIFIED


def write_socks4_request(message: Socks4Request) -> bytes:
    """VN CD DSTPORT DSTIP USERID NUL, for SOCKS4a then domain NUL. Raises ProtocolError (fault LOCAL)."""
    target, tail = message.target, b""
    host = target.host if target.type is AddressType.IPV4 else _MARK
    place = _place(host, target.port)
    if _is_mark(place[2:]):
        place = _place(_MARK, target.port)
        tail = _terminated(target.host.encode(), DOMAIN_LIMIT_BYTES, "domain")
    head = bytes((SOCKS4_VERSION, message.command)) + place
    return head + _terminated(message.user, USER_LIMIT_BYTES, "user") + tail


def write_socks4_reply(message: Socks4Reply) -> bytes:
    """VN CD DSTPORT DSTIP. Raises ProtocolError (fault LOCAL)."""
    bound = message.bound
    host = bound.host if bound.type is AddressType.IPV4 else UNSPECIFIED.host
    return bytes((REPLY_VERSION, message.code)) + _place(host, bound.port)


def _place(host: str, port: int) -> bytes:
    """DSTPORT and DSTIP."""
    try:
        return port.to_bytes(2, "big") + IPv4Address(host).packed
    except (OverflowError, ValueError) as error:
        raise ProtocolError(f"address cannot be written: {error}", fault=Fault.LOCAL) from error


SOCKS4_REJECTED = write_socks4_reply(Socks4Reply(Socks4Code.REJECTED))


def read_socks4_request(buffer: bytearray) -> Socks4Request | None:
    """A client's only message. Every error carries the reply to send, "rejected" (91)."""
    if not buffer:
        return None
    if buffer[0] != SOCKS4_VERSION:
        raise _refusal(f"version {buffer[0]}, expected {SOCKS4_VERSION}")
    end = _end_of_text(buffer, 8, USER_LIMIT_BYTES, "user")
    if end is not None and _is_mark(buffer[4:8]):
        end = _end_of_text(buffer, end, DOMAIN_LIMIT_BYTES, "domain")
    return None if end is None else _request(take(buffer, end))


def read_socks4_reply(buffer: bytearray) -> Socks4Reply | None:
    """A server's reply."""
    if not buffer:
        return None
    if buffer[0] != REPLY_VERSION:
        raise ProtocolError(f"SOCKS4 reply: version {buffer[0]}, expected {REPLY_VERSION}")
    if len(buffer) < SOCKS4_REPLY_LIMIT_BYTES:
        return None
    data = take(buffer, SOCKS4_REPLY_LIMIT_BYTES)
    try:
        code = Socks4Code(data[1])
    except ValueError:
        raise ProtocolError(f"SOCKS4 reply: code {data[1]} does not exist") from None
    return Socks4Reply(code, _ipv4(data))


def _is_mark(packed: bytes | bytearray) -> bool:
    """Whether it is 0.0.0.x with x other than 0: a domain follows."""
    return packed[:3] == b"\0\0\0" and packed[3] != 0


@lru_cache(1024)  # as in `readers`: clients that say the same get the same message
def _request(data: bytes) -> Socks4Request:
    try:
        command = Socks4Command(data[1])
    except ValueError:
        raise _refusal(f"command {data[1]} does not exist") from None
    user_end = data.index(0, 8)
    target = _ipv4(data)
    if _is_mark(data[4:8]):
        target = Address.of(parse_domain(data[user_end + 1 : -1], SOCKS4_REJECTED), target.port)
    return Socks4Request(command, target, data[8:user_end])


def _ipv4(data: bytes) -> Address:
    """DSTPORT and DSTIP, which are in the same place in both messages."""
    return Address(AddressType.IPV4, ".".join(map(str, data[4:8])), int.from_bytes(data[2:4], "big"))


def _end_of_text(buffer: bytearray, start: int, limit_bytes: int, what: str) -> int | None:
    """Where the text at `start` ends, its NUL included; None where that is not there yet."""
    end = buffer.find(0, start, start + limit_bytes + 1)
    if end >= 0:
        return end + 1
    if len(buffer) > start + limit_bytes:
        raise _refusal(f"{what} of more than {limit_bytes} bytes")
    return None


def _terminated(data: bytes, limit_bytes: int, what: str) -> bytes:
    if len(data) > limit_bytes or 0 in data:
        raise ProtocolError(
            f"{what}: {len(data)} bytes; the format carries {limit_bytes}, none of them NUL", fault=Fault.LOCAL
        )
    return data + b"\0"


def _refusal(why: str) -> ProtocolError:
    return ProtocolError(f"SOCKS4 request: {why}", reply=SOCKS4_REJECTED)
