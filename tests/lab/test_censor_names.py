"""Rules by name, on real packets and with real clients: DNS forgery, ClientHello drop and RST, existing flows."""

from __future__ import annotations

import asyncio
import socket

import dns.message
import pytest

from tests.lab.censor_network import SERVER, Network, echo, in_network, rules
from tests.unit.censor.analyzers.test_tls import real_hello

NXDOMAIN = 'name = "dns"\naction = "dns_nxdomain"\ndomains = ["messenger.example"]'
FORGE = 'name = "dns"\naction = "dns_forge"\ndomains = ["messenger.example"]\nforged = ["192.0.2.66", "2001:db8:1::66"]'
SNI_RST = 'name = "name"\naction = "sni_rst"\ndomains = ["messenger.example"]'
SNI_DROP = 'name = "name"\naction = "sni_drop"\ndomains = ["messenger.example"]'
KILL = '\nexisting_flows = "kill"'


@in_network
async def test_nxdomain_reaches_a_stub_resolver(network: Network) -> None:
    async with network.censor() as censor:
        assert (await network.run("client", "getent", "ahosts", "messenger.example"))[0] == 0
        await censor.apply(rules(NXDOMAIN))
        assert (await network.run("client", "getent", "ahosts", "messenger.example"))[0] == 2
        assert "NXDOMAIN" in (await network.run("client", "dig", "+tries=1", "WWW.Messenger.Example"))[1]
        _, innocent = await network.run("client", "dig", "+short", "+tries=1", "innocent.example", "AAAA")
        assert innocent.strip() == SERVER[6]
        hit = await network.events.first("censor_hit", rule="dns", action="dns_nxdomain", name="www.messenger.example")
        assert hit["flow"].startswith("udp 192.0.2.10:")
        assert hit["flow"].endswith(" > 203.0.113.10:53")
        assert "www.messenger.example" in [name.lower() for name in network.dns_queries]  # the query passed


@in_network
async def test_forged_addresses_reach_a_stub_resolver(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(FORGE))
        for type_, address in (("A", "192.0.2.66"), ("AAAA", "2001:db8:1::66"), ("HTTPS", "")):
            status, output = await network.run("client", "dig", "+short", "+tries=1", "messenger.example", type_)
            assert (status, output.strip()) == (0, address)
        _, output = await network.run("client", "getent", "ahostsv4", "messenger.example")
        assert output.startswith("192.0.2.66 ")


@in_network
async def test_forged_answer_wins_every_race_and_the_real_one_comes_second(network: Network) -> None:
    loop = asyncio.get_running_loop()
    async with network.censor() as censor:
        await censor.apply(rules(FORGE))
        for _ in range(100):
            resolver = network.socket("client", 4, socket.SOCK_DGRAM)
            await loop.sock_connect(resolver, (SERVER[4], 53))
            await loop.sock_sendall(resolver, dns.message.make_query("messenger.example", "A").to_wire())
            async with asyncio.timeout(5):
                answers = [dns.message.from_wire(await loop.sock_recv(resolver, 2000)) for _ in range(2)]
            assert [answer.answer[0][0].to_text() for answer in answers] == ["192.0.2.66", SERVER[4]]
            resolver.close()


@in_network
async def test_hello_in_one_byte_segments_is_reset(network: Network) -> None:
    loop = asyncio.get_running_loop()
    async with network.censor() as censor:
        await censor.apply(rules(SNI_RST))
        connection = network.socket("client", 4)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connection, (SERVER[4], 443))
        with pytest.raises(ConnectionResetError):
            await _send_bytes(connection, real_hello("messenger.example"))
        assert len(network.events.of("censor_hit", rule="name")) == 1
        assert censor.packets_queued > 10
        connection.close()


async def _send_bytes(connection: socket.socket, data: bytes) -> None:
    """One by one, and wait for the answer."""
    loop = asyncio.get_running_loop()
    for byte in data:
        await loop.sock_sendall(connection, bytes([byte]))
    async with asyncio.timeout(5):
        await loop.sock_recv(connection, 1)


@in_network
async def test_hello_is_reset_at_both_ends(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(SNI_RST))
        for version in (4, 6):
            with pytest.raises(ConnectionResetError):
                await network.fetch("www.messenger.example", version)
            assert await network.fetch("innocent.example", version) == b"hello\n"
        assert len(network.events.of("censor_hit", rule="name", action="sni_rst", name="www.messenger.example")) == 2
        _, sockets = await network.run("server", "ss", "-Htn", "state", "established", "sport", "=", "443")
        assert "ESTAB" not in sockets
        assert len(sockets.strip().splitlines()) <= 2  # the innocent ones, perhaps still closing


@in_network
async def test_curl_sees_the_reset_and_openssl_nothing(network: Network) -> None:
    arguments = ["--cacert", str(network.folder / "certificate.pem"), "-sS", "-m", "5"]
    async with network.censor() as censor:
        assert (await network.run("client", "curl", *arguments, "https://messenger.example/"))[1] == "ok\n"
        await censor.apply(rules(SNI_RST))
        status, output = await network.run("client", "curl", *arguments, "https://messenger.example/")
        assert (status, "reset" in output) == (35, True)
        assert (await network.run("client", "curl", *arguments, "https://innocent.example/"))[1] == "ok\n"
        await censor.apply(rules(SNI_DROP))
        command = ("timeout", "1", "openssl", "s_client", "-connect", f"{SERVER[4]}:443", "-servername")
        assert (await network.run("client", *command, "messenger.example"))[0] == 124
        assert "CONNECTED" in (await network.run("client", *command, "innocent.example"))[1]


@in_network
async def test_dropped_hello_passes_when_the_rule_is_lifted(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(SNI_DROP))
        async with asyncio.TaskGroup() as group:
            fetching = group.create_task(network.fetch("messenger.example"))
            await network.events.first("censor_hit", rule="name", action="sni_drop")
            await censor.clear()
        assert fetching.result() == b"hello\n"
        assert [one["rule"] for one in network.events.of("rule_lifted")] == ["name"]


@in_network
async def test_existing_flow_is_left_alone_unless_killed(network: Network) -> None:
    async with network.censor() as censor:
        flows = [
            await network.connect(name, version)
            for name in ("messenger.example", "innocent.example")
            for version in (4, 6)
        ]
        for flow in flows:
            assert await echo(flow) == b"hello\n"
        await censor.apply(rules(SNI_RST))
        for flow in flows:
            assert await echo(flow) == b"hello\n"
        assert network.events.of("censor_hit") == []

        await censor.apply(rules(SNI_RST + KILL))
        enforced = network.events.of("rule_enforced")[-1]
        for flow in flows[:2]:
            with pytest.raises(ConnectionResetError):
                await echo(flow)
        for flow in flows[2:]:
            assert await echo(flow) == b"hello\n"
        hits = network.events.of("censor_hit", rule="name", action="sni_rst", name="messenger.example")
        assert len({hit["flow"] for hit in hits}) == 2
        assert enforced["before"] <= min(hits[0]["t"], enforced["after"])
        for flow in flows:
            flow[1].close()


@in_network
async def test_existing_flow_that_is_silenced_lives_again_when_the_rule_is_lifted(network: Network) -> None:
    async with network.censor() as censor:
        flow = await network.connect("messenger.example")
        assert await echo(flow) == b"hello\n"
        await censor.apply(rules(SNI_RST + KILL + '\nexisting_action = "drop"'))
        with pytest.raises(TimeoutError):
            await echo(flow, timeout=0.5)
        assert network.events.of("censor_hit", action="sni_drop")
        await censor.clear()
        async with asyncio.timeout(5):
            assert await flow[0].readline() == b"hello\n"
        flow[1].close()


@in_network
async def test_a_flow_that_is_older_than_the_censor_stays_out_of_python(network: Network) -> None:
    reader, writer = await network.connect("messenger.example")
    async with network.censor() as censor:
        await censor.apply(rules(SNI_RST + KILL))
        line = b"x" * 60_000 + b"\n"
        for _ in range(20):
            writer.write(line)
            assert await reader.readline() == line
        assert 1 <= censor.packets_queued <= 40
    writer.close()


@in_network
async def test_a_flow_that_may_pass_leaves_python_behind_its_head(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(SNI_RST + KILL))
        reader, writer = await network.connect("innocent.example")
        before = censor.packets_queued
        line = b"x" * 60_000 + b"\n"
        for _ in range(50):
            writer.write(line)
            await writer.drain()
            received = 0
            while received < len(line):
                received += len(await reader.read(65536))
        assert censor.packets_queued - before <= 2
        assert 2 <= before <= 8
        writer.close()
