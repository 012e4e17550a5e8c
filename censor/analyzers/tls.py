"""Sans-IO: the properties of a TLS ClientHello out of the first bytes of a stream (RFC 8446, 4.1.2 and 5.1).

The hello may be spread over segments and over records. Whatever stands before it, a ChangeCipherSpec or an alert, makes
the stream something else, as it did to the TSPU of 2021 (IMC 2021). Extensions count up to the first that is cut off;
of one that is there twice (RFC 8446, 4.2: never) the first counts.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.fingerprints import GREASE, ja3, ja4
from censor.properties import Properties, Type, Value

__all__ = ["ANALYZER", "ClientHello", "Outcome", "client_hello", "hello_properties"]

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_BYTES_MAX = (1 << 14) + 2048
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS = 0, 10, 11, 13, 16, 43
_ECH, _ESNI = 0xFE0D, 0xFFCE
_VERSIONS = {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}
_RANDOM_END = 2 + 32  # legacy_version, random

_record = struct.Struct("!BBxH")  # type, major version, minor version, length
_extension = struct.Struct("!HH")


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
    message = _message(data)
    if isinstance(message, Outcome):
        return message
    hello = _hello(message[0])
    if hello is None:
        return Outcome.OTHER
    return ClientHello(_sni(hello) or "", _alpn(hello) or (), _ECH in hello.extensions)


def _read(data: bytes, wanted: Wanted) -> Finding | Outcome:
    message = _message(data)
    if isinstance(message, Outcome):
        return message
    body, records, consumed = message
    properties = hello_properties(body, wanted, "tls")
    if properties is None:
        return Outcome.OTHER
    properties["tls"] = True
    properties["tls.records"] = records
    properties["tls.hello_bytes"] = 4 + len(body)
    return Finding(properties, consumed)


def _message(data: bytes) -> tuple[bytes, int, int] | Outcome:
    """The body of the ClientHello put together from its records, how many they were, and where in `data` it ended."""
    message = bytearray()
    position = records = end = 0  # end: of the message; 0 until its header is there and says so
    while True:
        if len(data) < position + 5:
            return Outcome.MORE if _may_be_record(data[position:]) else Outcome.OTHER
        kind, major, length = _record.unpack_from(data, position)
        if kind != _HANDSHAKE or major != 3 or not 0 < length <= _RECORD_BYTES_MAX:
            return Outcome.OTHER
        records += 1
        position += 5
        start = position - len(message)  # where the message would have started, had it been in one piece up to here
        message += data[position : position + length]
        if message and message[0] != _CLIENT_HELLO:
            return Outcome.OTHER
        if not end and len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4], "big")
        if end and len(message) >= end:
            return bytes(message[4:end]), records, start + end
        position += length
        if position > len(data):
            return Outcome.MORE


def _may_be_record(header: bytes) -> bool:
    """Whether these 0 to 4 bytes may start a handshake record: type 22, major version 3."""
    return header[:1] in (b"", bytes([_HANDSHAKE])) and header[1:2] in (b"", b"\x03")


class _Hello(NamedTuple):
    body: bytes
    suites_start: int
    suites_end: int
    extensions: dict[int, bytes]


def hello_properties(body: bytes, wanted: Wanted, prefix: str) -> Properties | None:
    """What of `wanted` a ClientHello says; None if it is malformed.

    body: the message without its 4-byte header, as QUIC's CRYPTO frames carry it, too. prefix: the analyzer's name,
    "tls" or "quic": the properties are `PREFIX.sni`, `.sni_raw`, `.alpn`, `.ech`, `.esni`, `.version`, `.ja3`, `.ja4`.
    """
    until, readers = _plan(wanted, prefix)
    hello = _hello(body, until)
    return None if hello is None else {name: read(hello) for name, read in readers}


def _hello(body: bytes, until: int | None = None) -> _Hello | None:
    """until: the extension behind which none are read."""
    try:
        suites = _RANDOM_END + 1 + body[_RANDOM_END] + 2  # behind the session id
        suites_end = suites + (body[suites - 2] << 8 | body[suites - 1])
        position = suites_end + 1 + body[suites_end]  # behind the compression methods
    except IndexError:
        return None
    if position > len(body):
        return None
    return _Hello(body, suites, suites_end, _extensions(body, position + 2, until))


def _extensions(body: bytes, position: int, until: int | None) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    size = len(body)
    while position + 4 <= size:
        type_, length = _extension.unpack_from(body, position)
        position += 4
        if position + length > size:
            break
        if type_ not in found:
            found[type_] = body[position : position + length]
        if type_ == until:
            break
        position += length
    return found


def _sni_raw(hello: _Hello) -> str | None:
    """The host_name of the server_name extension (RFC 6066, section 3)."""
    content = hello.extensions.get(_SERVER_NAME, b"")
    if len(content) < 5 or content[2] != 0:
        return None
    end = 5 + (content[3] << 8 | content[4])
    return content[5:end].decode("ascii", "backslashreplace").lower() or None


def _sni(hello: _Hello) -> str | None:
    name = _sni_raw(hello)
    return name and (name.rstrip(".") or None)


def _protocols(hello: _Hello) -> list[bytes]:
    """The protocol names of the ALPN extension (RFC 7301, section 3.1) up to one that is empty, which none may be."""
    content = hello.extensions.get(_ALPN, b"")
    names = []
    position = 2
    while position < len(content) and content[position]:
        end = position + 1 + content[position]
        names.append(content[position + 1 : end])
        position = end
    return names


def _alpn(hello: _Hello) -> tuple[str, ...] | None:
    if _ALPN not in hello.extensions:
        return None
    return tuple(name.decode("ascii", "backslashreplace") for name in _protocols(hello))


def _numbers(content: bytes, start: int = 0) -> tuple[int, ...]:
    """The 16-bit numbers from `start` on."""
    count = max(len(content) - start, 0) // 2
    return struct.unpack_from(f"!{count}H", content, start) if count else ()


def _legacy_version(hello: _Hello) -> int:
    return hello.body[0] << 8 | hello.body[1]


def _offered_versions(hello: _Hello) -> list[int]:
    """Never empty."""
    offered = _numbers(hello.extensions.get(_SUPPORTED_VERSIONS, b""), 1)
    return [version for version in offered if version not in GREASE] or [_legacy_version(hello)]


def _version(hello: _Hello) -> str | None:
    return max((_VERSIONS[version] for version in _offered_versions(hello) if version in _VERSIONS), default=None)


def _suites(hello: _Hello) -> tuple[int, ...]:
    return _numbers(hello.body[hello.suites_start : hello.suites_end])


def _ja3(hello: _Hello) -> str:
    groups = _numbers(hello.extensions.get(_GROUPS, b""), 2)
    point_formats = hello.extensions.get(_POINT_FORMATS, b"")[1:]
    return ja3(_legacy_version(hello), _suites(hello), hello.extensions, groups, point_formats)


def _ja4(hello: _Hello, transport: str) -> str:
    signatures = _numbers(hello.extensions.get(_SIGNATURE_ALGORITHMS, b""), 2)
    alpn = next(iter(_protocols(hello)), b"")
    return ja4(transport, max(_offered_versions(hello)), _suites(hello), hello.extensions, alpn, signatures)


_Reader = Callable[[_Hello], Value | None]

_READERS: dict[str, _Reader] = {
    "sni": _sni,
    "sni_raw": _sni_raw,
    "alpn": _alpn,
    "ech": lambda hello: _ECH in hello.extensions,
    "esni": lambda hello: _ESNI in hello.extensions,
    "version": _version,
    "ja3": _ja3,
}


@functools.lru_cache(maxsize=64)
def _plan(wanted: Wanted, prefix: str) -> tuple[int | None, tuple[tuple[str, _Reader], ...]]:
    """The extension behind which nobody looks, and (property, what reads it) of those of `wanted` that are a hello's.

    Rule sets are few and hellos are many, so that this is worked out once for each.
    """
    ja4_reader = functools.partial(_ja4, transport=prefix[0])  # t of tls, q of quic: JA4's own letters
    known: dict[str, _Reader] = {**_READERS, "ja4": ja4_reader}
    readers = tuple((f"{prefix}.{name}", read) for name, read in known.items() if f"{prefix}.{name}" in wanted)
    names_only = all(read in (_sni, _sni_raw) for _, read in readers)
    return (_SERVER_NAME if names_only else None), readers


ANALYZER = Analyzer(
    "tls",
    properties={
        "tls": Type.BOOLEAN,
        "tls.sni": Type.NAME,
        "tls.sni_raw": Type.TEXT,  # lower case, else as on the wire: with its trailing dot
        "tls.alpn": Type.TEXTS,
        "tls.ech": Type.BOOLEAN,  # encrypted_client_hello (RFC 9849); the SNI is then the outer name
        "tls.esni": Type.BOOLEAN,  # encrypted_server_name, the draft that China blocked in 2020
        "tls.version": Type.TEXT,  # 1.0 to 1.3: the highest offered
        "tls.ja3": Type.TEXT,
        "tls.ja4": Type.TEXT,
        "tls.records": Type.INTEGER,  # that the hello was spread over
        "tls.hello_bytes": Type.INTEGER,  # of the handshake message with its header, without those of records
    },
    stream=_read,
)
