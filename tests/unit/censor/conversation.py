"""What a client and a server say, as packets: for tests of everything that judges packets."""

from __future__ import annotations

import dns.message
from scapy.layers.inet import IP, TCP, UDP

from tests.unit.censor.analyzers.test_tls import real_hello

CLIENT, SERVER = "192.0.2.10", "203.0.113.10"
ISN = 1000
HELLO = real_hello("www.messenger.example")
INNOCENT = real_hello("innocent.example")


def client(payload: bytes = b"", *, port: int = 40000) -> bytes:
    """A segment of the client with the first bytes of its stream."""
    return bytes(IP(src=CLIENT, dst=SERVER) / TCP(sport=port, dport=443, seq=ISN, ack=5, flags="A") / payload)


def server(payload: bytes = b"", *, port: int = 40000) -> bytes:
    """A segment of the server."""
    return bytes(IP(src=SERVER, dst=CLIENT) / TCP(sport=443, dport=port, seq=5, ack=ISN, flags="A") / payload)


def query(name: str) -> bytes:
    """A DNS query for an A record."""
    return bytes(IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=53) / dns.message.make_query(name, "A").to_wire())
