"""A TLS ClientHello that servers answer, written down by hand: what the "tls" probe says. Sans-IO."""

from __future__ import annotations

import struct

# ECDHE with AES-GCM and ChaCha20 (RFC 5289, RFC 7905): a server that has TLS 1.2 knows one of them. Without TLS 1.3's
# key share there is no key to make; a server that has 1.3 alone answers with an alert, which is TLS, too.
_CIPHERS = struct.pack(">6H", 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8)
_GROUPS = struct.pack(">3H", 29, 23, 24)  # x25519, secp256r1, secp384r1 (RFC 8422 section 5.1.1)
# ECDSA and RSA with SHA-256 and more, PSS and PKCS #1 (RFC 8446 section 4.2.3).
_SIGNATURES = struct.pack(">7H", 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806)


def client_hello(random: bytes) -> bytes:
    """One record with a ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2) without SNI: the prober knows addresses only.

    random: 32 bytes.
    """
    extensions = b"".join(
        (
            _extension(10, _vector16(_GROUPS)),  # supported_groups
            _extension(11, b"\x01\x00"),  # ec_point_formats: uncompressed
            _extension(13, _vector16(_SIGNATURES)),  # signature_algorithms
            _extension(0xFF01, b"\x00"),  # renegotiation_info (RFC 5746)
        )
    )
    body = b"\x03\x03" + random + b"\x00" + _vector16(_CIPHERS) + b"\x01\x00" + _vector16(extensions)
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + _vector16(handshake)


def _extension(type_: int, data: bytes) -> bytes:
    return type_.to_bytes(2, "big") + _vector16(data)


def _vector16(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
