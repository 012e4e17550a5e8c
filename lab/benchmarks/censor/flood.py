"""More flows than a censor remembers, as fast as it takes them: TLS ClientHellos, whole and torn, and DNS questions.

A program for the client: `flood COUNT QUEUE DESTINATION` sends COUNT packets, each of a flow of its own from
198.18.0.0/15 (RFC 2544), and prints a line of JSON (`Sent`). QUEUE is the router's /proc/PID/net/netfilter/
nfnetlink_queue: while more than WAITING_MOST packets wait there, it waits, too, so that none is lost for want of room.
"""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import msgspec

from lab.benchmarks.censor.network import CLIENT, SERVER, call, on
from lab.benchmarks.censor.traffic import client_hello
from lab.benchmarks.processes import BenchError, last_line

FLOWS = 200_000
EXPECTED_PER_SECOND = 10_000
WAITING_MOST = 256
DESTINATION = "203.0.113.200"
"""Routed to the server, which does not forward: nobody answers."""
_ROUTES = ((f"{DESTINATION}/32", SERVER), ("198.18.0.0/15", CLIENT))
_PROGRAM = [sys.executable, "-m", "lab.benchmarks.censor.flood"]
_LIMIT_SECONDS = 240.0
_LOOK_EVERY = 32
_LOOK_SECONDS = 0.0005
_FIRST = 0xC6120000  # 198.18.0.0
_ADDRESSES = 1 << 17
_TORN_BYTES = 200
_ipv4 = struct.Struct("!BBHHHBBHII")
_tcp = struct.Struct("!HHIIBBHHH")
_udp = struct.Struct("!HHHH")


class Sent(msgspec.Struct, frozen=True):
    """waited_seconds: of `seconds`, those in which the queue was full enough."""

    flows: int
    seconds: float
    waited_seconds: float


def flows(seconds: float) -> int:
    """FLOWS, or fewer where a measurement is to take less than a second."""
    return max(1, round(FLOWS * min(1.0, seconds)))


def estimate(seconds: float) -> float:
    """How long it takes, about."""
    return 2.0 + flows(seconds) / EXPECTED_PER_SECOND


def measure(queue: Path, number: int) -> Sent:
    """Send so many from the benchmark's client. Raises BenchError."""
    for network, gateway in _ROUTES:
        call(["ip", "-n", "router", "route", "replace", network, "via", gateway])
    command = on("client", [*_PROGRAM, str(number), str(queue), DESTINATION])
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{number} flows were not taken within {_LIMIT_SECONDS:.0f} s") from None
    if done.returncode:
        raise BenchError(f"flood: {last_line(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=Sent)


class Template:
    """A packet of which only source address and port differ. Checksums (RFC 1071) are sums: all but these is added up
    once. Conntrack takes a packet with a wrong one for invalid."""

    def __init__(self, protocol: int, destination: str, transport: bytes, payload: bytes) -> None:
        self._protocol = protocol
        self._destination = int.from_bytes(socket.inet_aton(destination), "big")
        self._rest = transport[2:] + payload
        self._length = 20 + len(transport) + len(payload)
        self._checksum_at = 14 if protocol == socket.IPPROTO_TCP else 4
        pseudo = struct.pack("!IHH", self._destination, protocol, self._length - 20)
        self._sum = _sum(pseudo) + _sum(b"\0\0" + self._rest)
        self._header_sum = _sum(self._header(0, 0))

    def packet(self, source: int, port: int) -> bytes:
        words = (source >> 16) + (source & 0xFFFF)
        header = self._header(source, _folded(self._header_sum + words))
        checksum = _folded(self._sum + words + port).to_bytes(2, "big")
        at = self._checksum_at
        return b"".join((header, port.to_bytes(2, "big"), self._rest[:at], checksum, self._rest[at + 2 :]))

    def _header(self, source: int, checksum: int) -> bytes:
        return _ipv4.pack(0x45, 0, self._length, 1, 0, 64, self._protocol, checksum, source, self._destination)


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _folded(total: int) -> int:
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def templates(destination: str) -> list[Template]:
    """A whole ClientHello, the beginning of one that never goes on, a DNS question."""
    hello = client_hello("innocent.example")
    question = dns.message.make_query("innocent.example", "A").to_wire()
    tcp = _tcp.pack(0, 443, 1000, 2000, 5 << 4, 0x18, 65535, 0, 0)
    udp = _udp.pack(0, 53, 8 + len(question), 0)
    return [
        Template(socket.IPPROTO_TCP, destination, tcp, hello),
        Template(socket.IPPROTO_TCP, destination, tcp, hello[:_TORN_BYTES]),
        Template(socket.IPPROTO_UDP, destination, udp, question),
    ]


def packets(count: int, destination: str) -> Iterator[bytes]:
    """Each of another flow: the address is another one until all have been used, then the port is."""
    kinds = itertools.cycle(templates(destination))
    for number in range(count):
        yield next(kinds).packet(_FIRST + number % _ADDRESSES, 20_000 + number // _ADDRESSES)


def waiting(table: str) -> int:
    """Packets that wait for a verdict, from the text of nfnetlink_queue (its third column)."""
    return sum(int(line.split()[2]) for line in table.splitlines())


def main(count: str, queue: str, destination: str) -> None:
    """Send them all."""
    table, waited = Path(queue), 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        started = time.monotonic()
        for number, packet in enumerate(packets(int(count), destination)):
            if number % _LOOK_EVERY == 0:
                looked = time.monotonic()
                while waiting(table.read_text()) > WAITING_MOST:
                    time.sleep(_LOOK_SECONDS)
                waited += time.monotonic() - looked
            sender.sendto(packet, (destination, 0))
        sent = Sent(int(count), time.monotonic() - started, waited)
    print(msgspec.json.encode(sent).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
