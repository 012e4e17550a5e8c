"""The messages of SOCKS5 as values. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from proxy.wire.codes import AddressType, AuthStatus, Command, ReplyCode


@dataclass(frozen=True, slots=True)
class Address:
    """A target or a bound address: `host` is dotted IPv4, RFC 5952 IPv6 without brackets, or a domain as it came."""

    type: AddressType
    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Address:
        """The address that `host` names: an IP literal (IPv6 with or without brackets) by its type, else a domain."""
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            if ":" in bare:
                # A zone ("fe80::1%eth0") has no place in the format and is left for the resolver.
                return cls(AddressType.DOMAIN if "%" in bare else AddressType.IPV6, str(IPv6Address(bare)), port)
            if bare is host:
                return cls(AddressType.IPV4, str(IPv4Address(host)), port)
        except ValueError:
            pass
        return cls(AddressType.DOMAIN, host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.type is AddressType.IPV6 else f"{self.host}:{self.port}"


UNSPECIFIED = Address(AddressType.IPV4, "0.0.0.0", 0)
"""What error replies carry as BND.ADDR: a full IPv4 reply of 10 bytes, which every client can read."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """Client: the methods it offers, known or not (RFC 1928 section 3)."""

    methods: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """Server: the method it chose; `Method.NONE_ACCEPTABLE` is its last word."""

    method: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """Client: user and password, up to 255 bytes each; empty ones are legal on the wire (RFC 1929 section 2)."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthResult:
    """Server: whether the credentials were right."""

    status: int

    @property
    def ok(self) -> bool:
        return self.status == AuthStatus.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Request:
    """Client: what it wants and where to (RFC 1928 section 4). `target` is as the client wrote it."""

    command: Command
    target: Address


@dataclass(frozen=True, slots=True)
class Reply:
    """Server: the outcome, and for CONNECT the address it connects from (RFC 1928 section 6)."""

    code: ReplyCode
    bound: Address = UNSPECIFIED
