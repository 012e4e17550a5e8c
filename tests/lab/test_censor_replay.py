"""What the live censor did and what `sidedoor censor replay` says of a capture of the same packets is the same."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dns.message

from censor.packet_io.pcap import PcapReader, PcapWriter
from censor.packets.checksums import with_ip_header
from tests.lab.censor_network import SERVER, Network, in_network
from tests.lab.censor_process import SIDEDOOR, censoring
from tests.unit.censor.analyzers.test_tls import real_hello

PROMPT = {4: "203.0.113.11", 6: "2001:db8:2::11"}
BLOCKED = "203.0.113.12"
RESIDUAL_SECONDS = 1.0
RULES = f"""
[censor]
seed = 7

[[rule]]
name = "addresses"
when = 'server.address in ["{BLOCKED}"]'
actions = [{{ kind = "drop" }}]

[[rule]]
name = "some"
when = 'tls.sni under ["sometimes.example"]'
probability = 0.5
actions = [{{ kind = "reset" }}]

[[rule]]
name = "dropped"
when = 'tls.sni under ["messenger.example"]'
actions = [{{ kind = "drop", after_packets = 1 }}]

[[rule]]
name = "dns"
when = 'dns.name under ["messenger.example"] and not dns.response'
actions = [{{ kind = "forge_dns", addresses = ["192.0.2.66", "192.0.2.67"], choose = "cyclic", injectors = 2 }}]

[[rule]]
name = "http"
when = 'http.host == "messenger.example"'
actions = [
  {{ kind = "reset", count = 2, offsets = [0, 1460] }},
  {{ kind = "residual", seconds = {RESIDUAL_SECONDS}, then = "reset" }},
]

[[rule]]
name = "udp"
when = 'protocol == "udp" and server.port == 9999'
probability = 0.5
actions = [{{ kind = "reject" }}]
"""
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6, _IGNORE_OUTGOING = 0x0003, 0x0800, 0x86DD, 23
_SOL_PACKET = 263
_LINK_LOCAL = b"\xfe\x80"


class Tap:
    """The packets that come in on a host, from their IP header on."""

    def __init__(self, network: Network, host: str | None) -> None:
        self.packets: list[tuple[float, bytes]] = []
        if host is None:
            self._socket = self._opened()
        else:
            with network.on(host):
                self._socket = self._opened()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    @staticmethod
    def _opened() -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.setblocking(False)
        return opened

    def _read(self) -> None:
        data, (device, kind, *_) = self._socket.recvfrom(65535)
        if device != "lo" and kind in (_ETH_P_IP, _ETH_P_IPV6) and not data[8:24].startswith(_LINK_LOCAL):
            self.packets.append((asyncio.get_running_loop().time(), data))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


class Clients:
    """Flows of the client's, of which it does not matter here what becomes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._loop = asyncio.get_running_loop()

    async def stream(self, version: int, port: int, first: bytes, address: str = "") -> None:
        with self._network.socket("client", version) as connection:
            try:
                async with asyncio.timeout(0.4):
                    await self._loop.sock_connect(connection, (address or PROMPT[version], port))
                    await self._loop.sock_sendall(connection, first)
                    await self._loop.sock_recv(connection, 100)
                    await self._loop.sock_sendall(connection, b"more")
                    await self._loop.sock_recv(connection, 100)
            except (TimeoutError, OSError):
                pass

    async def datagram(self, version: int, port: int, data: bytes) -> None:
        with self._network.socket("client", version, socket.SOCK_DGRAM) as sender:
            await self._loop.sock_connect(sender, (SERVER[version], port))
            for _ in range(2):
                try:
                    async with asyncio.timeout(0.2):
                        await self._loop.sock_sendall(sender, data)
                        await self._loop.sock_recv(sender, 2000)
                except (TimeoutError, OSError):
                    pass

    async def all(self) -> None:
        """Of all kinds, some at a time; those that are blocked beyond their flow one after the other."""
        names = ["sometimes.example", "innocent.example", "messenger.example"]
        for version in (4, 6):
            hellos = [self.stream(version, 443, real_hello(name)) for name in names for _ in range(8)]
            await asyncio.gather(*hellos)
            questions = [dns.message.make_query(name, "A").to_wire() for name in names]
            for question in questions * 2:
                await self.datagram(version, 53, question)
            await asyncio.gather(*(self.datagram(version, 9999, b"hello") for _ in range(12)))
            for host in ("innocent.example", "messenger.example", "innocent.example", "innocent.example"):
                await self.stream(version, 80, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            await self.stream(version, 443, real_hello("innocent.example"))  # another port
            await asyncio.sleep(RESIDUAL_SECONDS + 0.5)
            await self.stream(version, 80, b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n")
        await self.stream(4, 443, real_hello("innocent.example"), BLOCKED)


@in_network
async def test_live_and_replay_agree(network: Network) -> None:
    for address in (f"{PROMPT[4]}/24", f"{BLOCKED}/24"):
        await network.kernel("ip", "-n", "server", "addr", "add", address, "dev", "eth0")
    await network.kernel("ip", "-n", "server", "addr", "add", f"{PROMPT[6]}/64", "dev", "eth0", "nodad")
    for version in (4, 6):
        await network.fetch("innocent.example", version)
    endpoints = [f"{address}:{port}" for address in (PROMPT[4], f"[{PROMPT[6]}]") for port in (80, 443)]
    server = (sys.executable, "-m", "tests.lab.prompt_server", PROMPT[4], *endpoints)
    async with network.serving("server", *server), censoring(network, RULES) as censor:
        came, client, there = Tap(network, None), Tap(network, "client"), Tap(network, "server")
        await Clients(network).all()
        for tap in (came, client, there):
            tap.close()
        counts = await censor.counts()
    live = Counter((hit["flow"], hit["rule"], hit["action"]) for hit in censor.events.of("censor_hit"))
    forged = _forged(client, came) + _forged(there, came)
    verdicts, injected = await _replay(network, came.packets)
    said = Counter(_hits(verdicts))
    assert set(said) == set(live), (set(said) - set(live), set(live) - set(said))
    assert {rule for _, rule, _ in live} == {"addresses", "some", "dropped", "dns", "http", "udp"}
    assert injected == forged, ((injected - forged).total(), (forged - injected).total(), injected.total())
    assert injected.total() > 50
    assert counts["packets_missed"] == 0


def _hits(verdicts: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for verdict in verdicts:
        for hit in (verdict, *verdict.get("also", ())):
            if hit["rule"]:
                yield verdict["flow"], hit["rule"], hit["action"]


def _forged(seen: Tap, came: Tap) -> Counter[bytes]:
    """What the censor sent to a host: all that is seen there but what came to the router and was let pass."""
    return Counter(_plain(data) for _, data in seen.packets) - Counter(_plain(data) for _, data in came.packets)


def _plain(data: bytes) -> bytes:
    """A packet without what changes on the way: TTL and header checksum, and identification, which the kernel gives."""
    if data[0] >> 4 == 6:
        return data[:7] + data[8:]
    length = int.from_bytes(data[2:4], "big")
    return data[:4] + data[6:8] + data[9:10] + data[12:length]


def _forwarded(data: bytes) -> bytes:
    """A packet as the censor is given it, which a router has counted down: an ICMP error quotes that."""
    if data[0] >> 4 == 6:
        return data[:7] + bytes((data[7] - 1,)) + data[8:]
    size = (data[0] & 0x0F) * 4
    return with_ip_header(
        data[:8] + bytes((data[8] - 1,)) + data[9:size], data[size : int.from_bytes(data[2:4], "big")]
    )


async def _replay(network: Network, packets: list[tuple[float, bytes]]) -> tuple[list[dict[str, Any]], Counter[bytes]]:
    """The verdicts on what came, and what would have been injected."""
    capture, verdicts, injected = (network.folder / name for name in ("came.pcap", "verdicts", "injected.pcap"))
    with capture.open("wb") as file:
        writer = PcapWriter(file)
        for t, data in packets:
            writer.write(t, _forwarded(data))
    options = ("--rules", str(network.folder / "rules.toml"), "--verdicts", str(verdicts), "--inject", str(injected))
    status, said = await network.run("client", *SIDEDOOR, "censor", "replay", str(capture), *options)
    assert status == 0, said
    lines = [json.loads(line) for line in verdicts.read_text().splitlines()]
    with injected.open("rb") as file:
        return lines, Counter(_plain(packet.data) for packet in PcapReader(file, "injected"))
