"""Rules by address, on real packets: new and existing flows, both families, what the client sees, what is reported."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.lab.censor_network import SERVER, Network, echo, in_network, rules

DROP = 'name = "addresses"\naction = "drop"\naddresses = ["203.0.113.10", "2001:db8:2::/64"]'
REJECT = DROP.replace('"drop"', '"reject"')
OTHER = 'name = "other"\naction = "drop"\naddresses = ["198.51.100.0/24"]'


@in_network
async def test_drop_silences_existing_and_new_flows(network: Network) -> None:
    async with network.censor() as censor:
        flows = {version: await network.connect("messenger.example", version) for version in (4, 6)}
        for flow in flows.values():
            assert await echo(flow) == b"hello\n"
        await censor.apply(rules(DROP))
        enforced = await network.events.first("rule_enforced", rule="addresses")
        for version, flow in flows.items():
            network.events.clear()
            written = time.monotonic()
            with pytest.raises(TimeoutError):
                await echo(flow, timeout=0.3)
            wanted = {"rule": "addresses", "action": "drop", "destination_address": SERVER[version]}
            hit = await network.events.first("censor_hit", **wanted, name="messenger.example")
            address = SERVER[4] if version == 4 else f"[{SERVER[6]}]"
            assert hit["flow"].endswith(f" > {address}:443")
            assert enforced["after"] <= written <= hit["t"] <= written + 0.1
            with pytest.raises(TimeoutError):
                await network.connect("messenger.example", version, timeout=0.5)
            assert len({one["flow"] for one in network.events.of("censor_hit", **wanted)}) == 2
        await censor.clear()
        for flow in flows.values():  # what TCP held back arrives
            async with asyncio.timeout(5):
                assert await flow[0].readline() == b"hello\n"
            flow[1].close()


@in_network
async def test_packets_from_a_blocked_address_are_dropped_too(network: Network) -> None:
    async with network.censor() as censor:
        here, there = (network.socket(host, 4, socket.SOCK_DGRAM) for host in ("client", "server"))
        here.bind(("192.0.2.10", 5000))
        await censor.apply(rules(DROP))
        there.sendto(b"from the server", ("192.0.2.10", 5000))
        hit = await network.events.first("censor_hit", rule="addresses")
        assert hit["flow"] == f"udp 192.0.2.10:5000 > 203.0.113.10:{there.getsockname()[1]}"
        assert (hit["source_address"], hit["packet_bytes"]) == ("203.0.113.10", 20 + 8 + len(b"from the server"))
        with pytest.raises(BlockingIOError):
            here.recv(100)
        here.close()
        there.close()


@in_network
async def test_reject_tells_the_sender(network: Network) -> None:
    async with network.censor() as censor:
        flows = [await network.connect("messenger.example", version) for version in (4, 6)]
        await censor.apply(rules(REJECT))
        for flow in flows:
            with pytest.raises(ConnectionResetError):
                await echo(flow)
            flow[1].close()
        for version in (4, 6):
            with pytest.raises(ConnectionRefusedError):
                await network.connect("messenger.example", version)


@in_network
async def test_ports_narrow_a_rule(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(DROP + '\nports = [443]\nprotocol = "tcp"'))
        with pytest.raises(TimeoutError):
            await network.connect("innocent.example", timeout=0.5)
        assert (await network.run("client", "dig", "+short", "+tries=1", "innocent.example"))[1].strip() == SERVER[4]


@in_network
async def test_a_flood_is_reported_in_samples(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(DROP))
        sender = network.socket("client", 4, socket.SOCK_DGRAM)
        for _ in range(5000):
            sender.sendto(b"x" * 100, (SERVER[4], 9))
        await network.events.first("censor_hit", rule="addresses")
        assert "packets 5000 " in await _counted(network)
        assert len(network.events.of("censor_hit")) < 500
        sender.close()


@in_network
async def test_a_rule_that_stays_is_not_touched(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(DROP))
        sender = network.socket("client", 4, socket.SOCK_DGRAM)
        sender.sendto(b"x", (SERVER[4], 9))
        await network.events.first("censor_hit", rule="addresses")
        network.events.clear()
        await censor.apply(rules(OTHER, DROP))
        sender.sendto(b"x", (SERVER[4], 9))
        assert [(one["event"], one["rule"]) for one in network.events if one["event"] != "censor_hit"] == [
            ("rule_enforced", "other")
        ]
        assert "packets 2 " in await _counted(network)
        await censor.apply(rules(DROP.replace("2001:db8:2::/64", "2001:db8:3::/64")))
        assert [(one["event"], one["rule"]) for one in network.events if one["event"] != "censor_hit"][1:] == [
            ("rule_lifted", "other"),
            ("rule_lifted", "addresses"),
            ("rule_enforced", "addresses"),
        ]
        assert await network.fetch("innocent.example", 6) == b"hello\n"
        sender.close()


async def _counted(network: Network) -> str:
    return await network.kernel("nft", "list", "table", "inet", "sidedoor")
