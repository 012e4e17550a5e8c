"""What clients send first: TLS, HTTP, QUIC and DNS as real programs write them, and bytes that look like nothing."""

from __future__ import annotations

import contextlib
import random
import ssl
import struct

import dns.message
import dns.rdatatype

ESNI = 0xFFCE
"""The extension of draft-ietf-tls-esni-02, encrypted_server_name."""
_RECORD_HEADER = 5
_RANDOM_END = _RECORD_HEADER + 4 + 2 + 32


def client_hello(name: str) -> bytes:
    """The TLS record with the ClientHello that OpenSSL sends to a server of that name."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(record: bytes, first_bytes: int) -> bytes:
    """The same handshake message in two TLS records, of which the first has so much of it (RFC 8446, section 5.1)."""
    head, message = record[:3], record[_RECORD_HEADER:]
    parts = (message[:first_bytes], message[first_bytes:])
    return b"".join(head + struct.pack("!H", len(part)) + part for part in parts)


def with_extension(record: bytes, kind: int, value: bytes) -> bytes:
    """The ClientHello with one more extension at its end (RFC 8446, section 4.2)."""
    at = _RANDOM_END
    at += 1 + record[at]  # session id
    at += 2 + int.from_bytes(record[at : at + 2], "big")  # cipher suites
    at += 1 + record[at]  # compression methods
    extensions = record[at + 2 :] + struct.pack("!HH", kind, len(value)) + value
    hello = record[_RECORD_HEADER + 4 : at] + struct.pack("!H", len(extensions)) + extensions
    message = record[_RECORD_HEADER : _RECORD_HEADER + 1] + len(hello).to_bytes(3, "big") + hello
    return record[:3] + struct.pack("!H", len(message)) + message


def http_request(host: str, path: str = "/") -> bytes:
    """A GET as curl writes it."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n".encode()


def quic_initial(name: str, version: int = 1) -> bytes:
    """The first datagram of aioquic's client. Raises ImportError: it is not installed."""
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    number = {1: 0x00000001, 2: 0x6B3343CF}[version]
    configuration = QuicConfiguration(
        is_client=True,
        server_name=name,
        alpn_protocols=["h3"],
        supported_versions=[number],
    )
    connection = QuicConnection(configuration=configuration)
    connection.connect(("203.0.113.10", 443), now=0.0)
    return connection.datagrams_to_send(now=0.0)[0][0]


def dns_query(name: str, type_: str, id_: int) -> bytes:
    """A query with recursion desired."""
    query = dns.message.make_query(name, dns.rdatatype.from_text(type_))
    query.id = id_
    return query.to_wire()


def over_tcp(message: bytes) -> bytes:
    """A DNS message behind its length (RFC 1035, section 4.2.2)."""
    return struct.pack("!H", len(message)) + message


def encrypted(chance: random.Random, length: int) -> bytes:
    """What a fully encrypted protocol sends: no exemption of the GFW's of 2021 holds, the first bytes see to that."""
    return b"\x80\x81" + chance.randbytes(length - 2)


def few_bits(chance: random.Random, length: int) -> bytes:
    """Bytes without structure, half as many bits set as random ones have."""
    one, other = chance.randbytes(length), chance.randbytes(length)
    return b"\x80" + bytes(a & b for a, b in zip(one, other, strict=True))[1:]
