"""Profiles whose numbers are packets, counted on the wire behind the censor, from ends with GSO and without."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from censor.rules_file import profile_rules
from lab.benchmarks.censor.accuracy.payloads import client_hello, quic_initial
from tests.lab.censor_network import CLIENT, SERVER, Network, in_network
from tests.lab.router_wire import Passed, Wire
from tests.unit.censor.analyzers.initials import crypto_frame, hello, initial

PORT = 8443
BULK = bytes(60_000)
WIRE_BYTES = 1500
FLOWS = 6
SECONDS = 1.0
"""An end of a flow that gets nothing sends again after 0.2 s, and then twice as late (RFC 6298)."""


@asynccontextmanager
async def bulk_server(network: Network, version: int) -> AsyncIterator[None]:
    """It sends the BULK to whoever says something, on PORT of the server."""

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(BULK)

    listener = network.socket("server", version)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SERVER[version], PORT))
    server = await asyncio.get_running_loop().create_server(Answer, sock=listener)
    try:
        yield
    finally:
        server.close()


async def single_segments(network: Network, most: int) -> None:
    """How many segments the ends put into a super-packet."""
    for host in ("client", "server"):
        await network.kernel("ip", "-n", host, "link", "set", "eth0", "gso_max_segs", str(most))


async def asked(network: Network, version: int, *pieces: bytes) -> tuple[int, int]:
    """Open a flow with a ClientHello in pieces: its port, and how many bytes came, one BULK at least if all did."""
    loop = asyncio.get_running_loop()
    connection = network.socket("client", version)
    received = 0
    try:
        await loop.sock_connect(connection, (SERVER[version], PORT))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            await loop.sock_sendall(connection, piece)
        while received < len(BULK):
            async with asyncio.timeout(SECONDS):
                received += len(await loop.sock_recv(connection, 65536))
    except TimeoutError:
        pass
    port: int = connection.getsockname()[1]
    connection.close()
    return port, received


async def flows(network: Network, *pieces: bytes) -> AsyncIterator[tuple[int, int]]:
    """Port and received bytes of flows over IPv4 and IPv6, from ends with GSO and without."""
    for most in (65535, 1):
        await single_segments(network, most)
        for version in (4, 6):
            async with bulk_server(network, version):
                for done in await asyncio.gather(*(asked(network, version, *pieces) for _ in range(FLOWS))):
                    yield done


def behind_hello(passed: list[Passed]) -> list[Passed]:
    """What passed behind the ClientHello; its repetition by an end that heard nothing for too long is a packet more."""
    at = next(number for number, one in enumerate(passed) if one.payload.startswith(b"\x16\x03"))
    return passed[at + 1 :]


@in_network
async def test_sni_ii_lets_five_to_eight_more_packets_pass(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(profile_rules("tspu-2022"))
        counts = []
        with Wire() as wire:
            async for port, received in flows(network, client_hello("sni-ii.example")):
                passed = behind_hello(wire.passed(port=port))
                assert all(one.packet.length <= WIRE_BYTES for one in passed)
                assert received < len(BULK)
                counts.append(len(passed))
            assert set(counts) <= {5, 6, 7, 8}
            assert len(set(counts)) > 1
            async for _, received in flows(network, client_hello("innocent.example")):
                assert received == len(BULK)


@in_network
async def test_freeze_after_25_packets_or_15_to_20_kilobytes(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(profile_rules("tspu-2025-freeze"))
        with Wire() as wire:
            async for port, received in flows(network, client_hello("innocent.example")):
                passed = wire.passed(port=port)
                payload = sum(len(one.payload) for one in passed)
                assert all(one.packet.length <= WIRE_BYTES for one in passed)
                assert received < 20_480
                assert len(passed) <= 25
                assert payload <= 20_480
                # What is missing to the limit is less than a packet that would not have fitted.
                assert len(passed) == 25 or payload > 15_360 - WIRE_BYTES
            allowed = client_hello("www.allowed.example")
            for pieces in ([allowed], [allowed[:40], allowed[40:]]):  # browsers' take two segments
                async for _, received in flows(network, *pieces):
                    assert received >= len(BULK)


async def datagrams(network: Network) -> tuple[socket.socket, Any]:
    """A socket on port 443 of the server, and a maker of ones on the client that are connected to it."""
    server = network.socket("server", 4, socket.SOCK_DGRAM)
    server.bind((SERVER[4], 443))

    def client(port: int) -> socket.socket:
        opened = network.socket("client", 4, socket.SOCK_DGRAM)
        opened.bind((CLIENT[4], port))
        opened.connect((SERVER[4], 443))
        return opened

    return server, client


@in_network
async def test_quic_filter_of_china_looks_at_first_datagrams_and_drops_later(network: Network) -> None:
    blocked, innocent = quic_initial("blocked.example"), quic_initial("innocent.example")
    loop = asyncio.get_running_loop()
    async with network.censor() as censor:
        await censor.apply(profile_rules("gfw-quic-2025"))
        server, client = await datagrams(network)
        with Wire() as wire:
            port = 42_000
            whole = hello(b"blocked.example")
            split = [
                initial(crypto_frame(at, whole[at : at + 40]), number=number, pad_to=1200)
                for number, at in enumerate(range(0, len(whole), 40))
            ]
            for sent in ([innocent, blocked], split):
                for one in [client(port := port + 1) for _ in range(20)]:
                    for payload in sent:
                        await loop.sock_sendall(one, payload)
                        assert (await loop.sock_recvfrom(server, 2000))[0] == payload
            assert not network.events.of("residual_started")  # no first datagram had the name
            assert len(wire.passed(port=443)) == 20 * (2 + len(split))

            port = 43_000
            while not network.events.of("residual_started"):
                flow = client(port := port + 1)
                await loop.sock_sendall(flow, blocked)
                assert (await loop.sock_recvfrom(server, 2000))[0] == blocked  # what triggers it gets through
            assert port < 43_020  # each is hit with probability 0.5
            started = network.events.of("residual_started")[0]
            assert (started["rule"], started["key"], started["server_port"]) == ("quic-name", "3-tuple", 443)
            assert round(started["seconds"]) == 180

            other, last = client(44_000), loop.time()
            while loop.time() < last + 2:  # 60 ms to 7.5 s later it begins, for the whole 3-tuple
                before = len(wire.passed(port=443))
                await loop.sock_sendall(other, b"\x40" + bytes(30))
                await asyncio.sleep(0.05)
                if len(wire.passed(port=443)) > before:
                    last = loop.time()
                assert loop.time() < started["t"] + 10
            assert last - started["t"] <= 7.6
            # From the server on nothing is dropped.
            await loop.sock_sendto(server, b"hello", (CLIENT[4], 44_000))
            assert await loop.sock_recv(other, 100) == b"hello"
