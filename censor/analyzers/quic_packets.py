"""Sans-IO: a QUIC client's Initial packets and what is in them (RFC 9000, RFC 9001; version 2: RFC 9369).

Initials are encrypted, by keys that anyone can derive who has seen the first one's destination connection id.
"""

from __future__ import annotations

import hmac
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LONG_AND_FIXED_BIT, _TYPE_BITS = 0xC0, 0x30
_CONNECTION_ID_BYTES_MAX = 20
_DATAGRAM_BYTES_MIN = 1200  # of a client's first one (RFC 9000, 14.1), asked of versions that nothing else is known of
_INITIALS_MAX = 8  # looked at in one datagram; clients send one, or two
_SAMPLE_BYTES = 16
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6
_uint32 = struct.Struct("!I")
_padding = re.compile(rb"\0+")


def _label(text: str, length_bytes: int) -> bytes:
    """HkdfLabel without context (RFC 8446, 7.1), and the 1 that HKDF-Expand ends its first block with."""
    name = b"tls13 " + text.encode()
    return struct.pack("!HB", length_bytes, len(name)) + name + b"\0\x01"


_CLIENT_SECRET = _label("client in", 32)


@dataclass(frozen=True, slots=True)
class Version:
    """What versions differ in; `initial` to `retry` are the two type bits of the first byte, in their place."""

    salt: bytes
    key: bytes
    iv: bytes
    header_key: bytes
    initial: int
    zero_rtt: int
    retry: int

    @classmethod
    def of(cls, salt: str, prefix: str, initial: int, zero_rtt: int, retry: int) -> Version:
        key, iv, header_key = (
            _label(f"{prefix} {name}", length) for name, length in (("key", 16), ("iv", 12), ("hp", 16))
        )
        return cls(bytes.fromhex(salt), key, iv, header_key, initial, zero_rtt, retry)


VERSIONS = {
    1: Version.of("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic", 0x00, 0x10, 0x30),
    0x6B3343CF: Version.of("0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2", 0x10, 0x20, 0x00),
}


class Initial(NamedTuple):
    """Where in its datagram a packet is: its first byte, its packet number, and the byte behind it."""

    start: int
    number: int
    end: int


class Datagram(NamedTuple):
    """The packets with long headers of a datagram: version and connection ids are the first one's."""

    version: int
    destination: bytes
    source: bytes
    initials: list[Initial]
    """The complete ones; none if the version is not in VERSIONS."""
    opens: bool
    """Whether a client begins a flow like that: an Initial is there, complete or not."""
    zero_rtt: bool


def datagram(data: bytes) -> Datagram | None:
    """The packets of a client's datagram; None if it does not start with a long header, or not with a client's."""
    header = _long_header(data, 0)
    if header is None:
        return None
    number, destination, source, _ = header
    version = VERSIONS.get(number)
    if version is None:
        # Version 0 is a server's list of those that it knows.
        is_long = number > 0 and len(data) >= _DATAGRAM_BYTES_MIN
        return Datagram(number, destination, source, [], True, False) if is_long else None
    initials: list[Initial] = []
    opens = zero_rtt = False
    start = 0
    while header and header[:2] == (number, destination) and len(initials) < _INITIALS_MAX:
        type_ = data[start] & _TYPE_BITS
        opens |= type_ == version.initial
        zero_rtt |= type_ == version.zero_rtt
        place = None if type_ == version.retry else _place(data, start, header[3], type_ == version.initial)
        if place is None:
            break
        if type_ == version.initial:
            initials.append(place)
        start = place.end
        header = _long_header(data, start)
    return Datagram(number, destination, source, initials, opens, zero_rtt)


def _long_header(data: bytes, start: int) -> tuple[int, bytes, bytes, int] | None:
    """Version, destination and source connection id, and where they end (RFC 8999, 5.1; RFC 9000, 17.2)."""
    if len(data) < start + 7 or data[start] & _LONG_AND_FIXED_BIT != _LONG_AND_FIXED_BIT:
        return None
    destination_end = start + 6 + data[start + 5]
    source_start = destination_end + 1
    if source_start > len(data):
        return None
    source_end = source_start + data[destination_end]
    if source_end > len(data) or max(data[start + 5], data[destination_end]) > _CONNECTION_ID_BYTES_MAX:
        return None
    (version,) = _uint32.unpack_from(data, start + 1)
    return version, data[start + 6 : destination_end], data[source_start:source_end], source_end


def _place(data: bytes, start: int, position: int, has_token: bool) -> Initial | None:
    """Where the packet is whose token (if it has one) or length is at `position`; None if it is cut off."""
    try:
        if has_token:
            token_bytes, position = _varint(data, position)
            position += token_bytes
        length, position = _varint(data, position)
    except IndexError:
        return None
    return Initial(start, position, position + length) if position + length <= len(data) else None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer and where it ends (RFC 9000, 16). Raises IndexError if it is cut off."""
    first = data[position]
    if first < 0x40:
        return first, position + 1
    length = 1 << (first >> 6)
    end = position + length
    if end > len(data):
        raise IndexError(end)
    return int.from_bytes(data[position:end], "big") & (1 << 8 * length - 2) - 1, end


class Keys:
    """Takes the protection off a client's Initials (RFC 9001, 5.2 to 5.4)."""

    __slots__ = ("_aead", "_iv", "_mask", "connection_id")

    def __init__(self, version: Version, connection_id: bytes) -> None:
        self.connection_id = connection_id
        initial = hmac.digest(version.salt, connection_id, "sha256")
        secret = hmac.digest(initial, _CLIENT_SECRET, "sha256")
        self._aead = AESGCM(hmac.digest(secret, version.key, "sha256")[:16])
        self._iv = int.from_bytes(hmac.digest(secret, version.iv, "sha256")[:12], "big")
        header_key = hmac.digest(secret, version.header_key, "sha256")[:16]
        self._mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update

    def frames(self, data: bytes, packet: Initial) -> bytes | None:
        """The frames of a packet of the datagram `data`; None if these are not its keys.

        The packet number is taken as it stands: the first ones have no need of more than their lowest bytes.
        """
        start, position, end = packet
        sample = position + 4
        if sample + _SAMPLE_BYTES > end:
            return None
        mask = self._mask(data[sample : sample + _SAMPLE_BYTES])
        first = data[start] ^ mask[0] & 0x0F
        number_bytes = (first & 3) + 1
        payload = position + number_bytes
        number = int.from_bytes(data[position:payload], "big") ^ int.from_bytes(mask[1 : 1 + number_bytes], "big")
        header = bytes((first,)) + data[start + 1 : position] + number.to_bytes(number_bytes, "big")
        try:
            return self._aead.decrypt((self._iv ^ number).to_bytes(12, "big"), data[payload:end], header)
        except InvalidTag:
            return None


def crypto(frames: bytes) -> list[tuple[int, bytes]]:
    """(offset, bytes) of each CRYPTO frame, up to the first frame that is malformed or has no place in an Initial."""
    pieces: list[tuple[int, bytes]] = []
    position = 0
    try:
        while True:
            type_ = frames[position]
            position += 1
            if type_ == _CRYPTO:
                offset, position = _varint(frames, position)
                length, position = _varint(frames, position)
                end = position + length
                if end > len(frames):
                    return pieces
                pieces.append((offset, frames[position:end]))
                position = end
            elif type_ == _PADDING:
                if padding := _padding.match(frames, position):
                    position = padding.end()
            elif type_ in (_ACK, _ACK_ECN):
                position = _ack_end(frames, position, type_ == _ACK_ECN)
            elif type_ != _PING:
                return pieces
    except IndexError:  # the end
        return pieces


def _ack_end(frames: bytes, position: int, has_counts: bool) -> int:
    """Where an ACK frame ends (RFC 9000, 19.3). Raises IndexError if it is cut off."""
    for _ in range(2):
        _, position = _varint(frames, position)
    ranges, position = _varint(frames, position)
    for _ in range(1 + 2 * ranges + 3 * has_counts):
        _, position = _varint(frames, position)
    return position
