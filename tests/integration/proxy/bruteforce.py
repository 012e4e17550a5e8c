"""Guessing of passwords, and what others notice of it: `python -m tests.integration.proxy.bruteforce --seconds 60`.

10,000 wrong log-ins a minute come from 127.0.0.2; clients on 127.0.0.3 log in meanwhile, one that is known by now and
ones that come for the first time, whose hash has to be computed. Times with and without the attack are taken in turns
of half a second, so that what else this machine does meets both. Printed as JSON, in milliseconds, is how long a log-in
takes until its verdict. Exit code 1: a median with attack is more than twice the one without.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import click

from proxy.auth import hash_password
from tests.integration.proxy.attack import LOCKED, Credentials, ask, http, outcome, program, socks5

ATTACKER, OTHERS = "127.0.0.2", "127.0.0.3"
RATE = 10_000 / 60
TURN_SECONDS = 0.5
FRESH_PER_TURN = 8
"""First log-ins a turn; each takes a hash, some 30 ms of a core."""
MOST = 2.0
ATTACKS = ("known user", "unknown users", "http", "many sources")


@dataclass
class Times:
    """Seconds per log-in."""

    cached: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, dict[str, float]]:
        """Of each kind: median and 95th percentile in milliseconds, and how many."""
        return {name: _figures(getattr(self, name)) for name in ("cached", "first")}


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
    return {
        "median": round(statistics.median(ordered) * 1000, 2),
        "p95": round(p95 * 1000, 2),
        "number": len(ordered),
    }


def measure(seconds: float, attack: str, folder: Path) -> dict[str, object]:
    """What a proxy of its own, with hashed users, shows under `attack` for `seconds`, half of them without it."""
    fresh = (round(seconds / TURN_SECONDS) + 4) * FRESH_PER_TURN
    hashed = hash_password("right")
    users = ["anna", *(f"new{number}" for number in range(fresh))]
    config = folder / "proxy.toml"
    lines = [f'{name} = "{hashed}"' for name in users]
    config.write_text("\n".join(['listen = ["127.0.0.1:0"]', "[users]", *lines, ""]))
    with program(folder, "--config", str(config)) as running, guesser(running.address, attack) as attacker:
        quiet, noisy, guesses = asyncio.run(_turns(running.address, attacker, seconds, fresh))
        faults = [line for line in running.logged() if line["event"] in ("session_failed", "hash_failed")]
    return {
        "attack": attack,
        "guesses": guesses,
        "guesses_per_minute": round(guesses / (seconds / 2) * 60),
        "without": quiet.figures(),
        "with": noisy.figures(),
        "faults": len(faults),
    }


async def _turns(address: tuple[str, int], attacker: Guesser, seconds: float, fresh: int) -> tuple[Times, Times, int]:
    times = Times(), Times()
    names = (f"new{number}" for number in range(fresh))
    await _log_in(address, "anna")  # now it is known
    guesses = 0
    for turn in range(max(4, round(seconds / TURN_SECONDS))):
        attacked, first = turn % 2 == 1, turn % 4 > 1
        if attacked:
            attacker.begin(TURN_SECONDS)
            await asyncio.sleep(0.05)  # let it come
        ends = time.monotonic() + TURN_SECONDS - 0.1 * attacked
        taken = times[attacked].first if first else times[attacked].cached
        most = len(taken) + (FRESH_PER_TURN if first else 1000)
        while time.monotonic() < ends and len(taken) < most:
            taken.append(await _log_in(address, next(names) if first else "anna"))
            await asyncio.sleep(0.005)
        if attacked:
            guesses += await asyncio.to_thread(attacker.guesses)
    return times[0], times[1], guesses


async def _log_in(address: tuple[str, int], user: str) -> float:
    """How long the verdict takes. Port 0 of the loopback is refused behind it."""
    began = time.perf_counter()
    answer = await ask(address, socks5("127.0.0.1", 0, (user, "right")), source=OTHERS)
    seconds = time.perf_counter() - began
    if outcome(answer) == LOCKED:
        raise AssertionError(f"{user} was not let in: {answer!r}")
    return seconds


# The attacker, a process of its own: what its work costs is not the proxy's.


@dataclass
class Guesser:
    """Guesses for so many seconds, and then says how many guesses there were."""

    process: subprocess.Popen[str]

    def begin(self, seconds: float) -> None:
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)

    def guesses(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def guesser(address: tuple[str, int], attack: str) -> Iterator[Guesser]:
    code = f"from tests.integration.proxy.bruteforce import guess; guess({address!r}, {attack!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Guesser(process)


def guess(address: tuple[str, int], attack: str) -> None:
    """The attacker's program: a number of seconds on stdin is answered with a number of guesses, until the end."""
    print("ready", flush=True)
    numbers = count()
    for line in sys.stdin:
        print(asyncio.run(_flood(float(line), address, attack, numbers)), flush=True)


async def _flood(seconds: float, address: tuple[str, int], attack: str, numbers: Iterator[int]) -> int:
    began, made = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        async for _ in _ticks(began + seconds):
            due = int((time.monotonic() - began) * RATE) + 1
            for _ in range(due - made):
                group.create_task(_wrong(address, attack, next(numbers)), name="a guess")
                made += 1
    return made


async def _ticks(ends: float) -> AsyncIterator[None]:
    while time.monotonic() < ends:
        yield
        await asyncio.sleep(1 / RATE)


async def _wrong(address: tuple[str, int], attack: str, number: int) -> None:
    who: Credentials = (f"user{number}" if attack == "unknown users" else "anna", f"guess{number}")
    wire = http("192.0.2.1", 80, who) if attack == "http" else socks5("192.0.2.1", 80, who)
    source = f"127.1.{number // 250 % 250}.{number % 250 + 1}" if attack == "many sources" else ATTACKER
    with contextlib.suppress(OSError, TimeoutError):
        answer = await ask(address, wire, source=source)
        assert outcome(answer) == LOCKED, answer


def slowed(figures: dict[str, object]) -> dict[str, float]:
    """How many times as long the medians are with the attack as without."""
    found = {}
    for kind in ("cached", "first"):
        without, with_ = (figures[half][kind]["median"] for half in ("without", "with"))  # type: ignore[index]
        found[kind] = round(with_ / without, 2)
    return found


@click.command()
@click.option("--seconds", default=60.0, help="For each attack; half of them are without it.")
@click.option("--attack", "attacks", type=click.Choice(ATTACKS), multiple=True, default=ATTACKS[:3])
def main(seconds: float, attacks: tuple[str, ...]) -> None:
    """Measure what guessing costs others."""
    worst = 0.0
    for attack in attacks:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(seconds, attack, Path(folder))
        ratios = slowed(figures)
        click.echo(json.dumps(figures | {"slower": ratios}))
        worst = max(worst, *ratios.values())
    sys.exit(worst > MOST)


if __name__ == "__main__":
    main()
