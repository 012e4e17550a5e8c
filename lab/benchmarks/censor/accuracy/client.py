"""The flows of one profile, run on the client: `client.py PROFILE FLOWS` says one line of JSON, what became of them."""

from __future__ import annotations

import asyncio
import random
import sys

import msgspec

from lab.benchmarks.censor.accuracy.flows import HIT_SECONDS, INNOCENT_SECONDS, Flow, Seen, run
from lab.benchmarks.censor.accuracy.results import Counted
from lab.benchmarks.censor.accuracy.truths import Case, numbered, truth
from lab.benchmarks.processes import raise_descriptor_limit


async def counted(profile: str, flows: int) -> list[Counted]:
    """What became of the flows, case by case. They have the same ends every time, and by these the censor draws."""
    chance = random.Random(profile)
    told = truth(profile)
    counts = {case.name: Counted(case.name) for case in told.cases}
    loop = asyncio.get_running_loop()

    async def one(case: Case, flow: Flow) -> None:
        seen: Seen = await run(flow, INNOCENT_SECONDS if case.innocent else HIT_SECONDS)
        counts[case.name].add(seen)

    started = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, (case, flow) in enumerate(numbered(told, flows, chance)):
            await asyncio.sleep(started + number / told.flows_per_second - loop.time())
            group.create_task(one(case, flow), name=f"{case.name} {number}")
    return list(counts.values())


def main() -> None:
    """The command."""
    raise_descriptor_limit()
    profile, flows = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(counted(profile, int(flows)))))


if __name__ == "__main__":
    main()
