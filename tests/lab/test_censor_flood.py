"""More flows than the censor remembers: its memory stays bounded, and other flows are decided rightly meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lab.benchmarks.censor.flood import DESTINATION, Sent
from tests.lab.censor_network import Network, in_network
from tests.lab.censor_process import censoring
from tests.lab.test_censor_races import hello_sent
from tests.unit.censor.analyzers.test_tls import real_hello

pytestmark = pytest.mark.alone

FLOWS, REMEMBERED = 200_000, 65_536
BYTES_PER_FLOW = 4096
SERVER = "203.0.113.11"
EVERY_SECONDS = 0.05
_CONNTRACK = Path("/proc/sys/net/netfilter")
RULES = """
[[rule]]
name = "tls"
when = 'tls.sni under ["messenger.example"] or dns.name under ["messenger.example"]'
actions = [{ kind = "reset", drop = true }]
"""


@in_network
async def test_a_flood_of_flows(network: Network) -> None:
    for command in (
        f"ip -n server addr add {SERVER}/24 dev eth0",
        "ip route add 198.18.0.0/15 via 192.0.2.10",
        f"ip route add {DESTINATION} via 203.0.113.10",  # who does not forward: nobody answers
    ):
        await network.kernel(*command.split())
    server = (sys.executable, "-m", "tests.lab.prompt_server", SERVER, f"{SERVER}:443")
    async with network.serving("server", *server), censoring(network, RULES) as censor:
        before = censor.rss_bytes()
        queue = f"/proc/{censor.process.pid}/net/netfilter/nfnetlink_queue"
        flooding = (sys.executable, "-m", "lab.benchmarks.censor.flood", str(FLOWS), queue, DESTINATION)
        with network.on("client"):
            flood = await asyncio.create_subprocess_exec(*flooding, stdout=subprocess.PIPE)
        hellos = {"answered": real_hello("innocent.example"), "reset": real_hello("messenger.example")}
        taken: list[float] = []
        loop = asyncio.get_running_loop()
        while flood.returncode is None:
            for outcome, hello in hellos.items():
                started = loop.time()
                assert await hello_sent(network, hello) == outcome
                taken.append(loop.time() - started)
                await asyncio.sleep(EVERY_SECONDS)
        assert flood.stdout is not None
        sent = msgspec.json.decode(await flood.stdout.read(), type=Sent)
        after = censor.rss_bytes()
        tracked, tracked_most = (int((_CONNTRACK / f"nf_conntrack_{what}").read_text()) for what in ("count", "max"))
        counts = await censor.counts()
    taken.sort()
    print(f"{sent}; {tracked} of {tracked_most} flows in conntrack")
    print(f"{(after - before) / 1e6:.0f} MB more than {before / 1e6:.0f} MB")
    print(f"{len(taken)} flows meanwhile: p50 {taken[len(taken) // 2] * 1e3:.1f} ms, slowest {taken[-1] * 1e3:.1f} ms")
    print(counts)
    assert sent.flows == FLOWS
    assert counts["packets_missed"] == 0
    assert counts["flows"] == REMEMBERED
    assert counts["flows_evicted"] >= FLOWS - REMEMBERED
    assert after - before < REMEMBERED * BYTES_PER_FLOW
    assert len(taken) > 10
