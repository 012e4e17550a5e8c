"""Sans-IO: TLS 1.3 records of a captured conversation in the clear, with the client's key log.

The key log is in NSS's format, as `SSLContext.keylog_filename` writes it (draft-ietf-tls-keylogfile). Keys and nonces
are derived as RFC 8446 sections 7.1 and 5.3 say. A stream may begin with something else, such as a SOCKS handshake:
the first thing that looks like a hello is where TLS begins. Only what the lab needs: full handshakes (or resumed
ones, without early data), the three common cipher suites, KeyUpdate.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_CLIENT_HELLO, _SERVER_HELLO, _FINISHED, _KEY_UPDATE = 1, 2, 20, 24
_LOOK_FOR_HELLO_BYTES = 4096  # a proxy's handshake before TLS is far shorter
_RECORD_LIMIT_BYTES = 16384 + 256  # RFC 8446 section 5.2
_HELLO_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

KeyLog = Mapping[bytes, Mapping[str, bytes]]


class Record(NamedTuple):
    """One record's application data; `start`, `end`: where the record lies in the stream."""

    start: int
    end: int
    data: bytes


class _Suite(NamedTuple):
    hash: type[SHA256] | type[SHA384]
    aead: type[AESGCM] | type[ChaCha20Poly1305]
    key_bytes: int


_SUITES = {
    0x1301: _Suite(SHA256, AESGCM, 16),
    0x1302: _Suite(SHA384, AESGCM, 32),
    0x1303: _Suite(SHA256, ChaCha20Poly1305, 32),
}


def parse_key_log(text: str) -> KeyLog:
    """client random -> label -> secret; lines that are not keys are passed over."""
    keys: dict[bytes, dict[str, bytes]] = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 3 and not line.startswith("#"):
            keys.setdefault(bytes.fromhex(parts[1]), {})[parts[0]] = bytes.fromhex(parts[2])
    return keys


def decrypt(upstream: bytes, downstream: bytes, key_log: KeyLog) -> tuple[list[Record], list[Record]]:
    """The application data that the client sent and received; empty where there is no TLS 1.3 or no key for it."""
    client_start, server_start = _find_hello(upstream, _CLIENT_HELLO), _find_hello(downstream, _SERVER_HELLO)
    if client_start is None or server_start is None:
        return [], []
    client_hello = _hellos(upstream, client_start)
    server_hellos = _hellos(downstream, server_start)
    suites = [_suite(hello) for hello in server_hellos if hello[6:38] != _HELLO_RETRY]
    secrets = key_log.get(client_hello[0][6:38]) if client_hello else None
    if not suites or suites[0] is None or secrets is None:
        return [], []
    return (
        list(_application_data(upstream, client_start, suites[0], secrets, "CLIENT")),
        list(_application_data(downstream, server_start, suites[0], secrets, "SERVER")),
    )


def _find_hello(stream: bytes, kind: int) -> int | None:
    """Where the first handshake record begins that carries a hello of that kind."""
    at = stream.find(b"\x16\x03", 0, _LOOK_FOR_HELLO_BYTES)
    while at >= 0:
        if stream[at + 2 : at + 3] <= b"\x04" and stream[at + 5 : at + 6] == bytes([kind]):
            return at
        at = stream.find(b"\x16\x03", at + 1, _LOOK_FOR_HELLO_BYTES)
    return None


def _records(stream: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """(content type, start, body) of each whole record from `at` on, up to the first thing that is none."""
    while at + 5 <= len(stream):
        kind, version, length = struct.unpack_from(">BHH", stream, at)
        if version >> 8 != 3 or length > _RECORD_LIMIT_BYTES or at + 5 + length > len(stream):
            return
        yield kind, at, bytes(stream[at + 5 : at + 5 + length])
        at += 5 + length


def _hellos(stream: bytes, at: int) -> list[bytes]:
    """The handshake messages in the clear, headers included; a hello may be split over records."""
    clear = bytearray()
    for kind, _, body in _records(stream, at):
        if kind == _APPLICATION_DATA:
            break
        if kind == _HANDSHAKE:
            clear += body
    return [message for _, message in _messages(clear)]


def _messages(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole handshake messages (type, message) out of the buffer's front."""
    found = []
    while len(buffer) >= 4:
        length = 4 + int.from_bytes(buffer[1:4])
        if len(buffer) < length:
            break
        found.append((buffer[0], bytes(buffer[:length])))
        del buffer[:length]
    return found


def _suite(server_hello: bytes) -> _Suite | None:
    session_bytes = server_hello[38]
    return _SUITES.get(int.from_bytes(server_hello[39 + session_bytes : 41 + session_bytes]))


class _Keys:
    """One traffic secret's key, its nonces counted (RFC 8446 section 5.3)."""

    def __init__(self, suite: _Suite, secret: bytes) -> None:
        self.suite = suite
        self.secret = secret
        self._hash: HashAlgorithm = suite.hash()
        self._aead = suite.aead(self._expand("key", suite.key_bytes))
        self._iv = int.from_bytes(self._expand("iv", 12))
        self._count = 0

    def _expand(self, label: str, length: int) -> bytes:
        """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
        full = b"tls13 " + label.encode()
        info = struct.pack(">HB", length, len(full)) + full + b"\0"
        return HKDFExpand(self._hash, length, info).derive(self.secret)

    def next(self) -> _Keys:
        """After a KeyUpdate (RFC 8446 section 7.2)."""
        return _Keys(self.suite, self._expand("traffic upd", self._hash.digest_size))

    def open(self, start: bytes, body: bytes) -> tuple[int, bytes]:
        """(inner content type, content) of a record. Raises InvalidTag."""
        nonce = (self._iv ^ self._count).to_bytes(12)
        self._count += 1
        inner = self._aead.decrypt(nonce, body, start).rstrip(b"\0")
        return (inner[-1], inner[:-1]) if inner else (0, b"")


def _application_data(
    stream: bytes, at: int, suite: _Suite, secrets: Mapping[str, bytes], side: str
) -> Iterator[Record]:
    """One direction's records; ends quietly at one that does not open (a cut, or a key that is not in the log)."""
    try:
        keys = _Keys(suite, secrets[f"{side}_HANDSHAKE_TRAFFIC_SECRET"])
        after_handshake = secrets[f"{side}_TRAFFIC_SECRET_0"]
    except KeyError:
        return
    handshake = bytearray()
    for kind, start, body in _records(stream, at):
        if kind != _APPLICATION_DATA:
            continue
        header = bytes(stream[start : start + 5])
        try:
            inner, content = keys.open(header, body)
        except InvalidTag:
            return
        if inner == _APPLICATION_DATA:
            yield Record(start, start + 5 + len(body), content)
        elif inner == _HANDSHAKE:
            handshake += content
            for message, _ in _messages(handshake):
                if message == _FINISHED:
                    keys = _Keys(suite, after_handshake)
                elif message == _KEY_UPDATE:
                    keys = keys.next()
