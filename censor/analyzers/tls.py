"""Sans-IO: the properties of a TLS ClientHello out of the first bytes of a stream (RFC 8446, 4.1.2 and 5.1)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_BYTES_MAX = (1 << 14) + 2048
_SERVER_NAME, _ALPN, _ECH = 0, 16, 0xFE0D


class Outcome(enum.Enum):
    """Why there is no ClientHello: MORE bytes may make one; OTHER: this is something else, or malformed."""

    MORE = "more"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a censor reads in a ClientHello. `sni`: lower case, no trailing dot, "" if there is none."""

    sni: str
    alpn: tuple[str, ...]
    ech: bool
    """It carries encrypted_client_hello; `sni` is then the outer name."""


def client_hello(data: bytes) -> ClientHello | Outcome:
    """The ClientHello at the start of a client's stream of bytes. Never raises.

    It may be spread over several records. How many bytes to wait for at most is the caller's limit.
    """
    message = _handshake(data)
    if isinstance(message, Outcome):
        return message
    hello = _hello(message)
    return Outcome.OTHER if hello is None else hello


def _handshake(data: bytes) -> bytes | Outcome:
    """The body of the ClientHello message, put together from its records."""
    body = b""
    position = 0
    while True:
        header = data[position : position + 5]
        if not _may_be_record(header):
            return Outcome.OTHER
        if len(header) < 5:
            return Outcome.MORE
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= _RECORD_BYTES_MAX:
            return Outcome.OTHER
        body += data[position + 5 : position + 5 + length]
        if body[:1] not in (b"", bytes([_CLIENT_HELLO])):
            return Outcome.OTHER
        if len(body) >= 4 and len(body) >= 4 + (end := int.from_bytes(body[1:4], "big")):
            return body[4 : 4 + end]
        position += 5 + length
        if position > len(data):
            return Outcome.MORE


def _may_be_record(header: bytes) -> bool:
    """Whether these 0 to 5 bytes may start a handshake record: type 22, major version 3."""
    return header[:1] in (b"", bytes([_HANDSHAKE])) and header[1:2] in (b"", b"\x03")


def _hello(body: bytes) -> ClientHello | None:
    position = 2 + 32  # legacy_version, random
    for length_bytes in (1, 2, 1):  # session id, cipher suites, compression methods
        if position + length_bytes > len(body):
            return None
        position += length_bytes + int.from_bytes(body[position : position + length_bytes], "big")
    if position > len(body):
        return None
    found = dict(_extensions(body[position + 2 :]))
    return ClientHello(_sni(found.get(_SERVER_NAME, b"")), _alpn(found.get(_ALPN, b"")), _ECH in found)


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each extension up to the first one that is cut off."""
    position = 0
    while position + 4 <= len(data):
        type_, length = struct.unpack_from("!HH", data, position)
        position += 4 + length
        if position > len(data):
            return
        yield type_, data[position - length : position]


def _sni(content: bytes) -> str:
    """The host_name of a server_name extension (RFC 6066, section 3)."""
    if len(content) < 5 or content[2] != 0:
        return ""
    length = int.from_bytes(content[3:5], "big")
    return content[5 : 5 + length].decode("ascii", "backslashreplace").lower().rstrip(".")


def _alpn(content: bytes) -> tuple[str, ...]:
    """The protocol names of an ALPN extension (RFC 7301, section 3.1)."""
    names = []
    position = 2
    while position < len(content):
        length = content[position]
        names.append(content[position + 1 : position + 1 + length].decode("ascii", "backslashreplace"))
        position += 1 + length
    return tuple(names)
