"""Packets of a client and a server, and a core that judges them: what the tests of the core are told with."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

import dns.message
from scapy.layers.inet import IP, TCP
from scapy.layers.inet import UDP as Datagram

from censor import packets
from censor.core import Core
from censor.decision import Decision
from censor.packets import ACK, PSH, SYN, UDP
from censor.packets.forged import datagram
from censor.rules import RuleSet
from censor.rules_file import parse_rules
from tests.unit.censor.analyzers.test_tls import real_hello

CLIENT, SERVER = "192.0.2.10", "203.0.113.10"
ISN, SERVER_ISN = 1000, 900_000
HELLO = real_hello("www.messenger.example")
INNOCENT = real_hello("innocent.example")
TLS = 'when = "tls.sni under \\"messenger.example\\""'
_tcp = struct.Struct("!HHIIBBHHH")
_udp = struct.Struct("!HHHH")


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@dataclass
class Ends:
    """A TCP connection or UDP flow; what is sent carries the right numbers by itself unless told otherwise."""

    client: str = CLIENT
    server: str = SERVER
    client_port: int = 40000
    server_port: int = 443
    isn: int = ISN
    server_isn: int = SERVER_ISN
    sent: int = 0
    answered: int = 0

    def syn(self, payload: bytes = b"") -> bytes:
        return self._segment(True, SYN, self.isn, 0, payload)

    def syn_ack(self) -> bytes:
        return self._segment(False, SYN | ACK, self.server_isn, self.isn + 1, b"")

    def ack(self) -> bytes:
        return self.data(b"")

    def data(self, payload: bytes, offset: int | None = None, *, flags: int = ACK | PSH) -> bytes:
        """The client's bytes that start `offset` bytes into its stream; None: the next ones."""
        start = self.sent if offset is None else offset
        self.sent = max(self.sent, start + len(payload))
        return self._segment(True, flags, self.isn + 1 + start, self.server_isn + 1 + self.answered, payload)

    def answer(self, payload: bytes = b"", offset: int | None = None, *, flags: int = ACK | PSH) -> bytes:
        """The server's."""
        start = self.answered if offset is None else offset
        self.answered = max(self.answered, start + len(payload))
        return self._segment(False, flags, self.server_isn + 1 + start, self.isn + 1 + self.sent, payload)

    def handshake(self) -> list[bytes]:
        return [self.syn(), self.syn_ack(), self.ack()]

    def datagram(self, payload: bytes, *, from_client: bool = True) -> bytes:
        source, destination, sport, dport = self._ends(from_client)
        header = _udp.pack(sport, dport, 8 + len(payload), 0)
        return datagram(UDP, source, destination, header + payload)

    def _ends(self, from_client: bool) -> tuple[bytes, bytes, int, int]:
        client, server = packed(self.client), packed(self.server)
        if from_client:
            return client, server, self.client_port, self.server_port
        return server, client, self.server_port, self.client_port

    def _segment(self, from_client: bool, flags: int, sequence: int, ack: int, payload: bytes) -> bytes:
        source, destination, sport, dport = self._ends(from_client)
        mask = 0xFFFFFFFF
        header = _tcp.pack(sport, dport, sequence & mask, ack & mask, 5 << 4, flags, 65535, 0, 0)
        return datagram(packets.TCP, source, destination, header + payload)


def rules(*tables: str, head: str = "") -> RuleSet:
    """Rules called rule0, rule1, ... out of the rest of their tables; `head` stands before them."""
    return parse_rules(f"{head}\n" + "".join(f'[[rule]]\nname = "rule{i}"\n{one}\n' for i, one in enumerate(tables)))


def core(*tables: str, head: str = "", **options: int) -> Core:
    """A core without a kernel: it is told of all packets."""
    made = Core(**options)
    made.set_rules(rules(*tables, head=head))
    return made


def acting(action: str, when: str = TLS, **keys: str) -> str:
    """The table of a rule with one action, a TOML inline table without its braces."""
    return f"{when}\nactions = [{{ {action} }}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def fates(judge: Core, sent: list[bytes], t: float = 0.0) -> list[bool]:
    """Which of the packets pass."""
    return [judge.decide(one, t=t).accept for one in sent]


def names(decision: Decision) -> list[tuple[str, str]]:
    """Rule and action of each hit."""
    return [(hit.rule, hit.action) for hit in decision.hits]


def query(name: str, id_: int = 7, type_: str = "A") -> bytes:
    message = dns.message.make_query(name, type_)
    message.id = id_
    return message.to_wire()


def over_tcp(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def read_answer(packet: bytes) -> dns.message.Message:
    """The DNS message in a forged packet, over UDP or TCP."""
    read = IP(packet)
    if Datagram in read:
        return dns.message.from_wire(bytes(read[Datagram].payload))
    return dns.message.from_wire(bytes(read[TCP].payload)[2:])


def addresses(packet: bytes) -> list[str]:
    """Those in a forged DNS answer."""
    return [record.to_text() for answer in read_answer(packet).answer for record in answer]
