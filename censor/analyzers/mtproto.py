"""Sans-IO: the transports of Telegram's MTProto in the first bytes of a client's stream.

Source: core.telegram.org/mtproto/mtproto-transports and /mtproto/description (unencrypted and encrypted messages).

Three cases, by what can be known from outside. The plain transports have a tag or a checksum; abridged has one byte and
a length that must fit a message, which one in 1,000 random streams has, too. The obfuscated transport without a secret
carries its AES key in the clear, and under it the tag (1 in 1.4 billion random streams has one). With a secret, as
proxies for MTProto use it, 64 random bytes are all there is: `mtproto` is false then, and `mtproto.plausible` says that
it cannot be ruled out. What such a proxy puts inside TLS (secrets that start with ee) is TLS here.
"""

from __future__ import annotations

import struct
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Properties, Type

_INIT_BYTES = 64
_TAGS = {b"\xef" * 4: "abridged", b"\xee" * 4: "intermediate", b"\xdd" * 4: "padded-intermediate"}
# What an obfuscated stream must not start with, since servers take it for something else: HTTP and TLS (of the latter
# only 16 03 01 02 is reserved; one random stream in 65,536 starts with the two bytes).
_RESERVED = (b"HEAD", b"POST", b"GET ", b"OPTI", b"\x16\x03")
_QUICK_ACK = 0x80000000
_FULL_OVERHEAD_BYTES = 12  # length, sequence number, checksum
_MESSAGE_BYTES_MAX = 1 << 24
# An encrypted message: key id, message key, then whole AES blocks. An unencrypted one: eight zeros, message id, length.
_ENCRYPTED_OVERHEAD_BYTES = 24
_UNENCRYPTED_OVERHEAD_BYTES = 20
_PADDING_BYTES_MAX = 15
# Test servers' numbers are higher by this, those of servers for media are negative.
_TEST_SERVERS = 10000
_DATA_CENTERS = range(1, 1001)
_LIMIT_BYTES = 16384

_uint32 = struct.Struct("<I")
_HIGH_BITS = int.from_bytes(b"\x80" * _INIT_BYTES, "big")
# Five standard deviations around the mean: of 2 million random payloads one falls outside.
_BITS_SET = range(256 - 56, 256 + 57)
_HIGH_BITS_SET = range(32 - 20, 32 + 21)


def transport(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """Which transport a client's stream starts with.

    `mtproto.transport`: abridged, intermediate, padded-intermediate or full. `mtproto.dc`: which data centre a client
    asks a proxy for; without a proxy these two bytes may be random, and are absent if no data centre has that number.
    """
    first = data[:4]
    if data[:1] == b"\xef":
        return _abridged(data)
    if first in _TAGS:
        return _intermediate(data)
    if data.startswith(_RESERVED):
        return Outcome.OTHER
    if len(data) < 8:
        return Outcome.MORE
    if data[4:8] == b"\0\0\0\0":
        return _full(data)
    return Outcome.MORE if len(data) < _INIT_BYTES else _obfuscated(data[:_INIT_BYTES])


def _abridged(data: bytes) -> Finding | Outcome:
    """0xef, then each message behind its length in words: one byte, or 0x7f and three."""
    if len(data) < 2:
        return Outcome.MORE
    start, words = 2, data[1] & 0x7F  # the eighth bit asks for a quick acknowledgement
    if words == 0x7F:
        if len(data) < 5:
            return Outcome.MORE
        start, words = 5, int.from_bytes(data[2:5], "little")
    return _plain(data, start, words * 4, 0, "abridged")


def _intermediate(data: bytes) -> Finding | Outcome:
    """The tag, then each message behind its length in bytes; padded: up to 15 bytes more."""
    if len(data) < 8:
        return Outcome.MORE
    length = _uint32.unpack_from(data, 4)[0] & ~_QUICK_ACK
    name = _TAGS[data[:4]]
    return _plain(data, 8, length, _PADDING_BYTES_MAX if name == "padded-intermediate" else 0, name)


def _plain(data: bytes, start: int, length: int, padding_bytes_max: int, name: str) -> Finding | Outcome:
    """Whether `length` bytes from `start` on can be a message, of which its first 20 bytes are needed."""
    message = data[start : start + _UNENCRYPTED_OVERHEAD_BYTES]
    if not _UNENCRYPTED_OVERHEAD_BYTES < length <= _MESSAGE_BYTES_MAX:
        return Outcome.OTHER
    if len(message) < _UNENCRYPTED_OVERHEAD_BYTES:
        return Outcome.MORE
    if message[:8] == bytes(8):
        excess = length - _UNENCRYPTED_OVERHEAD_BYTES - _uint32.unpack_from(message, 16)[0]
    else:
        excess = (length - _ENCRYPTED_OVERHEAD_BYTES) % 16
    return _found(name, False, start) if 0 <= excess <= padding_bytes_max else Outcome.OTHER


def _full(data: bytes) -> Finding | Outcome:
    """Length, sequence number (0), message, CRC-32 of all that: the checksum decides, so all of it is waited for."""
    length = _uint32.unpack_from(data)[0]
    if not _FULL_OVERHEAD_BYTES + _UNENCRYPTED_OVERHEAD_BYTES < length <= _LIMIT_BYTES or length % 4:
        return Outcome.OTHER
    if len(data) < length:
        return Outcome.MORE
    if zlib.crc32(data[: length - 4]) != _uint32.unpack_from(data, length - 4)[0]:
        return Outcome.OTHER
    return _found("full", False, length)


def _obfuscated(init: bytes) -> Finding | Outcome:
    """Key at 8, counter at 40, both in the clear; under them the tag at 56 and the data centre at 60."""
    plain = Cipher(algorithms.AES(init[8:40]), modes.CTR(init[40:56])).decryptor().update(init)
    name = _TAGS.get(plain[56:60])
    if name is None:
        return _not_ruled_out() if _looks_random(init) else Outcome.OTHER
    number = int.from_bytes(plain[60:62], "little", signed=True)
    size = abs(number)
    is_known = size in _DATA_CENTERS or size - _TEST_SERVERS in _DATA_CENTERS
    return _found(name, True, _INIT_BYTES, number if is_known else None)


def _looks_random(init: bytes) -> bool:
    """As many bits set, and as many of the bytes' highest ones, as in random bytes: text and padding have fewer."""
    number = int.from_bytes(init, "big")
    return number.bit_count() in _BITS_SET and (number & _HIGH_BITS).bit_count() in _HIGH_BITS_SET


def _found(name: str, obfuscated: bool, consumed: int, data_center: int | None = None) -> Finding:
    properties: Properties = {
        "mtproto": True,
        "mtproto.transport": name,
        "mtproto.obfuscated": obfuscated,
        "mtproto.dc": data_center,
        "mtproto.plausible": True,
    }
    return Finding(properties, consumed)


def _not_ruled_out() -> Finding:
    properties: Properties = {
        "mtproto": False,
        "mtproto.transport": None,
        "mtproto.obfuscated": None,
        "mtproto.dc": None,
        "mtproto.plausible": True,
    }
    return Finding(properties)


ANALYZER = Analyzer(
    "mtproto",
    {
        "mtproto": Type.BOOLEAN,
        "mtproto.transport": Type.TEXT,
        "mtproto.obfuscated": Type.BOOLEAN,
        "mtproto.dc": Type.INTEGER,
        "mtproto.plausible": Type.BOOLEAN,
    },
    stream=transport,
    limit_bytes=_LIMIT_BYTES,
)
