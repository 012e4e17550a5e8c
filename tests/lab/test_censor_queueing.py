"""censor/kernel/queueing.py on real packets: what is queued, with which mark, and what verdicts do."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from scapy.layers.inet import IP, TCP

from censor.kernel import kernel as kernel_module
from censor.kernel.marks import ALIVE, ASK, DROP_AND_WATCH, REPLY, WATCH
from censor.kernel.queueing import HeadRules
from censor.packet_io.nfqueue import QueuedPacket, Verdict
from censor.packets import parse
from tests.lab.censor_network import CLIENT, SERVER, Network, echo, in_network
from tests.lab.censor_queue import (
    EVERYTHING,
    GENERATION,
    PORT,
    QUEUE,
    Datagrams,
    decided,
    marks,
    passes,
    queueing,
    settled,
)


@in_network
async def test_undecided_flows_are_queued_with_their_direction(network: Network) -> None:
    await settled(network)
    with queueing(replace(EVERYTHING, tcp_ports=())) as (_, (queue,)):
        for version in (4, 6):
            datagrams = Datagrams(network, version)
            await datagrams.both()
            await datagrams.both()
            assert marks(queue.taken()) == [0, REPLY, 0, REPLY]
            queue.decide = decided
            await datagrams.there()
            assert marks(queue.taken()) == [0]
            await datagrams.both()
            assert queue.taken() == []
            queue.decide = passes
            datagrams.close()


@in_network
async def test_a_new_generation_queues_decided_flows_once_more(network: Network) -> None:
    head = replace(EVERYTHING, server=False)
    with queueing(head, decided) as (kernel, (queue,)):
        datagrams = Datagrams(network)
        await datagrams.both()
        await kernel.set_head(replace(head, generation=GENERATION + 1))
        assert len(queue.taken()) == 1
        await datagrams.back()
        assert marks(queue.taken()) == [GENERATION | REPLY]
        datagrams.close()


@in_network
async def test_servers_of_undecided_flows_are_left_alone_unless_asked_for(network: Network) -> None:
    with queueing(replace(EVERYTHING, server=False)) as (_, (queue,)):
        datagrams = Datagrams(network)
        await datagrams.both()
        assert marks(queue.taken()) == [0]
        datagrams.close()


@in_network
async def test_watched_flows_are_queued_whatever_their_generation(network: Network) -> None:
    with queueing(replace(EVERYTHING, server=False), lambda _: (Verdict.ACCEPT, GENERATION | WATCH)) as (_, (queue,)):
        datagrams = Datagrams(network)
        await datagrams.both()
        await datagrams.both()
        watched = GENERATION | WATCH
        assert marks(queue.taken()) == [0, watched | REPLY, watched, watched | REPLY]
        queue.decide = decided
        await datagrams.there()
        queue.taken()
        await datagrams.both()
        assert queue.taken() == []
        datagrams.close()


@in_network
async def test_a_dropped_packet_can_have_its_flow_watched(network: Network) -> None:
    await settled(network)
    head = HeadRules(queues=(QUEUE,), generation=GENERATION, fail="closed", tcp_ports=(443,))
    with queueing(head) as (_, (queue,)):
        for version, protocol in ((4, 0x0800), (6, 0x86DD)):
            queue.decide = lambda packet: (Verdict.REPEAT, DROP_AND_WATCH) if _payload(packet) else passes(packet)
            with pytest.raises(TimeoutError):
                await network.connect("innocent.example", version, timeout=0.5)
            ours = [packet for packet in queue.taken() if packet.hw_protocol == protocol]
            first, *again = marks([packet for packet in ours if _payload(packet)])
            assert first == 0
            assert set(again) == {WATCH}  # it was sent again, and its flow is watched


def _payload(packet: QueuedPacket) -> bytes:
    parsed = parse(packet.payload)
    return bytes(parsed.payload) if parsed else b""


@in_network
async def test_flows_are_queued_from_their_syn_on_where_that_is_asked_for(network: Network) -> None:
    with queueing(replace(EVERYTHING, server=False)) as (_, (queue,)):
        flow = await network.connect("innocent.example")
        first = parse(queue.packets[0].payload)
        assert first is not None
        assert first.flags == 0x02  # SYN alone
        flow[1].close()


@in_network
async def test_bare_acknowledgments_of_undecided_flows_pass(network: Network) -> None:
    head = HeadRules(queues=(QUEUE,), generation=GENERATION, tcp_ports=(443,), bare_segments=False)
    with queueing(head, decided) as (kernel, (queue,)):
        assert kernel.bpf_missing == ""
        for version in (4, 6):
            flow = await network.connect("innocent.example", version)
            assert await echo(flow) == b"hello\n"
            assert [_payload(packet)[:1] for packet in queue.taken()] == [b"\x16"]  # the ClientHello and nothing else
            flow[1].close()
        # One byte is payload.
        client = network.socket("client", 4)
        await asyncio.get_running_loop().sock_connect(client, (SERVER[4], 443))
        client.send(b"x")
        assert _payload(await queue.first()) == b"x"
        client.close()


@in_network
async def test_of_whole_flows_without_the_segments_that_have_no_payload_the_opening_syn_and_data_are_queued(
    network: Network,
) -> None:
    await settled(network)
    head = replace(EVERYTHING, udp_ports=(), tcp_ports=(443,), other_protocols=False, bare_segments=False)
    with queueing(head) as (_, (queue,)):
        flow = await network.connect("innocent.example")
        assert await echo(flow) == b"hello\n"
        flow[1].close()
        await flow[1].wait_closed()
        syn, *rest = queue.taken()
        first = parse(syn.payload)
        assert first is not None
        assert first.flags == 0x02  # SYN alone: neither the server's SYN nor the acknowledgment behind it
        assert all(_payload(packet) for packet in rest)
        assert {packet.mark & REPLY for packet in rest} == {0, REPLY}


@in_network
async def test_invalid_packets_are_queued_where_that_is_asked_for(network: Network) -> None:
    nonsense = bytes(IP(src=CLIENT[4], dst=SERVER[4]) / TCP(sport=4000, dport=PORT, flags=0))
    with network.on("client"):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    none = HeadRules(queues=(QUEUE,), generation=GENERATION, udp_ports=(PORT,))
    for head, expected in ((none, b"behind"), (replace(none, invalid=True), nonsense[20:])):
        with queueing(head) as (_, (queue,)):
            raw.sendto(nonsense, (SERVER[4], 0))
            datagrams = Datagrams(network)
            await datagrams.there(b"behind")
            assert (await queue.first()).payload.endswith(expected)
            datagrams.close()
    raw.close()


@in_network
async def test_other_protocols_are_queued_where_that_is_asked_for(network: Network) -> None:
    await settled(network)
    none = HeadRules(queues=(QUEUE,), generation=GENERATION)
    for head, count in ((none, 0), (replace(none, other_protocols=True), 1), (replace(EVERYTHING, fail="open"), 0)):
        with queueing(head, decided) as (_, (queue,)):
            for version in (4, 6):
                assert (await network.run("client", "ping", f"-{version}", "-c1", "-W1", SERVER[version]))[0] == 0
                assert len(queue.taken()) == count


@in_network
async def test_fragments_come_one_by_one_or_together(network: Network) -> None:
    await settled(network)
    none = HeadRules(queues=(QUEUE,), generation=GENERATION, udp_ports=(PORT,))
    with queueing(none) as (kernel, (queue,)):
        for version, header in ((4, 20), (6, 40)):
            datagrams = Datagrams(network, version)
            whole = bytes(range(250)) * 16
            await kernel.set_head(none)
            assert await datagrams.there(whole) == whole
            assert sum(packet.length for packet in queue.taken()) in range(4000, 4200)
            await kernel.set_head(replace(none, fragments=True))
            assert await datagrams.there(whole) == whole
            parts = queue.taken()
            assert len(parts) == 3
            assert all(packet.length <= 1500 and packet.mark == ASK for packet in parts)
            offsets = [int.from_bytes(packet.payload[6:8]) & 0x1FFF for packet in parts] if header == 20 else [0, 1, 2]
            assert offsets == sorted(set(offsets))
            datagrams.close()


@in_network
async def test_both_directions_of_an_address_pair_come_to_one_queue(network: Network) -> None:
    with queueing(replace(EVERYTHING, queues=(100, 101))) as (_, queues):
        used = set()
        for number in range(16, 28):
            address = f"192.0.2.{number}"
            assert (await network.run("client", "ip", "addr", "add", f"{address}/24", "dev", "eth0"))[0] == 0
            datagrams = Datagrams(network, client=address)
            await datagrams.both()
            (here,) = [one for one, queue in enumerate(queues) if queue.packets]
            assert marks(queues[here].taken()) == [0, REPLY]
            used.add(here)
            datagrams.close()
        assert used == {0, 1}


_STRICT = f"""
import asyncio
from censor.kernel.kernel import Kernel
from censor.packet_io.nfqueue import NfQueue, QueueSettings, Verdict
from tests.lab.censor_queue import EVERYTHING, GENERATION
from dataclasses import replace
queue = NfQueue(QueueSettings({QUEUE}))
kernel = Kernel({QUEUE})
kernel.install(replace(EVERYTHING, strict=True))
print("ready", flush=True)
import select
while select.select([queue], [], []):
    for packet in queue.read():
        assert packet.mark & {ALIVE}
        queue.verdict(packet.id, Verdict.ACCEPT, GENERATION)
"""


@in_network
async def test_a_strict_censor_that_dies_stops_decided_flows(network: Network) -> None:
    censor = await asyncio.create_subprocess_exec(sys.executable, "-c", _STRICT, stdout=subprocess.PIPE)
    assert censor.stdout is not None
    assert await censor.stdout.readline() == b"ready\n"
    flow, datagrams = await network.connect("innocent.example"), Datagrams(network)
    assert await echo(flow) == b"hello\n"
    await datagrams.both()
    assert "sidedoor-alive" in await network.kernel("nft", "list", "tables")
    censor.send_signal(signal.SIGKILL)
    await censor.wait()
    for step in (datagrams.there, datagrams.back):
        with pytest.raises(TimeoutError):
            await step()
    with pytest.raises(TimeoutError):
        await echo(flow, timeout=0.5)
    assert "sidedoor-alive" not in await network.kernel("nft", "list", "tables")
    kernel_module.cleanup()
    await datagrams.there()
    flow[1].close()
    datagrams.close()
