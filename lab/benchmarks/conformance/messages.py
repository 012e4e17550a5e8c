"""The bytes of SOCKS5, SOCKS4 and HTTP CONNECT, as a client writes and reads them. Sans-IO.

Unlike `proxy.wire` it can write what is wrong, and takes what it reads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
NO_AUTH, USER_PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xFF
IPV4, DOMAIN, IPV6 = 1, 3, 4
SUCCEEDED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED = 0, 3, 4, 5
NOT_ALLOWED, COMMAND_NOT_SUPPORTED, ADDRESS_TYPE_NOT_SUPPORTED = 2, 7, 8

UNRESOLVABLE = b"no-such-name.invalid"
"""A domain that no resolver knows (RFC 6761 section 6.4)."""
ADDRESS_BYTES = {IPV4: 4, IPV6: 16}
SOCKS4_REPLY_BYTES = 8
SOCKS4_GRANTED = 90


def greeting(*methods: int) -> bytes:
    """RFC 1928 section 3."""
    return bytes([5, len(methods), *methods])


def credentials(user: bytes, password: bytes, *, version: int = 1) -> bytes:
    """RFC 1929 section 2."""
    return bytes([version, len(user)]) + user + bytes([len(password)]) + password


def address(host: str | bytes, port: int) -> bytes:
    """ATYP, address and port (RFC 1928 section 5): text is an IP address, bytes are a domain."""
    if isinstance(host, bytes):
        return bytes([DOMAIN, len(host)]) + host + port.to_bytes(2, "big")
    ip = ip_address(host)
    return bytes([IPV4 if ip.version == 4 else IPV6]) + ip.packed + port.to_bytes(2, "big")


def request(command: int, host: str | bytes, port: int, *, version: int = 5) -> bytes:
    """RFC 1928 section 4."""
    return bytes([version, command, 0]) + address(host, port)


@dataclass(frozen=True, slots=True)
class Reply:
    """RFC 1928 section 6, unjudged."""

    code: int
    type: int
    host: str
    port: int


def parse_reply(head: bytes, rest: bytes) -> Reply:
    """The first four bytes of a reply, and the others: the address of the type that `head` names, and the port."""
    return Reply(head[1], head[3], _host(head[3], rest[:-2]), int.from_bytes(rest[-2:], "big"))


def datagram(host: str | bytes, port: int, payload: bytes, *, fragment: int = 0) -> bytes:
    """RFC 1928 section 7. `fragment`: FRAG."""
    return bytes([0, 0, fragment]) + address(host, port) + payload


@dataclass(frozen=True, slots=True)
class Datagram:
    """What came from the server's relay (RFC 1928 section 7)."""

    fragment: int
    host: str
    port: int
    payload: bytes


def parse_datagram(data: bytes) -> Datagram | None:
    """None: that is no datagram of RFC 1928 section 7."""
    if len(data) < 5 or data[:2] != b"\0\0":
        return None
    size = 1 + data[4] if data[3] == DOMAIN else ADDRESS_BYTES.get(data[3])
    if size is None or len(data) < (end := 4 + size + 2):
        return None
    host = _host(data[3], data[4 : end - 2])
    return Datagram(data[2], host, int.from_bytes(data[end - 2 : end], "big"), data[end:])


def socks4_request(host: str, port: int, *, user: bytes = b"", domain: bytes = b"") -> bytes:
    """SOCKS4 CONNECT; with `domain` that of SOCKS4a, whose host is 0.0.0.x."""
    tail = user + b"\0" + (domain + b"\0" if domain else b"")
    return bytes([4, CONNECT]) + port.to_bytes(2, "big") + IPv4Address(host).packed + tail


def http_connect(authority: str, *headers: str) -> bytes:
    """RFC 9110 section 9.3.6."""
    return "\r\n".join([f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *headers, "", ""]).encode()


def http_status(head: bytes) -> int | None:
    """The status of a response whose head this is; None: that is no HTTP."""
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return None
    return int(words[1])


def _host(type_: int, data: bytes) -> str:
    match type_:
        case 1:
            return str(IPv4Address(data))
        case 4:
            return str(IPv6Address(data))
        case _:
            return data[1:].decode("latin-1")
