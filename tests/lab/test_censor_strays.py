"""Packets that are no ordinary part of a flow reach the censor: IP fragments, and what conntrack takes for invalid."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.message

from censor.packets import ACK, PSH, RST, TCP, UDP, Packet, fragments_of
from censor.packets.forged import datagram
from tests.lab.censor_network import CLIENT, SERVER, Network, in_network
from tests.lab.censor_process import CensorProcess, censoring
from tests.lab.wire import Wire
from tests.unit.censor.analyzers.test_tls import real_hello

RULES = """
[censor]
{head}
[[rule]]
name = "dns"
when = 'dns.name under ["messenger.example"]'
actions = [{{ kind = "drop" }}]

[[rule]]
name = "tls"
when = 'tls.sni under ["messenger.example"]'
actions = [{{ kind = "reset", drop = true }}]
"""
PIECE_BYTES = 16
"""Of a fragment's payload: the name that is asked for begins behind the first one's."""
PORTS = itertools.count(20000)
_IDS = itertools.count(77)
_tcp = struct.Struct("!HHIIBBHHH")
_udp = struct.Struct("!HHHH")


class Strays:
    """The wires of both ends with a censor between them."""

    def __init__(self, network: Network, censor: CensorProcess) -> None:
        self.client, self.server = Wire(network, "client"), Wire(network, "server")
        self.censor = censor

    async def arriving(self, packets: list[bytes]) -> list[Packet]:
        """Which of what the client sends is seen at the server's."""
        self.server.taken()
        for packet in packets:
            self.client.send(packet)
        last = _question("innocent.example", 4)
        self.client.send(last)  # goes the same way, so that what comes at all has come before it
        port = int.from_bytes(last[20:22], "big")
        await self.server.until(lambda seen: seen.source_port == port and not seen.fragmented)
        return [
            packet
            for packet in self.server.taken()
            if packet.source in _CLIENTS and packet.source_port != port and packet.protocol in (TCP, UDP)
        ]


_CLIENTS = (socket.inet_aton(CLIENT[4]), socket.inet_pton(socket.AF_INET6, CLIENT[6]))


@asynccontextmanager
async def _strays(network: Network, head: str = "") -> AsyncIterator[Strays]:
    await network.fetch("innocent.example", 6)  # so that neighbours know each other
    await network.fetch("innocent.example", 4)
    async with censoring(network, RULES.format(head=head)) as censor:
        strays = Strays(network, censor)
        yield strays
        strays.client.close()
        strays.server.close()


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _question(name: str, version: int) -> bytes:
    query = dns.message.make_query(name, "A").to_wire()
    return datagram(
        UDP, _packed(CLIENT[version]), _packed(SERVER[version]), _udp.pack(next(PORTS), 53, 8 + len(query), 0) + query
    )


def _fragments(name: str, version: int) -> list[bytes]:
    header = 20 if version == 4 else 48
    return list(fragments_of(_question(name, version), header + PIECE_BYTES, identification=next(_IDS)))


@in_network
async def test_fragments_are_judged_as_the_whole_that_they_are(network: Network) -> None:
    async with _strays(network) as strays:
        for version in (4, 6):
            assert await strays.arriving(_fragments("innocent.example", version))
            assert await strays.arriving(_fragments("messenger.example", version)) == []
        assert (await strays.censor.counts())["rules"]["dns"]["matched"] == 2


@in_network
async def test_fragments_that_pass_are_judged_one_by_one(network: Network) -> None:
    async with _strays(network, 'fragments = { policy = "pass" }') as strays:
        for version, name in itertools.product((4, 6), ("innocent.example", "messenger.example")):
            sent = _fragments(name, version)
            arrived = await strays.arriving(sent)
            assert [packet.fragment_offset for packet in arrived] == [PIECE_BYTES * i for i in range(len(sent))]
        assert await strays.arriving([_question("messenger.example", 4)]) == []


@in_network
async def test_fragments_are_dropped(network: Network) -> None:
    async with _strays(network, 'fragments = { policy = "drop" }') as strays:
        for version in (4, 6):
            assert await strays.arriving(_fragments("innocent.example", version)) == []
            assert len(await strays.arriving([_question("innocent.example", version)])) == 1


@in_network
async def test_fragments_are_held_until_the_last_has_come(network: Network) -> None:
    async with _strays(network, 'fragments = { policy = "hold", limit = 5 }') as strays:
        for version in (4, 6):
            first, *later = _fragments("messenger.example", version)
            at = 8 if version == 4 else 7
            later = [_with_ttl(one, at, 50) for one in later]
            assert await strays.arriving([first, *later[:-1]]) == []
            arrived = await strays.arriving(later[-1:])
            assert len(arrived) == 1 + len(later)
            assert {packet.ttl for packet in arrived} == {first[at] - 1}
            many = _fragments("a-name-that-takes-more-than-five-fragments-to-carry-it.example", version)
            assert len(many) > 5
            assert await strays.arriving(many) == []


def _with_ttl(packet: bytes, at: int, ttl: int) -> bytes:
    changed = bytearray(packet)
    changed[at] = ttl
    if packet[0] >> 4 == 4:
        changed[10:12] = bytes(2)
        total = sum(struct.unpack("!10H", changed[:20]))
        changed[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


@in_network
async def test_a_hello_in_an_invalid_packet_is_acted_on(network: Network) -> None:
    async with _strays(network) as strays:
        for program in ("iptables", "ip6tables"):
            rule = ("PREROUTING", "-m", "conntrack", "--ctstate", "INVALID", "-m", "length", "--length", "300:")
            await network.kernel(program, "-w", "-t", "mangle", "-A", *rule)
        for version in (4, 6):
            for flags in (PSH | ACK, PSH):
                port, sequence = await _flow(network, strays, version) if flags & ACK else (next(PORTS), 1000)
                hello = real_hello("messenger.example")
                header = _tcp.pack(port, 443, sequence, 1 << 29, 5 << 4, flags, 1000, 0, 0)
                stray = datagram(TCP, _packed(CLIENT[version]), _packed(SERVER[version]), header + hello)
                assert not any(packet.payload for packet in await strays.arriving([stray]))
                reset = await strays.client.until(_reset_to(port))
                assert reset.acknowledgment == (sequence + len(hello)) % (1 << 32)
            saved = await network.kernel("ip6tables-save" if version == 6 else "iptables-save", "-c", "-t", "mangle")
            assert "[2:" in next(
                line for line in saved.splitlines() if "--ctstate INVALID" in line and "-A PRE" in line
            )
        assert (await strays.censor.counts())["rules"]["tls"]["matched"] == 4


def _reset_to(port: int) -> Callable[[Packet], bool]:
    return lambda seen: bool(seen.flags & RST) and seen.destination_port == port


async def _flow(network: Network, strays: Strays, version: int) -> tuple[int, int]:
    """The client's port of a connection that stands, and a sequence number far beyond what it may send."""
    connection = network.socket("client", version)
    await asyncio.get_running_loop().sock_connect(connection, (SERVER[version], 443))
    port: int = connection.getsockname()[1]
    _KEPT.append(connection)
    syn = await strays.server.until(lambda seen: seen.source_port == port)
    return port, (syn.sequence + (1 << 30)) % (1 << 32)


_KEPT: list[socket.socket] = []
"""Open until the process ends."""
