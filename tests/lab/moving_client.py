"""A sender on a host that goes from network to network; what its policy was told, as one JSON object on stdout.

Run inside namespaces of its own (lab.machine.sandbox): `python -m tests.lab.moving_client FOLDER`. The sender's host is
the outer namespace, its gateways are another one. No origin is there: the sender dials in vain all the time, so that
the kernel asks for its gateway's MAC.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from client.certificates import write_self_signed
from client.network_reader import read_network
from client.policies import NetworkChanged, Remember
from client.sender import Sender
from client.settings import OriginAddress, ResolverSettings, SenderSettings
from tests.integration.client.watched_policy import watch_policies
from tests.integration.client.world import Log

SHELL = """
mount -t tmpfs tmpfs /run; mkdir /run/netns; ip netns add gateways; ip link set lo up
ip link add home0 type veth peer name home1 netns gateways
ip link set home0 address 02:fc:00:00:01:01; ip -n gateways link set home1 address 02:fc:00:00:02:01
ip -n gateways addr add 192.0.2.1/24 dev home1; ip -n gateways addr add 198.51.100.1/24 dev home1
ip -n gateways addr add 2001:db8:1::1/64 dev home1 nodad
ip -n gateways link set home1 up; ip link set home0 up
"""
HOME = "ip addr flush dev home0; ip addr add 192.0.2.10/24 dev home0; ip route add default via 192.0.2.1"
OTHER_ADDRESS = HOME.replace("192.0.2.10", "192.0.2.11")
WORK = "ip addr flush dev home0; ip addr add 198.51.100.10/24 dev home0; ip route add default via 198.51.100.1"
OFF = "ip addr flush dev home0"
IPV6 = "ip addr add 2001:db8:1::10/64 dev home0 nodad; ip route add default via 2001:db8:1::1"
NEW_MAC = "ip -n gateways link set home1 address 02:fc:00:00:02:02; ip neigh flush dev home0"
MOVES = {
    "work": WORK,
    "home again": HOME,
    "other address": OTHER_ADDRESS,
    # Taken for home until its MAC is known.
    "same addresses, other gateway": f"{OFF}; {NEW_MAC}; {HOME}",
    "IPv6": f"{OFF}; {IPV6}",
}


def shell(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)


async def gateway_is_known() -> None:
    """Wait until the kernel has the MAC of the gateway, which the sender's dials make it ask for."""
    async with asyncio.timeout(20):
        while (found := read_network()) is None or not found.hardware:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)


async def move(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    watch, log = watch_policies(monkeypatch), Log()
    watch.orders = [Remember("direct", 0.5)]
    settings = SenderSettings(
        name="alice",
        peer="bob",
        origin=OriginAddress("messenger.example"),
        ca_file=str(write_self_signed(folder, ["messenger.example"]).ca),
        resolver=ResolverSettings(hosts={"messenger.example": ("203.0.113.10",)}),
        memory_file=str(folder / "networks.json"),
    )
    found: dict[str, Any] = {}
    shell(HOME)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(Sender(settings, log).run(), name="sender")
        await gateway_is_known()
        await asyncio.sleep(2 * settings.network_poll_seconds)  # Knowing it is no change.
        found["without a change"] = len(watch.told)
        for name, script in MOVES.items():
            began = time.monotonic()
            await asyncio.to_thread(shell, script)
            event = await log.until("network_changed", len(watch.told) + 1, timeout=20)
            found[name] = {"seconds": event["t"] - began}
            if "gateway" in name:
                await gateway_is_known()
                await log.until("network_changed", len(watch.told) + 1, timeout=20)
            told = watch.told[-1]
            assert isinstance(told, NetworkChanged)
            found[name]["remembered"] = dict(told.recollection.rtt_seconds)
        running.cancel()
    found["told"] = len(watch.told)
    found["memory"] = json.loads((folder / "networks.json").read_bytes())
    return found


if __name__ == "__main__":
    shell(SHELL)
    with pytest.MonkeyPatch.context() as patch:
        print(json.dumps(asyncio.run(move(Path(sys.argv[1]), patch))))
