"""The supervisor's part of a crowd's lab: every client sends to a receiver of its own, until each has been answered.

An entry for `lab.instance.run_crowd`; as a program: `python -m tests.lab.crowd_session CLIENTS` runs one. The result is
a line of JSON: how many acks each client has got, how long all of it took to stand.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from client.policies.sidedoor_settings import SidedoorSettings
from lab.deployment import Deployment
from lab.instance import run_crowd
from lab.runtimes import Runtime
from lab.scenario import Link, Scenario, Traffic
from lab.supervisor import Supervisor
from lab.topology import Crowd

ACKS, WITHIN_SECONDS = 20, 20.0
SCENARIO = Scenario(
    name="crowd",
    description="",
    link=Link(delay_seconds=0.01, jitter_seconds=0.002, loss=0.01),
    traffic=Traffic(interval_seconds=0.02, message_bytes=1000),
)


def run(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """The exit status: 0 when every client has got its acks."""
    return asyncio.run(_run(arguments["clients"], arguments["began"], runtime, state))


async def _run(clients: int, began: float, runtime: Runtime, state: Path) -> int:
    acks: Counter[str] = Counter()
    answered = asyncio.Event()

    def take(event: dict[str, Any]) -> None:
        if event["event"] == "message_acked":
            acks[event["source"]] += 1
            if len(acks) == clients and min(acks.values()) >= ACKS:
                answered.set()

    deployment = Deployment(runtime, state, state)
    await runtime.up()
    deployment.make_certificates()
    async with Supervisor(runtime, state, state / "logs", take, lambda role, status: None) as supervisor:
        await supervisor.start(*deployment.foundation(), deployment.link(SCENARIO, 1))
        numbers = range(1, clients + 1)
        await supervisor.start(*(deployment.receiver(f"receiver{number}") for number in numbers))
        await supervisor.start(
            *(
                deployment.client(f"client{n}", SidedoorSettings(), SCENARIO.traffic, peer=f"receiver{n}")
                for n in numbers
            )
        )
        seconds = time.monotonic() - began
        async with asyncio.timeout(WITHIN_SECONDS):
            await answered.wait()
        for together in deployment.stop_order(supervisor.roles()):
            await supervisor.stop(*together)
    await runtime.down()
    print(json.dumps({"acks": acks, "seconds": seconds}), flush=True)
    return 0


if __name__ == "__main__":
    crowd = Crowd(clients=int(sys.argv[1]))
    arguments = {"clients": crowd.clients, "began": time.monotonic()}
    sys.exit(run_crowd("tests.lab.crowd_session:run", arguments, crowd))
