"""What is measured: each measurement is one call with one subject on the router and gives its metrics.

Metric names carry their units. `censor_busy`, `generator_busy`: CPU seconds per second, of the censor's process and of
the CPUs that make the flows (which do most of the routing, too); `others_busy`: of all that is none of the benchmark's.
CPU time of processes has steps of 10 ms.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks import iperf
from lab.benchmarks.censor import flood, races
from lab.benchmarks.censor.instance import Instance
from lab.benchmarks.censor.network import SERVER, on, single_segments
from lab.benchmarks.censor.subjects import Kind
from lab.benchmarks.censor.traffic import Traffic
from lab.benchmarks.processes import BenchError, busy_ticks, cpu_seconds, machine_cpu_seconds

Metrics = dict[str, float]

AT_ONCE = 64
LATENCY_FLOWS, LATENCY_FLOWS_PER_SECOND = 500, 200
LATENCY_AT_ONCE = 1000
FLOODED_FLOWS_PER_SECOND = 20
RELOAD_SECONDS = 6.0
"""Flows are opened for so long; the list is exchanged after a quarter of it."""
_IPERF_PORT = 5201
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stage:
    """What measurements are made with. `censor` None: there is none on the router. `cpus`: all that may be used."""

    traffic: Traffic
    censor: Instance | None
    seconds: float
    cpus: Sequence[int]
    iperf3: str | None

    @property
    def generator_cpus(self) -> Sequence[int]:
        """All but the first, which is the censor's; on a machine with one CPU, that one."""
        return self.cpus[1:] or self.cpus


@dataclass(frozen=True, slots=True)
class Measurement:
    """`measure(stage)` raises BenchError. `kinds`: of which subjects; `estimate(seconds)`: how long it takes."""

    name: str
    measure: Callable[[Stage], Metrics]
    kinds: frozenset[Kind]
    estimate: Callable[[float], float]


class Watched:
    """A stretch of time, and what the censor did in it, if there was one."""

    def __init__(self, *, censored: bool) -> None:
        self.censored = censored
        self.seconds = self.cpu_seconds = self.generator_seconds = self.others_seconds = 0.0
        self.packets = 0

    def metrics(self, unit: str, amount: float) -> Metrics:
        """`amount`: how many units were done meanwhile, for the censor's CPU seconds per unit."""
        found = {"others_busy": self.others_seconds / self.seconds}
        if self.censored:
            found["censor_busy"] = self.cpu_seconds / self.seconds
            found["queued_packets_per_second"] = self.packets / self.seconds
            found[f"cpu_seconds_per_{unit}"] = self.cpu_seconds / amount
        return found


@contextlib.contextmanager
def _watched(stage: Stage) -> Iterator[Watched]:
    """Filled in when the context ends without an error."""
    seen, censor = Watched(censored=stage.censor is not None), stage.censor
    cpu, packets = (censor.cpu_seconds, censor.packets_queued) if censor else (0.0, 0)
    others, generator, started = _others_seconds(), _busy_seconds(stage.generator_cpus), time.monotonic()
    yield seen
    seen.seconds = time.monotonic() - started
    seen.generator_seconds = _busy_seconds(stage.generator_cpus) - generator
    seen.others_seconds = max(0.0, _others_seconds() - others)
    if censor:
        censor.check()
        seen.cpu_seconds, seen.packets = censor.cpu_seconds - cpu, censor.packets_queued - packets


def _others_seconds() -> float:
    """CPU time of the machine without this process and what it has started."""
    return machine_cpu_seconds() - cpu_seconds([os.getpid()])


def _busy_seconds(cpus: Sequence[int]) -> float:
    return busy_seconds(Path("/proc/stat").read_text(), cpus)


def busy_seconds(stat: str, cpus: Sequence[int]) -> float:
    """Time in which these CPUs were not idle, from the text of /proc/stat."""
    names = {f"cpu{cpu}" for cpu in cpus}
    return sum(busy_ticks(line) for line in stat.splitlines() if line.partition(" ")[0] in names) / _TICKS


def iperf3(stage: Stage) -> Metrics:
    """One connection from client to server, on a port that is nobody's; whole seconds, as iperf3 has them."""
    if stage.iperf3 is None:
        raise BenchError("iperf3 not found (apt-get install iperf3)")
    seconds = max(1, round(stage.seconds))
    server = [stage.iperf3, "-s", "-p", str(_IPERF_PORT), "-B", SERVER, "--forceflush"]
    client = [stage.iperf3, "-c", SERVER, "-p", str(_IPERF_PORT), "-t", str(seconds), "-J"]
    with _watched(stage) as seen:
        rate, moved = iperf.measure(on("server", server), on("client", client), seconds)
    return seen.metrics("gb", moved / 1e9) | {"gigabits_per_second": rate * 8 / 1e9}


def tls(stage: Stage) -> Metrics:
    """One connection from server to client behind a ClientHello."""
    with stage.traffic.server(), _watched(stage) as seen:
        counted = stage.traffic.bulk(1, stage.seconds)
    rate = counted.bytes / counted.seconds
    return seen.metrics("gb", rate * seen.seconds / 1e9) | {"gigabits_per_second": rate * 8 / 1e9}


def single(stage: Stage) -> Metrics:
    """The same with no packet larger than the MTU."""
    with single_segments():
        return tls(stage)


def new_flows(stage: Stage) -> Metrics:
    """Flows, AT_ONCE of them under way, as fast as they go; the censor has the first CPU, the flows the others."""
    traffic = dataclasses.replace(stage.traffic, cpus=stage.generator_cpus)
    if stage.censor:
        stage.censor.pin(set(stage.cpus[:1]))
    try:
        with traffic.server(), _watched(stage) as seen:
            counted = traffic.open(AT_ONCE, 0, stage.seconds)
    finally:
        if stage.censor:
            stage.censor.pin(set(stage.cpus))
    rate = counted.flows / counted.seconds
    return seen.metrics("1000_flows", rate * seen.seconds / 1000) | {
        "flows_per_second": rate,
        "generator_busy": seen.generator_seconds / seen.seconds,
    }


def first_byte(stage: Stage) -> Metrics:
    """Flows at a moderate rate on an idle machine: from the ClientHello to the first byte of the answer."""
    with stage.traffic.server(), _watched(stage) as seen:
        counted = stage.traffic.open(LATENCY_AT_ONCE, LATENCY_FLOWS_PER_SECOND, latency_seconds(stage.seconds))
    latencies = {"p50_ms": counted.p50_seconds * 1e3, "p99_ms": counted.p99_seconds * 1e3}
    return seen.metrics("1000_flows", counted.flows / 1000) | latencies | {"flows": counted.flows}


def latency_seconds(seconds: float) -> float:
    """LATENCY_FLOWS, or fewer where a measurement is to take less than a second."""
    return LATENCY_FLOWS / LATENCY_FLOWS_PER_SECOND * min(1.0, seconds)


def reload(stage: Stage) -> Metrics:
    """The list is exchanged while flows are opened at a moderate rate: what those notice of it."""
    if stage.censor is None:
        raise BenchError("nobody has a list")
    missed = stage.censor.packets_missed
    with ThreadPoolExecutor(1) as threads, stage.traffic.server():
        flows = threads.submit(stage.traffic.open, LATENCY_AT_ONCE, LATENCY_FLOWS_PER_SECOND, RELOAD_SECONDS)
        time.sleep(RELOAD_SECONDS / 4)
        seconds = stage.censor.reload()
        counted = flows.result()
    return {
        "reload_seconds": seconds,
        "packets_missed": stage.censor.packets_missed - missed,
        "flows": counted.flows,
        "p50_ms": counted.p50_seconds * 1e3,
        "p99_ms": counted.p99_seconds * 1e3,
    }


def flooded(stage: Stage) -> Metrics:
    """More flows than are remembered, as fast as the censor takes them; other flows meanwhile, at a low rate."""
    censor = stage.censor
    if censor is None:
        raise BenchError("nobody remembers flows")
    missed, before, number = censor.packets_missed, censor.pss_bytes, flood.flows(stage.seconds)
    with ThreadPoolExecutor(1) as threads, stage.traffic.server():
        seconds = number / flood.EXPECTED_PER_SECOND
        others = threads.submit(stage.traffic.open, LATENCY_AT_ONCE, FLOODED_FLOWS_PER_SECOND, seconds)
        sent = flood.measure(censor.queue_table, number)
        counted = others.result()
    metrics = {
        "flows": sent.flows,
        "flows_per_second": sent.flows / sent.seconds,
        "packets_missed": censor.packets_missed - missed,
        "p50_ms": counted.p50_seconds * 1e3,
        "p99_ms": counted.p99_seconds * 1e3,
    }
    if before is not None and (after := censor.pss_bytes) is not None:
        metrics |= {"mb_before": before / 1e6, "mb_after": after / 1e6}
    return metrics


def process(stage: Stage) -> Metrics:
    """The censor's memory after all that, and the packets that it did not get to see."""
    if stage.censor is None:
        return {}
    metrics: Metrics = {"packets_missed": stage.censor.packets_missed}
    if (pss := stage.censor.pss_bytes) is not None:
        metrics["pss_bytes"] = pss
    return metrics


_SETUP_SECONDS = 0.25
"""What a measurement takes beside its own time: processes that start and end."""
_PROFILES = frozenset({Kind.PLAIN, Kind.PROFILE, Kind.LIST})
_ALL = _PROFILES | {Kind.EVERY_PACKET}
_CENSORS = _ALL - {Kind.PLAIN}
_RACES = frozenset({Kind.RACE})
_FLOOD = frozenset({Kind.FLOOD})


def _plainly(seconds: float) -> float:
    return seconds * 1.1 + _SETUP_SECONDS


MEASUREMENTS = (
    Measurement("iperf3", iperf3, _PROFILES, lambda seconds: max(1, round(seconds)) + _SETUP_SECONDS),
    Measurement("tls", tls, _ALL, _plainly),
    Measurement("single-segments", single, frozenset({Kind.PLAIN, Kind.EVERY_PACKET}), _plainly),
    Measurement("new-flows", new_flows, _PROFILES, _plainly),
    Measurement("first-byte", first_byte, _PROFILES, lambda seconds: _plainly(latency_seconds(seconds))),
    Measurement("reload", reload, frozenset({Kind.LIST}), lambda seconds: RELOAD_SECONDS + _SETUP_SECONDS),
    Measurement("dns-race", lambda stage: races.dns(stage.seconds), _RACES, races.estimate),
    Measurement("rst-race", lambda stage: races.rst(stage.traffic, stage.seconds), _RACES, races.estimate),
    Measurement("many-flows", flooded, _FLOOD, flood.estimate),
    Measurement("process", process, _CENSORS, lambda seconds: 0.0),
)
