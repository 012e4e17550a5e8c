"""The shared counters in Prometheus' words. Only the process that is asked for them loads prometheus_client."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxy.metrics import BUCKETS_SECONDS, DIRECTIONS, FAMILIES, Family, Kind, Metrics, Shared
from sidedoor import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "sidedoor_proxy_"

_BY_WORKER = (Metrics.OPEN_FLOWS, Metrics.OPEN_HANDSHAKES)


def exposition(shared: Shared, proc: Path = Path("/proc")) -> bytes:
    """All metrics of the proxy, in Prometheus' text format. Where there is no `proc`, those of processes are empty."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(shared, proc))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, shared: Shared, proc: Path) -> None:
        self._shared = shared
        self._proc = proc

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        for family in FAMILIES:
            yield self._family(family)
        yield from self._bytes()
        yield from self._user_flows()
        yield from self._processes()
        info = GaugeMetricFamily(f"{PREFIX}build_info", "1; what is running.", labels=("version", "python"))
        info.add_metric((__version__, platform.python_version()), 1)
        yield info

    def _family(self, family: Family) -> Metric:
        counters = self._shared.counters
        name, cells = PREFIX + family.name, range(family.first, family.first + family.cells)
        if family in _BY_WORKER:
            gauge = GaugeMetricFamily(name, family.help, labels=("worker",))
            for place in range(self._shared.places):
                gauge.add_metric((str(place),), counters.of(place, family.first))
            return gauge
        totals = [counters.total(cell) for cell in cells]
        if family.kind is Kind.HISTOGRAM:
            bounds = [*map(str, BUCKETS_SECONDS), "+Inf"]
            buckets = list(zip(bounds, map(float, accumulate(totals[:-1])), strict=True))
            return HistogramMetricFamily(name, family.help, buckets=buckets, sum_value=totals[-1] / 1e6)
        type_ = GaugeMetricFamily if family.kind is Kind.GAUGE else CounterMetricFamily
        metric = type_(name, family.help, labels=tuple(family.labels))
        for labels, total in zip(family.combinations(), totals, strict=True):
            metric.add_metric(labels, total)
        return metric

    def _bytes(self) -> Iterator[Metric]:
        labels = ("user", "direction")
        users = CounterMetricFamily(f"{PREFIX}user_bytes", "The same by user; empty: without a name.", labels=labels)
        total = CounterMetricFamily(f"{PREFIX}bytes", "Bytes delivered, up: to the target.", labels=("direction",))
        sums = [0, 0]
        for slot, name in enumerate(self._shared.ledger.names()):
            for direction, size in enumerate(self._shared.user_bytes(slot)):
                users.add_metric((name, DIRECTIONS[direction]), size)
                sums[direction] += size
        for word, size in zip(DIRECTIONS, sums, strict=True):
            total.add_metric((word,), size)
        yield total
        yield users

    def _user_flows(self) -> Iterator[Metric]:
        ledger = self._shared.ledger
        flows = GaugeMetricFamily(f"{PREFIX}user_open_flows", "Connections that count for max_flows.", labels=("user",))
        used = GaugeMetricFamily(
            f"{PREFIX}user_quota_used_bytes", "Bytes charged to the quota that began last.", labels=("user",)
        )
        for slot, name in enumerate(ledger.names()):
            flows.add_metric((name,), ledger.flows(slot))
            used.add_metric((name,), ledger.used(slot))
        yield flows
        yield used

    def _processes(self) -> Iterator[Metric]:
        labels = ("worker",)
        memory = GaugeMetricFamily(f"{PREFIX}resident_memory_bytes", "Memory of a worker.", labels=labels)
        descriptors = GaugeMetricFamily(f"{PREFIX}open_descriptors", "Descriptors of a worker.", labels=labels)
        cpu = CounterMetricFamily(f"{PREFIX}cpu_seconds", "Time on a CPU of a worker, from its start.", labels=labels)
        for place, pid in self._shared.pids().items():
            if (process := read_process(self._proc / str(pid))) is not None:
                memory.add_metric((str(place),), process.resident_bytes)
                descriptors.add_metric((str(place),), process.descriptors)
                cpu.add_metric((str(place),), process.cpu_seconds)
        yield memory
        yield descriptors
        yield cpu


@dataclass(frozen=True, slots=True)
class Process:
    """What a process uses."""

    resident_bytes: int
    descriptors: int
    cpu_seconds: float


def read_process(folder: Path) -> Process | None:
    """What proc(5) says in a process's `folder`; None where it is gone, or this system has none."""
    try:
        resident_pages = int((folder / "statm").read_bytes().split()[1])
        # The second field is the program's name in parentheses, and may have anything in it.
        fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        descriptors = len(os.listdir(folder / "fd"))
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15
    return Process(resident_pages * os.sysconf("SC_PAGE_SIZE"), descriptors, ticks / os.sysconf("SC_CLK_TCK"))
