"""Signed lists of proxies: how they are written, read, divided, and told from old and forged ones. Sans-IO.

A document is one line of text: the Ed25519 signature (RFC 8032) in base64, a space, and the JSON that was signed:

    aYbS...== {"version":7,"expires":"2027-01-31T00:00:00Z","part":0,"parts":1,"routes":[{"kind":"socks5", ...}]}

What is signed is a fixed first line and the JSON's very bytes: no canonical form is needed, and a signature of this key
under anything else is none under a list. The origin passes documents on and has no key: whoever takes the origin can
withhold a newer list, but neither make one nor bring back an older one than a client knows.

Against enumeration by the censor, who is a client, too: a list can be divided into parts, each signed by itself. The
origin shows each network (/24, /48) one part only (`part_for`), as Tor's BridgeDB does, and a client can restrict
itself to a few proxies of its part (`personal`), which is all that who watches this client can see.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from client.policies import DIRECT
from client.routes.settings import RouteSettings

LIMIT_BYTES = 1 << 18
"""The longest document: well within a record (`client.messages`), and some 2000 proxies."""
_CONTEXT = b"sidedoor proxy list 1\n"

T = TypeVar("T")
Version = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]  # what every reader of JSON takes for an integer
Time = Annotated[datetime, msgspec.Meta(tz=True)]
_ROUTE: Any = RouteSettings  # a union, which type checkers do not take for a type
_KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(RouteSettings))


class ListError(Exception):
    """A list that is not to be used. `reason`: why; the message says it for a person."""

    def __init__(self, reason: Literal["malformed", "bad_signature", "expired", "older"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ListSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `sidedoor client proxies sign` makes documents of. `parts`: so many, each with its share of `routes`."""

    version: Version
    expires: Time
    routes: tuple[RouteSettings, ...]
    parts: Annotated[int, msgspec.Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        _check_names(self.routes)


class Header(msgspec.Struct, frozen=True):
    """What a document says of itself."""

    version: Version
    expires: Time
    part: Annotated[int, msgspec.Meta(ge=0)]
    parts: Annotated[int, msgspec.Meta(ge=1)]


class _Payload(Header, frozen=True):
    routes: tuple[msgspec.Raw, ...]


class _Kind(msgspec.Struct):
    kind: str


class Listing(msgspec.Struct, frozen=True):
    """A document whose signature is right. `skipped`: routes of kinds that this version does not know."""

    header: Header
    routes: tuple[RouteSettings, ...]
    skipped: int = 0

    def check_age(self, now: datetime, known_version: int) -> None:
        """Raises ListError: it has expired, or is older than the list that is known already (0: none is)."""
        if self.header.version < known_version:
            raise ListError("older", f"version {self.header.version} is older than {known_version}, which is known")
        if self.header.expires <= now:
            raise ListError(
                "expired", f"version {self.header.version} expired at {self.header.expires:%Y-%m-%d %H:%M %Z}"
            )


def sign(source: ListSource, key: SigningKey) -> list[bytes]:
    """The documents of a list, one for each part. Raises ListError for one that is too long."""
    return [_signed(source, part, key) for part in range(source.parts)]


def verified(document: bytes, public_key: bytes) -> Listing:
    """The list in a document, if the owner of the 32-byte `public_key` signed it. Raises ListError."""
    signature, payload = _split(document)
    try:
        VerifyKey(public_key).verify(_CONTEXT + payload, signature)
    except (BadSignatureError, ValueError) as error:
        raise ListError("bad_signature", f"the signature is not that of {public_key.hex()}") from error
    parsed = _parsed(payload, _Payload)
    known = [raw for raw in parsed.routes if _parsed(raw, _Kind).kind in _KINDS]
    routes: tuple[RouteSettings, ...] = tuple(_parsed(raw, _ROUTE) for raw in known)
    try:
        _check_names(routes)
    except ValueError as error:
        raise ListError("malformed", str(error)) from error
    header = Header(parsed.version, parsed.expires, parsed.part, parsed.parts)
    return Listing(header, routes, len(parsed.routes) - len(routes))


def claimed(document: bytes) -> Header:
    """What a document says of itself, true or not: for those who pass it on without a key. Raises ListError."""
    return _parsed(_split(document)[1], Header)


def part_for(address: str, parts: int) -> int:
    """The part that the network of an IP address gets to see; all of a network see the same."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    network = ip_network((ip, 24 if ip.version == 4 else 48), strict=False)
    return _number(str(network), "part") % parts


def personal(routes: Sequence[RouteSettings], name: str, most_proxies: int | None) -> tuple[RouteSettings, ...]:
    """The routes that the client of this name uses: `most_proxies` of the proxies, the same each time, in their order.

    By rendezvous hashing: when the list changes, of those chosen only the ones that are gone are replaced, and by few
    new ones: in the long run, too, few proxies are seen with this client.
    """
    proxies = sorted((route.name for route in routes if route.proxied), key=lambda route: _number(name, route))
    chosen = frozenset(proxies[:most_proxies])
    return tuple(route for route in routes if not route.proxied or route.name in chosen)


def _signed(source: ListSource, part: int, key: SigningKey) -> bytes:
    routes = [route for route in source.routes if _number(route.name, "part") % source.parts == part]
    fields = {"version": source.version, "expires": source.expires, "part": part, "parts": source.parts}
    payload = msgspec.json.encode(fields | {"routes": routes})
    signature = key.sign(_CONTEXT + payload).signature
    document = base64.b64encode(signature) + b" " + payload
    if len(document) > LIMIT_BYTES:
        raise ListError("malformed", f"part {part} has {len(document)} bytes, the limit is {LIMIT_BYTES}: more `parts`")
    return document


def _split(document: bytes) -> tuple[bytes, bytes]:
    if len(document) > LIMIT_BYTES:
        raise ListError("malformed", f"{len(document)} bytes, the limit is {LIMIT_BYTES}")
    text, separator, payload = document.strip().partition(b" ")
    try:
        signature = base64.b64decode(text, validate=True)
    except binascii.Error:
        signature = b""
    if not separator or len(signature) != 64 or base64.b64encode(signature) != text:
        raise ListError("malformed", "no signed list: expected a signature of 64 bytes in base64, a space, and JSON")
    return signature, payload


def _parsed(payload: bytes | msgspec.Raw, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ListError("malformed", f"no list that this version can read: {error}") from error


def _check_names(routes: Sequence[RouteSettings]) -> None:
    names = [route.name for route in routes]
    if DIRECT in names:
        raise ValueError(f"a list has no `{DIRECT}` route: every client has that by itself")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two routes of the list have the same name: {twice!r}")


def _number(*words: str) -> int:
    """A number that follows from the words and is evenly spread."""
    return int.from_bytes(blake2b("\0".join(words).encode(), digest_size=8).digest())
