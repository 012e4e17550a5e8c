"""Crafted traffic for the tests of the measurement: pcap files and TLS conversations, without a socket.

Packets are built by scapy, which is not what reads them. TLS is real (ssl on memory buffers), so that the key log
and the records are what OpenSSL makes of them.
"""

from __future__ import annotations

import datetime
import os
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from client.messages import Message, encode

REALTIME = 1_795_000_000.25  # a run's start; not a round number, so that a mistake with fractions shows
CLIENT, MESSENGER, PROXY, RESOLVER = "192.0.2.10", "203.0.113.10", "198.51.100.11", "198.18.0.53"

Frame = tuple[float, bytes]


def frame(source: tuple[str, int], destination: tuple[str, int], transport: object) -> bytes:
    """An Ethernet frame; `transport` is a scapy TCP or UDP layer with its payload."""
    transport.sport, transport.dport = source[1], destination[1]  # type: ignore[attr-defined]  # scapy's field
    ip = IPv6 if ":" in source[0] else IP
    # Without addresses scapy would ask the network for them (ARP).
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return bytes(link / ip(src=source[0], dst=destination[0]) / transport)


def udp(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    return frame(source, destination, UDP() / payload)


def tcp(
    source: tuple[str, int], destination: tuple[str, int], flags: str, seq: int, ack: int, payload: bytes = b""
) -> bytes:
    return frame(source, destination, TCP(flags=flags, seq=seq % 2**32, ack=ack % 2**32) / payload)


def pcap(frames: Iterable[Frame], *, start: float = REALTIME) -> bytes:
    """A nanosecond pcap; times are since `start`."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)]
    for t, data in sorted(frames, key=lambda item: item[0]):
        nanoseconds = round((start % 1 + t) * 1e9)
        seconds = int(start) + nanoseconds // 10**9
        out.append(struct.pack("<IIII", seconds, nanoseconds % 10**9, len(data), len(data)) + data)
    return b"".join(out)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key for messenger.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messenger.example")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("messenger.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


class Tls:
    """A TLS 1.3 connection between two memory buffers; its secrets go to `folder`/keys.log."""

    def __init__(self, folder: Path) -> None:
        paths = folder / "certificate.pem", folder / "key.pem"
        if not paths[0].exists():
            certificate(folder)
        near = ssl.create_default_context(cafile=paths[0])
        near.keylog_filename = str(folder / "keys.log")
        far = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        far.load_cert_chain(*paths)
        self._near_in, self._near_out, self._far_in, self._far_out = (ssl.MemoryBIO() for _ in range(4))
        self.near = near.wrap_bio(self._near_in, self._near_out, server_hostname="messenger.example")
        self.far = far.wrap_bio(self._far_in, self._far_out, server_side=True)

    def handshake(self) -> list[tuple[str, bytes]]:
        """The flights: ("up" or "down", bytes), tickets included."""
        flights: list[tuple[str, bytes]] = []
        for end in (self.near, self.far, self.near, self.far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            for direction, out, into in (("up", self._near_out, self._far_in), ("down", self._far_out, self._near_in)):
                if data := out.read():
                    into.write(data)
                    flights.append((direction, data))
        return flights

    def up(self, data: bytes) -> bytes:
        """The record that carries `data` from the client."""
        self.near.write(data)
        return self._near_out.read()

    def down(self, data: bytes) -> bytes:
        """The record that carries `data` to the client."""
        self.far.write(data)
        return self._far_out.read()


def websocket(payload: bytes, *, mask: bytes = b"", opcode: int = 2, final: bool = True) -> bytes:
    """One frame, masked with `mask` if given."""
    size = len(payload)
    length = (
        bytes([size]) if size < 126 else struct.pack(">BH" if size <= 0xFFFF else ">BQ", 126 + (size > 0xFFFF), size)
    )
    if mask:
        length = bytes([length[0] | 0x80]) + length[1:] + mask
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([opcode | (0x80 if final else 0)]) + length + payload


UPGRADE = b"GET /messages HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
SOCKS_UP = (b"\x05\x01\x00", b"\x05\x01\x00\x03\x11messenger.example\x01\xbb")
SOCKS_DOWN = (b"\x05\x00", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")


def message(id_: int) -> bytes:
    """A message record as a masked frame."""
    record = Message("alice", "bob", 7, id_, 1, 0.0, b"hello %d" % id_)
    return websocket(encode(record), mask=os.urandom(4))


@dataclass
class Connection:
    """One TLS connection of the client as packets on both sides of the censor (1 ms apart)."""

    tls: Tls
    port: int
    server: tuple[str, int] = (MESSENGER, 443)
    home: list[Frame] = field(default_factory=list)
    uplink: list[Frame] = field(default_factory=list)
    up_at: int = 1000
    down_at: int = 2**32 - 1500  # wraps soon

    def put(self, direction: str, t: float, flags: str, payload: bytes = b"", *, passes: bool = True) -> None:
        """One packet; not `passes`: the censor drops it. `t` is when the client sends or gets it."""
        client = (CLIENT, self.port)
        if direction == "up":
            data = tcp(client, self.server, flags, self.up_at, self.down_at, payload)
            self.home.append((t, data))
            if passes:
                self.uplink.append((t + 0.001, data))
            self.up_at += len(payload) + ("S" in flags)
        else:
            data = tcp(self.server, client, flags, self.down_at, self.up_at, payload)
            self.uplink.append((t - 0.001, data))
            if passes:
                self.home.append((t, data))
            self.down_at += len(payload) + ("S" in flags)

    def open(self, t: float) -> None:
        """Three-way handshake, SOCKS if the server is a proxy, TLS, upgrade: 20 ms in all."""
        self.put("up", t, "S")
        self.put("down", t + 0.002, "SA")
        if self.server[0] == PROXY:
            for step, (request, reply) in enumerate(zip(SOCKS_UP, SOCKS_DOWN, strict=True)):
                self.put("up", t + 0.003 + step / 1000, "PA", request)
                self.put("down", t + 0.0035 + step / 1000, "PA", reply)
        for step, (direction, data) in enumerate(self.tls.handshake()):
            self.put(direction, t + 0.006 + step / 1000, "PA", data)
        self.put("up", t + 0.015, "PA", self.tls.up(UPGRADE))
        self.put("down", t + 0.02, "PA", self.tls.down(UPGRADED))
