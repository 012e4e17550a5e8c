"""A block list of real size: how long it takes to load, what it holds, how long a look-up and a reload take.

Run as a program it is the process that loads the list, and nothing else; `measure` starts it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from censor.lists import formats
from censor.lists.block_list import BlockList
from lab.benchmarks.block_list import sample
from lab.benchmarks.processes import BenchError, last_line

DOMAINS, PREFIXES = 300_000, 100_000
_SEEDS = (1, 2)
_LOOKUPS = 50_000
_LIMIT_SECONDS = 300.0

T = TypeVar("T")


def dumps(folder: Path, domains: int = DOMAINS, prefixes: int = PREFIXES) -> list[Path]:
    """A registry dump of that size, and what has become of it."""
    paths = [folder / f"dump-{seed}.csv" for seed in _SEEDS]
    for path, seed in zip(paths, _SEEDS, strict=True):
        path.write_bytes(sample(domains, prefixes, seed))
    return paths


def measure(paths: Sequence[Path]) -> dict[str, float]:
    """Metrics of a fresh process that loads the first list, and then the second in its place. Raises BenchError."""
    command = [sys.executable, "-m", "lab.benchmarks.censor.lists", *map(str, paths)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"a list was not loaded within {_LIMIT_SECONDS:.0f} s") from None
    if done.returncode:
        raise BenchError(f"a list was not loaded: {last_line(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def status_megabytes(status: str, name: str) -> float:
    """VmRSS or VmHWM, from the text of /proc/PID/status."""
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


def percentiles_us(look: Callable[[T], object], asked: Sequence[T]) -> tuple[float, float]:
    """p50 and p99 of single calls, in microseconds; some 0.05 of each is the clock's."""
    clock, taken = time.perf_counter_ns, []
    for one in asked:
        started = clock()
        look(one)
        taken.append(clock() - started)
    taken.sort()
    return taken[len(taken) // 2] / 1e3, taken[len(taken) * 99 // 100] / 1e3


def _names(blocked: BlockList, rng: random.Random) -> list[str]:
    """Half of them listed, or below a listed one; half of them not."""
    listed = rng.choices(sorted(blocked.domains.names), k=_LOOKUPS // 2)
    found = [f"www.{name}" if number % 2 else name for number, name in enumerate(listed)]
    found += (f"cdn{number}.innocent.example" for number in range(_LOOKUPS // 2))
    rng.shuffle(found)
    return found


def _addresses(rng: random.Random) -> list[bytes]:
    """IPv4 addresses of the range that has the listed ones, about half of which are."""
    return [(0xC6120000 + rng.randrange(1 << 17)).to_bytes(4, "big") for _ in range(_LOOKUPS)]


def main(first: str, second: str) -> None:
    """Load, look up, load anew; the metrics as one line of JSON on stdout."""
    own = Path("/proc/self/status")
    before = status_megabytes(own.read_text(), "VmRSS")
    started = time.monotonic()
    blocked = formats.read(first)
    loaded = time.monotonic()
    status, rng = own.read_text(), random.Random(0)
    name_p50, name_p99 = percentiles_us(blocked.domains.under, _names(blocked, rng))
    address_p50, address_p99 = percentiles_us(blocked.networks.__contains__, _addresses(rng))
    renewing = time.monotonic()
    renewed = formats.read(second)
    renewed.domains.diff(blocked.domains)
    renewed.networks.diff(blocked.networks, 4)
    renewed.networks.diff(blocked.networks, 6)
    metrics = {
        "domains": len(blocked.domains),
        "prefixes": len(blocked.networks),
        "load_seconds": loaded - started,
        "rss_mb": status_megabytes(status, "VmRSS"),
        "list_mb": status_megabytes(status, "VmRSS") - before,
        "peak_mb": status_megabytes(status, "VmHWM"),
        "name_lookup_p50_us": name_p50,
        "name_lookup_p99_us": name_p99,
        "address_lookup_p50_us": address_p50,
        "address_lookup_p99_us": address_p99,
        "reload_seconds": time.monotonic() - renewing,
    }
    print(json.dumps(metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
