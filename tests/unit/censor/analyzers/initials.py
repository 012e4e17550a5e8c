"""ClientHellos, and the Initial packets of QUIC that carry them, protected by aioquic."""

from __future__ import annotations

import struct

from aioquic.quic.crypto import CryptoPair

V1, V2 = 1, 0x6B3343CF
INITIAL = {V1: 0xC0, V2: 0xD0}
ZERO_RTT = {V1: 0xD0, V2: 0xE0}
RETRY = {V1: 0xF0, V2: 0xC0}
DESTINATION, SOURCE = bytes.fromhex("8394c8f03e515708"), b"source"


def hello(name: bytes = b"messenger.example", padding_bytes: int = 0) -> bytes:
    """A ClientHello as QUIC carries it: with the handshake header, without a record."""
    extensions = [
        (0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name),
        (16, b"\0\3\2h3"),
        (21, bytes(padding_bytes)),
    ]
    listed = b"".join(struct.pack("!HH", type_, len(content)) + content for type_, content in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack("!H", len(listed)) + listed
    return b"\1" + len(body).to_bytes(3, "big") + body


def varint(value: int) -> bytes:
    if value < 64:
        return bytes((value,))
    return struct.pack("!H", value | 0x4000) if value < 1 << 14 else struct.pack("!I", value | 0x80000000)


def crypto_frame(offset: int, piece: bytes) -> bytes:
    return b"\6" + varint(offset) + varint(len(piece)) + piece


def long_header(first: int, version: int = V1, destination: bytes = DESTINATION, source: bytes = SOURCE) -> bytes:
    head = bytes((first,)) + version.to_bytes(4, "big")
    return head + bytes((len(destination),)) + destination + bytes((len(source),)) + source


def initial(
    frames: bytes,
    *,
    version: int = V1,
    destination: bytes = DESTINATION,
    keys_of: bytes | None = None,
    source: bytes = SOURCE,
    token: bytes = b"",
    number: int = 0,
    number_bytes: int = 2,
    pad_to: int = 0,
) -> bytes:
    """A client's Initial. `keys_of`: the connection id that the keys are derived from, unless it is `destination`."""
    frames = frames.ljust(max(pad_to, 4), b"\0")  # header protection needs these
    head = long_header(INITIAL[version] | number_bytes - 1, version, destination, source)
    head += varint(len(token)) + token + varint(number_bytes + len(frames) + 16) + number.to_bytes(number_bytes, "big")
    pair = CryptoPair()
    pair.setup_initial(keys_of or destination, is_client=True, version=version)
    return pair.encrypt_packet(head, frames, number)


def zero_rtt(version: int = V1, length: int = 40) -> bytes:
    """A packet whose content nobody can read."""
    return long_header(ZERO_RTT[version], version) + varint(length) + bytes(length)
