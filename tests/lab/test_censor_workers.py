"""A censor with two queues, each with a process of its own: many clients, changes of rules, deaths."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from censor.rules_file import parse_rules
from sidedoor.settings import UsageError
from tests.lab.censor_network import SERVER, Network, echo, in_network, rules
from tests.lab.test_censor_life import RULES, kernel_state, running

TWO = ("--queues", "2")
CLIENTS = [f"192.0.2.{number}" for number in range(100, 120)]
SNI_RST = 'name = "name"\naction = "sni_rst"\ndomains = ["messenger.example"]'
KILL = SNI_RST + '\nexisting_flows = "kill"'
RESIDUAL = """name = "name"
when = 'tls.sni under "messenger.example"'
actions = [{ kind = "drop" }, { kind = "residual", key = "2-tuple", seconds = 60 }]"""

ADDRESSES = f"""[[rule]]
name = "addresses"
when = 'server.address in ["{SERVER[4]}"]'
intended = 'tls.sni under "messenger.example"'
actions = [{{ kind = "drop" }}]"""
PROBE = """[prober]
probes = ["socks5-no-auth"]
delay = [0, 0]
[[rule]]
name = "proxies"
when = "socks.version == 5"
actions = [{ kind = "probe" }]"""


async def add_clients(network: Network) -> None:
    for address in CLIENTS:
        await network.kernel("ip", "-n", "client", "addr", "add", f"{address}/24", "dev", "eth0")


async def reset(network: Network, client: str, name: str = "messenger.example") -> None:
    with pytest.raises(ConnectionResetError):
        await network.fetch(name, source=client)


async def passes(network: Network, client: str, name: str = "innocent.example") -> None:
    assert await network.fetch(name, source=client) == b"hello\n"


def queued() -> dict[int, int]:
    """How many packets each queue has had so far."""
    lines = Path("/proc/net/netfilter/nfnetlink_queue").read_text().splitlines()
    return {int(line.split()[0]): int(line.split()[7]) for line in lines}


def workers(pid: int) -> list[int]:
    """The process ids of a censor's workers, the oldest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"censor.lines.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def ended(pids: list[int]) -> None:
    """Wait for processes that are not ours."""
    loop = asyncio.get_running_loop()
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        async with asyncio.timeout(5):
            await gone.wait()
        loop.remove_reader(descriptor)
        os.close(descriptor)


@in_network
async def test_200_flows_of_20_clients_are_shared_out_and_judged_the_same(network: Network) -> None:
    await add_clients(network)
    async with network.censor(queues=2) as censor:
        await censor.apply(rules(SNI_RST))
        for _ in range(5):
            async with asyncio.TaskGroup() as group:
                for client in CLIENTS:
                    group.create_task(reset(network, client))
                    group.create_task(passes(network, client))
        assert set(queued()) == {100, 101}
        assert min(queued().values()) >= 10
        counts = await censor.statistics()
        assert counts["flows"] == 200
        assert counts["packets_queued"] == censor.packets_queued == sum(queued().values())
        assert counts["packets"] == counts["packets_queued"]
        assert counts["dropped"] >= counts["rules"]["name"]["matched"] == 100
        assert counts["injected"] == counts["rules"]["name"]["injected"] >= 200
    hits = network.events.of("censor_hit", rule="name", action="sni_rst", name="messenger.example")
    assert len({hit["flow"] for hit in hits}) == 100
    assert {hit["flow"].split()[1].split(":")[0] for hit in hits} == set(CLIENTS)
    assert not network.events.of("worker_died")


@in_network
async def test_existing_flows_of_all_workers_are_killed(network: Network) -> None:
    await add_clients(network)
    async with network.censor(queues=2) as censor:
        flows = [await network.connect("messenger.example", source=client) for client in CLIENTS]
        innocent = [await network.connect("innocent.example", source=client) for client in CLIENTS]
        for flow in flows + innocent:
            assert await echo(flow) == b"hello\n"
        await censor.apply(rules(KILL))
        enforced = await network.events.first("rule_enforced")
        assert enforced["before"] < enforced["after"]
        for flow in flows:
            with pytest.raises(ConnectionResetError):
                await echo(flow)
        for flow in innocent:
            assert await echo(flow) == b"hello\n"
        await censor.clear()
        await censor.apply(rules(KILL))  # the generation has moved on in all of them, or this would have failed
        for flow in innocent:
            assert await echo(flow) == b"hello\n"
        for flow in flows + innocent:
            flow[1].close()


@in_network
async def test_a_residual_block_of_a_worker_is_the_kernels(network: Network) -> None:
    await add_clients(network)
    async with network.censor(queues=2) as censor:
        await censor.apply(rules(RESIDUAL))
        for client in CLIENTS[:4]:
            await passes(network, client)
            with pytest.raises(TimeoutError):
                await network.connect("messenger.example", source=client, timeout=0.5)
            await network.events.first("residual_started", client_address=client)
        before = queued()
        for client in CLIENTS[:4]:
            with pytest.raises(TimeoutError):
                await network.connect("innocent.example", source=client, timeout=0.5)
        assert queued() == before
        await passes(network, CLIENTS[4])


@in_network
async def test_a_convicted_proxy_is_known_to_all_workers_and_their_successors(network: Network) -> None:
    await add_clients(network)
    listener = network.socket("server", 4)
    listener.bind((SERVER[4], 1080))
    async with await asyncio.start_server(_greet, sock=listener), network.censor(queues=2) as censor:
        await censor.apply(parse_rules(PROBE))
        assert await greeted(network, CLIENTS[0]) == b"\x05\x00"
        await network.events.first("proxy_convicted", address=SERVER[4], port=1080)
        for client in CLIENTS[:4]:
            with pytest.raises(TimeoutError):
                await greeted(network, client)
        assert (await censor.statistics())["residual_blocks"] == 2
        for number in (1, 2):
            os.kill(workers(os.getpid())[0], signal.SIGKILL)  # the older of them: the other one of the two
            await network.events.first("worker_died", worker=number)
            await network.events.first("worker_replaced", worker=number)
        assert (await censor.statistics())["residual_blocks"] == 2


async def greeted(network: Network, client: str) -> bytes:
    """What the server answers to a SOCKS5 greeting."""
    loop = asyncio.get_running_loop()
    with network.socket("client", 4) as connection:
        connection.bind((client, 0))
        async with asyncio.timeout(0.5):
            await loop.sock_connect(connection, (SERVER[4], 1080))
            await loop.sock_sendall(connection, b"\x05\x01\x00")
            return await loop.sock_recv(connection, 2)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(3)
    writer.write(b"\x05\x00")
    await writer.drain()
    writer.close()


@in_network
async def test_what_the_kernel_drops_is_told_with_what_a_worker_knows_of_it(network: Network) -> None:
    await add_clients(network)
    async with network.censor(queues=2) as censor:
        flows = {
            (client, name): await network.connect(name, source=client)
            for client in CLIENTS[:6]
            for name in ("messenger.example", "innocent.example")
        }
        await censor.apply(parse_rules(ADDRESSES))
        for (client, name), flow in flows.items():
            flow[1].write(b"hello\n")
            hit = await network.events.first("censor_hit", source_address=client, name=name)
            assert (hit["rule"], hit["collateral"]) == ("addresses", name == "innocent.example")
        with pytest.raises(TimeoutError):
            await network.connect("messenger.example", source=CLIENTS[6], timeout=0.5)
        hit = await network.events.first("censor_hit", source_address=CLIENTS[6])  # nobody knows what for
        assert (hit["name"], hit["collateral"]) == ("", True)
    for _, writer in flows.values():
        writer.transport.abort()


@in_network
async def test_lists_reach_the_workers(network: Network) -> None:
    await add_clients(network)
    blocked = network.folder / "blocked.txt"
    text = "name = 'name'\nwhen = 'tls.sni under @blocked'\nactions = [{ kind = 'reset', drop = true }]"
    listed = rules(text + "\nexisting_flows = 'kill'\n[[list]]\nname = 'blocked'\nfile = 'blocked.txt'")
    async with network.censor(queues=2, folder=str(network.folder)) as censor:
        many = "".join(f"name{number}.example\n" for number in range(20_000))  # so many are read by another process
        blocked.write_text(many + "innocent.example\n")
        await censor.apply(listed)
        for client in CLIENTS:
            await reset(network, client, "innocent.example")
            await passes(network, client, "messenger.example")
        blocked.write_text(many + "messenger.example\n")
        await censor.apply(listed)
        for client in CLIENTS:
            await reset(network, client, "messenger.example")
            await passes(network, client, "innocent.example")


@in_network
async def test_reload_and_orderly_end(network: Network) -> None:
    await add_clients(network)
    async with running(network, domain="other.example", options=TWO) as censor:
        pids = workers(censor.process.pid)
        assert len(pids) == 2
        for client in CLIENTS:
            await passes(network, client, "messenger.example")
        (network.folder / "rules.toml").write_text(
            RULES.format(fail="open", strict="false", domain="messenger.example")
        )
        censor.process.send_signal(signal.SIGHUP)
        assert (await censor.event("rule_enforced"))["rule"] == "name"
        for client in CLIENTS:
            await reset(network, client)
        for pid in pids:  # as a service manager does, to all there are
            os.kill(pid, signal.SIGTERM)
        assert await censor.end(signal.SIGTERM) == 0
        assert re.fullmatch(r".*rules read again.*\n", (await censor.stderr.read()).decode())
        await ended(pids)
    assert "sidedoor" not in kernel_state().lower()
    await passes(network, CLIENTS[0], "messenger.example")


@in_network
async def test_a_dead_worker_is_replaced_and_a_second_death_ends_the_censor(network: Network) -> None:
    await add_clients(network)
    for fail in ("open", "closed"):
        async with running(network, fail=fail, options=TWO) as censor:
            first, second = workers(censor.process.pid)
            os.kill(first, signal.SIGKILL)
            died = await censor.event("worker_died")
            assert (died["worker"], died["status"]) == (1, -signal.SIGKILL)
            assert (await censor.event("worker_replaced"))["worker"] == 1
            for client in CLIENTS:
                await reset(network, client)
                await passes(network, client)
            assert second in workers(censor.process.pid)
            (again,) = set(workers(censor.process.pid)) - {second}
            os.kill(again, signal.SIGKILL)
            async with asyncio.timeout(10):
                assert await censor.process.wait() == 1
            said = (await censor.stderr.read()).decode()
            assert re.fullmatch(r"Error: worker 1 \(NFQUEUE 100\) died twice within 10 s, .*\n", said), said
            await ended([second])
        assert "sidedoor" not in kernel_state().lower()
        await passes(network, CLIENTS[0], "messenger.example")


@in_network
async def test_killed_censor_that_fails_open(network: Network) -> None:
    await add_clients(network)
    async with running(network, fail="open", options=TWO) as censor:
        pids = workers(censor.process.pid)
        await reset(network, CLIENTS[0])
        await censor.end(signal.SIGKILL)
        await ended(pids)
        for client in CLIENTS:
            await passes(network, client, "messenger.example")


@in_network
async def test_killed_censor_that_fails_closed(network: Network) -> None:
    await add_clients(network)
    async with running(network, fail="closed", options=TWO) as censor:
        pids = workers(censor.process.pid)
        flow = await network.connect("innocent.example", source=CLIENTS[0])
        assert await echo(flow) == b"hello\n"
        await censor.end(signal.SIGKILL)
        await ended(pids)
        for client in CLIENTS[:3]:
            with pytest.raises(TimeoutError):
                await network.connect("innocent.example", source=client, timeout=0.5)
        assert await echo(flow) == b"hello\n"
        flow[1].close()


@in_network
async def test_a_queue_in_use_is_refused(network: Network) -> None:
    async with running(network, options=("--queue", "101")):
        with pytest.raises(UsageError, match="binding NFQUEUE 101: refused; another process has this number"):
            async with network.censor(queues=2, log_group=101):
                pass
        assert set(queued()) == {101}
        await reset(network, "192.0.2.10")  # the first one goes on
