"""What each kind of route is told: frozen types, told apart by `kind`. `RouteSettings` is any of them. Sans-IO.

`proxied` and `evades` are what a policy may know of a route (`client.policies.RouteFacts`).
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar

import msgspec

from client.policies import DIRECT
from sidedoor.settings import Secret

KEY_BYTES = 32
"""The length of an obfuscated route's key."""
LOGIN_LIMIT_BYTES = 255
"""The most that a user's name or a password may have (RFC 1929 section 2)."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class _Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What all of them have but the direct one: a name of the user's choice."""

    proxied: ClassVar[bool] = False
    evades: ClassVar[frozenset[str]] = frozenset()

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a route needs a name")
        if self.name == DIRECT:
            raise ValueError(f"`{DIRECT}` is the name of the route without a proxy: no other can be called so")


class DirectRoute(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="direct", kw_only=True
):
    """Straight to the origin's addresses, which the system's resolver knows."""

    proxied: ClassVar[bool] = False
    evades: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        """Always `direct`: there is one such route."""
        return DIRECT


class AlternateRoute(_Route, frozen=True, tag="alternate", kw_only=True):
    """Straight to other addresses of the origin, which no resolver is asked for.

    `addresses`: "ADDRESS" (the origin's port then) or "ADDRESS:PORT", IPv6 with a port in brackets; tried in this
    order.
    """

    evades: ClassVar[frozenset[str]] = frozenset({"dns", "address"})

    name: str = "alternate"
    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.addresses:
            raise ValueError("addresses: at least one is needed")
        self.endpoints(0)

    def endpoints(self, port: int) -> list[tuple[str, int]]:
        """Address and port of each; `port` where none is given. Raises ValueError."""
        return [_endpoint(text, port) for text in self.addresses]


class DohRoute(_Route, frozen=True, tag="doh", kw_only=True):
    """Straight to the addresses that a DNS-over-HTTPS server (RFC 8484) gives; no other resolver is asked.

    `address`, `port`, `path`: where that server is; `server_name`: the name its certificate must carry, the address
    if it is not given; `ca_file`: PEM of the authority that certificate comes from, else the one that the origin's
    does.
    """

    evades: ClassVar[frozenset[str]] = frozenset({"dns"})

    name: str = "doh"
    address: str
    port: Port = 443
    path: str = "/dns-query"
    server_name: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_address(self.address)
        if not self.path.startswith("/"):
            raise ValueError(f"path {self.path!r}: expected one that begins with a slash, as /dns-query")


class _ProxyRoute(_Route, frozen=True, kw_only=True):
    """Through a proxy that may ask for a user's name and a password: both or none of them."""

    proxied: ClassVar[bool] = True

    host: str
    username: str | None = None
    password: Secret | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together (RFC 1929)")
        for key, text in (("username", self.username), ("password", self.password)):
            if text is not None and len(text.encode()) > LOGIN_LIMIT_BYTES:
                raise ValueError(f"{key}: expected at most {LOGIN_LIMIT_BYTES} bytes")


class Socks5Route(_ProxyRoute, frozen=True, tag="socks5", kw_only=True):
    """Through a SOCKS5 proxy (RFC 1928), which resolves the origin's name. Both or none of username and password."""

    port: Port = 1080


class Socks5TlsRoute(_ProxyRoute, frozen=True, tag="socks5-tls", kw_only=True):
    """As `socks5`, inside TLS: the censor sees a TLS connection to the proxy, for the proxy's name.

    `server_name`: the name that the proxy's certificate must carry, `host` if it is not given; `ca_file`: PEM of the
    authority that certificate comes from, else the one that the origin's does.
    """

    port: Port = 443
    server_name: str | None = None
    ca_file: str | None = None


class HttpConnectRoute(_ProxyRoute, frozen=True, tag="http-connect", kw_only=True):
    """Through an HTTP proxy's CONNECT (RFC 9110 section 9.3.6), which resolves the origin's name; Basic login."""

    port: Port = 8080

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.username and ":" in self.username:
            raise ValueError(f"username {self.username!r}: a colon cannot be in it (RFC 7617 section 2)")


class ObfuscatedRoute(_Route, frozen=True, tag="obfuscated", kw_only=True):
    """Through a bridge (`sidedoor client bridge`), in a stream that looks like random bytes (`client.obfuscation`).

    `key`: the bridge's, 64 hexadecimal digits.
    """

    proxied: ClassVar[bool] = True

    name: str = "obfuscated"
    host: str
    port: Port
    key: Secret

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_key(self.key)


class TlsFragmentRoute(_Route, frozen=True, tag="tls-fragment", kw_only=True):
    """Straight to the origin, with the ClientHello spread over `records` TLS records, cut inside the server's name."""

    evades: ClassVar[frozenset[str]] = frozenset({"sni"})

    name: str = "tls-fragment"
    records: Annotated[int, msgspec.Meta(ge=2, le=16)] = 3


class TcpSegmentRoute(_Route, frozen=True, tag="tcp-segment", kw_only=True):
    """Straight to the origin, with the ClientHello in two TCP segments, cut inside the server's name.

    `wait_seconds`: how long the second one waits at most for the first one's acknowledgement. Without that wait a
    kernel that sends the first again could put both into one segment.
    """

    evades: ClassVar[frozenset[str]] = frozenset({"sni"})

    name: str = "tcp-segment"
    wait_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.5


RouteSettings = (
    DirectRoute
    | AlternateRoute
    | DohRoute
    | Socks5Route
    | Socks5TlsRoute
    | HttpConnectRoute
    | ObfuscatedRoute
    | TlsFragmentRoute
    | TcpSegmentRoute
)


def parse_key(text: str) -> bytes:
    """The key's bytes. Raises ValueError, without the text in it."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key: expected {2 * KEY_BYTES} hexadecimal digits (openssl rand -hex {KEY_BYTES} makes one)")
    return key


def _endpoint(text: str, port: int) -> tuple[str, int]:
    """ "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT". Raises ValueError."""
    address, given = text, ""
    if text.startswith("[") or text.count(":") == 1:
        address, _, given = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
        if not given.isdecimal() or not 0 < int(given) < 65536:
            raise ValueError(f"address {text!r}: expected ADDRESS or ADDRESS:PORT, IPv6 with a port in brackets")
    _check_address(address)
    return address, int(given) if given else port


def _check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"address {text!r}: expected an IPv4 or IPv6 address, not a name") from error
