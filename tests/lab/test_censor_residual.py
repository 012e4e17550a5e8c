"""censor/kernel/residual_sets.py on real packets: what a residual block hits, what it leaves alone, what is told."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from censor.kernel.kernel import Kernel
from censor.kernel.marks import ASK, CONFIRMED, REPLY
from censor.kernel.queueing import TABLE, HeadRules
from censor.kernel.residual_sets import Residual, Scope, residual_key, residual_set
from censor.packet_io.nflog import LoggedPacket, NfLog
from tests.lab.censor_network import CLIENT, SERVER, Network, echo, in_network
from tests.lab.censor_queue import GENERATION, PORT, QUEUE, Datagrams, decided, marks, passes, queueing, settled

NOTHING = HeadRules(queues=(QUEUE,), generation=GENERATION)
UDP, TCP = 17, 6


def block(
    kernel: Kernel, residual: Residual, version: int = 4, *, client_port: int = 0, port: int = PORT, protocol: int = UDP
) -> None:
    """What the lab's client has with its server is blocked."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    client, server = (socket.inet_pton(family, one[version]) for one in (CLIENT, SERVER))
    key = residual_key(residual.scope, client, server, protocol, client_port, port)
    kernel.block(residual.serial, key, version=version, timeout_ms=90_000)


async def elements(network: Network, residual: Residual, version: int = 4) -> list[Any]:
    name = residual_set(residual.serial, version)
    printed = json.loads(await network.kernel("nft", "-j", "list", "set", "inet", TABLE, name))
    return next(one["set"].get("elem", []) for one in printed["nftables"] if "set" in one)


async def logged(log: NfLog) -> LoggedPacket:
    """The first packet that waits."""
    come = asyncio.Event()
    asyncio.get_running_loop().add_reader(log.fileno(), come.set)
    try:
        async with asyncio.timeout(2):
            await come.wait()
        return log.read()[0]
    finally:
        asyncio.get_running_loop().remove_reader(log.fileno())


@in_network
async def test_three_tuple_in_both_directions(network: Network) -> None:
    await settled(network)
    residual = Residual(1)
    with NfLog(QUEUE) as log, queueing(NOTHING) as (kernel, _):
        await kernel.set_residuals((residual,))
        for version in (4, 6):
            datagrams, other = Datagrams(network, version), Datagrams(network, version, port=PORT + 1)
            await datagrams.both()
            block(kernel, residual, version)
            for step in (datagrams.there, datagrams.back):
                with pytest.raises(TimeoutError):
                    await step()
            assert (await logged(log)).prefix == "residual1"
            await other.both()  # another port of the same server
            datagrams.close()
            other.close()
        assert "packets 4 " in await network.kernel("nft", "list", "chain", "inet", TABLE, "residual1_act")


@in_network
async def test_decided_flows_are_hit_too(network: Network) -> None:
    residual = Residual(1)
    head = HeadRules(queues=(QUEUE,), generation=GENERATION, tcp_ports=(443,))
    with queueing(head, decided) as (kernel, _):
        await kernel.set_residuals((residual,))
        flow = await network.connect("innocent.example")
        assert await echo(flow) == b"hello\n"
        block(kernel, residual, port=443, protocol=TCP)
        with pytest.raises(TimeoutError):
            await echo(flow, timeout=0.5)
        await kernel.set_residuals(())
        async with asyncio.timeout(5):  # what TCP held back
            assert await flow[0].readline() == b"hello\n"
        flow[1].close()


@in_network
async def test_the_client_alone(network: Network) -> None:
    residual = Residual(1, client_only=True)
    with queueing(NOTHING) as (kernel, _):
        await kernel.set_residuals((residual,))
        datagrams = Datagrams(network)
        await datagrams.both()
        block(kernel, residual)
        with pytest.raises(TimeoutError):
            await datagrams.there()
        await datagrams.back()
        datagrams.close()


@in_network
async def test_four_tuple_and_two_tuple(network: Network) -> None:
    narrow, wide = Residual(1, Scope.FOUR_TUPLE), Residual(2, Scope.TWO_TUPLE)
    with queueing(NOTHING) as (kernel, _):
        await kernel.set_residuals((narrow, wide))
        blocked, other = Datagrams(network), Datagrams(network, port=PORT + 1)
        await blocked.both()
        block(kernel, narrow, client_port=blocked.client.getsockname()[1])
        for step in (blocked.there, blocked.back):
            with pytest.raises(TimeoutError):
                await step()
        blocked.client.close()
        blocked.client = other.client  # from another port to the same one
        await blocked.both()
        block(kernel, wide)
        for step in (blocked.there, other.there):
            with pytest.raises(TimeoutError):
                await step()
        assert (await network.run("client", "ping", "-c1", "-W1", SERVER[4]))[0] == 1
        blocked.close()
        other.close()


@in_network
async def test_packets_that_are_hit_begin_the_block_anew(network: Network) -> None:
    residual = Residual(1, refresh_seconds=420)
    with queueing(NOTHING) as (kernel, _):
        await kernel.set_residuals((residual,))
        block(kernel, residual)
        assert [one["elem"]["expires"] <= 90 for one in await elements(network, residual)] == [True]
        datagrams = Datagrams(network)
        with pytest.raises(TimeoutError):
            await datagrams.there()
        (element,) = await elements(network, residual)
        assert 400 < element["elem"]["expires"] <= 420
        datagrams.close()


@in_network
async def test_a_block_that_does_not_always_hit_is_asked_about(network: Network) -> None:
    residual = Residual(1, action="queue")
    with queueing(NOTHING) as (kernel, (queue,)):
        await kernel.set_residuals((residual,))
        datagrams = Datagrams(network)
        await datagrams.both()
        assert queue.taken() == []
        block(kernel, residual)
        await datagrams.there()
        await datagrams.back()
        # Not the first of its flow: the core has not seen what passed before.
        assert marks(queue.taken()) == [ASK | CONFIRMED, ASK | CONFIRMED | REPLY]
        fresh = Datagrams(network, port=PORT + 1)
        block(kernel, residual, port=PORT + 1)
        await fresh.both()
        assert marks(queue.taken()) == [ASK, ASK | CONFIRMED | REPLY]
        fresh.close()
        queue.decide = decided
        await datagrams.there()
        queue.taken()
        queue.decide = passes
        await datagrams.both()
        assert queue.taken() == []  # it was decided
        datagrams.close()


@in_network
async def test_blocks_of_rules_that_stay_go_on(network: Network) -> None:
    first, second = Residual(1), Residual(2)
    with queueing(NOTHING) as (kernel, _):
        await kernel.set_residuals((first,))
        block(kernel, first)
        await kernel.set_residuals((second, first))
        assert len(await elements(network, first)) == 1
        await kernel.set_residuals((second,))
        datagrams = Datagrams(network)
        await datagrams.both()
        datagrams.close()
