"""Real packets against a profile: connections whose numbers go on by themselves, and the core that judges them."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

from censor.core import Core
from censor.decision import Decision
from censor.lists.binding import Lists
from censor.packets import ACK, PSH, RST, SYN, TCP, UDP
from censor.packets.forged import datagram
from censor.packets.headers import TCP_HEADER
from censor.rules import RuleSet
from censor.rules_file import parse_rules

CLIENT, SERVER = "192.0.2.10", "203.0.113.10"
CLIENT_ISN, SERVER_ISN = 1000, 70000
SERVER_TTL = 57


def core_of(profile: str, *tables: str, seconds: float | None = None) -> Core:
    """A core under a profile. `tables`: TOML laid over it; `seconds`: at that moment of its time line, else all of it.

    No kernel stands before it: every packet comes, as out of a file.
    """
    core = Core()
    put_in_force(core, profile, *tables, seconds=seconds)
    return core


def put_in_force(core: Core, profile: str, *tables: str, seconds: float | None = None) -> None:
    """The same for a core that judges by other rules already."""
    rules = rules_of(profile, *tables)
    lists = Lists()
    lists.stage(rules.lists, Path())
    lists.commit()
    core.set_rules(rules if seconds is None else rules.at(seconds / rules.censor.time_scale), lists.holders)


def rules_of(profile: str, *tables: str) -> RuleSet:
    return parse_rules("\n".join([f'censor.profile = "{profile}"', *tables]), origin=profile)


def entries(name: str, *texts: str) -> str:
    """A list as TOML, in the place of the profile's of that name."""
    listed = ", ".join(f'"{text}"' for text in texts)
    return f'[[list]]\nname = "{name}"\nentries = [{listed}]'


class Connection:
    """A TCP connection. `t`: when its next packet is seen. Methods return what becomes of the packet they send."""

    def __init__(
        self, core: Core, port: int = 40000, *, client: str = CLIENT, server: str = SERVER, server_port: int = 443
    ) -> None:
        self.core = core
        self.t = 0.0
        self._client, self._server = (ipaddress.ip_address(text).packed for text in (client, server))
        self._port, self._server_port = port, server_port
        self.client_sequence, self.server_sequence = CLIENT_ISN, SERVER_ISN

    def open(self) -> Connection:
        """The three packets of the handshake."""
        self.send(flags=SYN)
        self.receive(flags=SYN | ACK)
        self.send(flags=ACK)
        return self

    def again(self, *, t: float) -> Connection:
        """Another connection between the same ends and ports, opened at `t`."""
        other = Connection.__new__(Connection)
        other.__dict__.update(self.__dict__)
        other.t, other.client_sequence, other.server_sequence = t, CLIENT_ISN + 500_000, SERVER_ISN + 500_000
        return other

    def send(self, payload: bytes = b"", *, flags: int = PSH | ACK) -> Decision:
        return self.core.decide(self.client_packet(payload, flags=flags), t=self.t)

    def receive(self, payload: bytes = b"", *, flags: int = PSH | ACK) -> Decision:
        return self.core.decide(self.server_packet(payload, flags=flags), t=self.t)

    def client_packet(self, payload: bytes = b"", *, flags: int = PSH | ACK) -> bytes:
        acknowledgment = 0 if flags & (SYN | ACK) == SYN else self.server_sequence
        head = self._port, self._server_port, self.client_sequence, acknowledgment
        self.client_sequence += len(payload) + bool(flags & SYN)
        return datagram(TCP, self._client, self._server, _segment(head, flags, payload))

    def server_packet(self, payload: bytes = b"", *, flags: int = PSH | ACK) -> bytes:
        acknowledgment = 0 if flags & (SYN | ACK) == SYN else self.client_sequence
        head = self._server_port, self._port, self.server_sequence, acknowledgment
        self.server_sequence += len(payload) + bool(flags & SYN)
        return datagram(TCP, self._server, self._client, _segment(head, flags, payload), ttl=SERVER_TTL)


def _segment(head: tuple[int, int, int, int], flags: int, payload: bytes) -> bytes:
    return TCP_HEADER.pack(*head, 5 << 4, flags, 0xFFFF, 0, 0) + payload


def udp_packet(
    payload: bytes,
    *,
    port: int = 40000,
    server_port: int = 443,
    client: str = CLIENT,
    server: str = SERVER,
    back: bool = False,
) -> bytes:
    """A client's datagram, or (`back`) the server's answer."""
    ends = [(ipaddress.ip_address(client).packed, port), (ipaddress.ip_address(server).packed, server_port)]
    (source, sport), (destination, dport) = reversed(ends) if back else ends
    header = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    return datagram(UDP, source, destination, header + payload)


def passed(decision: Decision) -> bool:
    """The packet goes on, and nothing is added."""
    return decision.accept and not decision.before and not decision.after and not decision.later


def vanished(decision: Decision) -> bool:
    """The packet is dropped without a word."""
    return not decision.accept and not decision.before and not decision.after and not decision.later


def offloaded(core: Core, packet: bytes, *, t: float = 0.0) -> bool:
    """Whether a kernel in front of the core would hear that it need not ask about the flow any more."""
    decision = core.decide(packet, mark=0, t=t)
    return decision.accept and decision.mark == core.generation and not decision.watch


RESET = RST | ACK
