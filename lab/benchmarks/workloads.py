"""What is measured: each workload is one call that loads one proxy and gives its metrics.

Metric names carry their units. All but idle flows and iperf3 also have `clients_busy`, `target_busy`, `proxy_busy` and
`others_busy`: CPU seconds per second of the load generator's two ends, of the proxy with its children, and of all else
on the machine (for `mixed`: while the chats are alone).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks import iperf, processes
from lab.benchmarks.generator import Counted, Generator, Load, Target
from lab.benchmarks.peers import Running
from lab.benchmarks.processes import BenchError

Metrics = dict[str, float]

IDLE_FLOWS = 5000
CHATS, CHAT_INTERVAL_SECONDS, BULK_FLOWS = 200, 0.1, 4
SLOW_FLOWS, SLOW_BYTES, SLOW_INTERVAL_SECONDS = 8, 65536, 0.1
CONNECTING = 32
_SPARE_DESCRIPTORS = 500
_SETTLE_SECONDS = 0.3
_SETUP_SECONDS = 0.15
"""What a measurement takes beside its own time: processes that start, connections that are made."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What measurements are made with. `fresh()` gives another instance of the peer that is measured."""

    generator: Generator
    target: Target
    chat_target: Target
    seconds: float
    idle_flows: int
    folder: Path
    fresh: Callable[[], contextlib.AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Workload:
    """`measure(stage, server)` raises BenchError. `fixed`: works through a proxy with a fixed target, too."""

    name: str
    group: str
    measure: Callable[[Stage, Running], Metrics]
    estimate: Callable[[float], float]
    fixed: bool = True


def bulk(mode: str, connections: int) -> Workload:
    """Bytes for as long as they go: `mode` d, u or b (down, up, both)."""

    def measure(stage: Stage, server: Running) -> Metrics:
        counted, shares, cpu = _run(stage, server, Load(mode, connections))
        return shares | _bulk_metrics(counted, cpu, server)

    word = {"d": "down", "u": "up", "b": "both"}[mode]
    return Workload(f"bulk-{word}-{connections}", "bulk", measure, _plainly)


def ping(message_bytes: int, connections: int) -> Workload:
    """Messages that are echoed, one under way on each connection."""

    def measure(stage: Stage, server: Running) -> Metrics:
        counted, shares, cpu = _run(stage, server, Load("p", connections, message_bytes))
        if not counted.messages:
            raise BenchError("no message came back")
        metrics = {"messages_per_second": counted.messages / counted.seconds} | _latencies(counted)
        if server.pids:
            metrics["cpu_seconds_per_100k_messages"] = cpu / counted.messages * 1e5
        return shares | metrics

    size = f"{message_bytes}B" if message_bytes < 1024 else f"{message_bytes // 1024}KB"
    return Workload(f"ping-{size}-{connections}", "ping", measure, _plainly)


def _connects(stage: Stage, server: Running) -> Metrics:
    counted, shares, cpu = _run(stage, server, Load("c", CONNECTING))
    if not counted.connects:
        raise BenchError("no connection was made")
    metrics = {"connects_per_second": counted.connects / counted.seconds}
    if server.pids:
        metrics["cpu_seconds_per_1000_connects"] = cpu / counted.connects * 1000
    return shares | metrics


def _idle(stage: Stage, server: Running) -> Metrics:
    """Idle flows; half as many where the proxy cannot hold them (Go's holds six descriptors for a flow)."""
    try:
        return _idle_flows(stage, stage.idle_flows)
    except BenchError:
        return _idle_flows(stage, stage.idle_flows // 2)


def _idle_flows(stage: Stage, flows: int) -> Metrics:
    """Flows that are silent after one message, through a fresh proxy that has relayed on eight connections before."""
    with stage.fresh() as server:
        proxy_port, target_port = _ports(server, stage.target)
        _run(stage, server, Load("p", 8), 0.1)
        time.sleep(_SETTLE_SECONDS)
        base, kernel, cpu = processes.memory(server.pids), processes.kernel_bytes(), server.cpu_seconds()
        load = Load("i", flows)
        with stage.generator.clients(load, proxy_port=proxy_port, target_port=target_port, seconds=0) as clients:
            clients.started()
            cpu = server.cpu_seconds() - cpu
            time.sleep(_SETTLE_SECONDS)
            held, kernel = processes.memory(server.pids), processes.kernel_bytes() - kernel
            counted = clients.stop()
    if counted.standing != flows:
        raise BenchError(f"{flows - counted.standing} of {flows} idle flows ended")
    metrics: Metrics = {"flows": flows, "kernel_bytes_per_flow": kernel / flows}
    if not server.pids:
        return metrics
    metrics["cpu_seconds_per_1000_flows"] = cpu / flows * 1000
    if base.pss_bytes is not None and held.pss_bytes is not None:
        metrics["base_pss_bytes"] = base.pss_bytes
        metrics["pss_bytes_per_flow"] = (held.pss_bytes - base.pss_bytes) / flows
    if base.descriptors is not None and held.descriptors is not None:
        metrics["descriptors_per_flow"] = (held.descriptors - base.descriptors) / flows
        metrics["pipes"] = held.pipes or 0
    return metrics


def _mixed(stage: Stage, server: Running) -> Metrics:
    """Chats alone, then beside bulk flows; the ends of the chats and of the bulk flows are processes of their own."""
    chat = Load("p", CHATS, interval_seconds=CHAT_INTERVAL_SECONDS)
    seconds = _chat_seconds(stage.seconds)
    alone, shares, cpu = _run(stage, server, chat, seconds, target=stage.chat_target)
    metrics = shares | _latencies(alone, "alone_")
    if server.pids and alone.messages:
        metrics["cpu_seconds_per_100k_messages"] = cpu / alone.messages * 1e5
    proxy_port, target_port = _ports(server, stage.target)
    load = Load("d", BULK_FLOWS)
    with stage.generator.clients(load, proxy_port=proxy_port, target_port=target_port, seconds=0) as clients:
        clients.started()
        cpu = server.cpu_seconds()
        beside, _, _ = _run(stage, server, chat, seconds, target=stage.chat_target)
        cpu = server.cpu_seconds() - cpu
        moved = clients.stop()
    if not (alone.messages and beside.messages):
        raise BenchError("no message came back")
    metrics |= _latencies(beside, "beside_") | _bulk_metrics(moved, cpu, server)
    metrics["times_p99"] = beside.p99_seconds / alone.p99_seconds
    return metrics


def _slow(stage: Stage, server: Running) -> Metrics:
    """Bulk flows alone, then beside slow readers, for whom all buffers on the way are full."""
    bulk = Load("d", BULK_FLOWS)
    alone, _, _ = _run(stage, server, bulk)
    proxy_port, target_port = _ports(server, stage.target)
    load = Load("s", SLOW_FLOWS, SLOW_BYTES, SLOW_INTERVAL_SECONDS)
    with stage.generator.clients(load, proxy_port=proxy_port, target_port=target_port, seconds=0) as clients:
        clients.started()
        time.sleep(_SETTLE_SECONDS)
        beside, shares, cpu = _run(stage, server, bulk)
        sipped = clients.stop()
    if not sipped.bytes:
        raise BenchError("the slow readers had nothing to read")
    metrics = shares | _bulk_metrics(beside, cpu, server)
    metrics["alone_megabytes_per_second"] = alone.bytes / alone.seconds / 1e6
    metrics["rate_share"] = metrics["megabytes_per_second"] / metrics["alone_megabytes_per_second"]
    return metrics


def _iperf(reverse: bool) -> Workload:
    """What others publish: iperf3 through proxychains4, one connection."""

    def measure(stage: Stage, server: Running) -> Metrics:
        seconds = max(1, round(stage.seconds))
        before = server.cpu_seconds()
        rate, moved = iperf.run(server.port, seconds=seconds, reverse=reverse, folder=stage.folder)
        metrics = {"megabytes_per_second": rate / 1e6}
        if server.pids:
            metrics["cpu_seconds_per_gb"] = (server.cpu_seconds() - before) / (moved / 1e9)
        return metrics

    name = "iperf3-down" if reverse else "iperf3-up"
    return Workload(name, "iperf3", measure, lambda seconds: max(1, round(seconds)) + 0.5, fixed=False)


def idle_flows(descriptor_limit: int) -> int:
    """How many idle flows a proxy with two descriptors a flow can hold."""
    return max(1, min(IDLE_FLOWS, (descriptor_limit - _SPARE_DESCRIPTORS) // 2))


def _chat_seconds(seconds: float) -> float:
    """Chats are few: a second of them has twenty messages beyond the 99th percentile."""
    return max(1.0, seconds)


def _plainly(seconds: float) -> float:
    return seconds * 1.1 + _SETUP_SECONDS


WORKLOADS = (
    *(bulk(mode, connections) for mode in "dub" for connections in (1, 8, 64)),
    *(ping(size, connections) for size in (64, 1024) for connections in (1, 64, 512)),
    Workload("connects", "connects", _connects, _plainly),
    Workload("idle", "idle", _idle, lambda seconds: 4.5),
    Workload("mixed", "mixed", _mixed, lambda seconds: 2 * _plainly(_chat_seconds(seconds)) + 0.4, fixed=False),
    Workload("slow", "slow", _slow, lambda seconds: 2 * _plainly(seconds) + 0.5),
    _iperf(reverse=False),
    _iperf(reverse=True),
)
QUICK = ("bulk-down-1", "bulk-down-8", "bulk-up-1", "ping-64B-1", "ping-64B-64", "connects", "mixed")
"""Those of `--quick`."""


def _run(
    stage: Stage, server: Running, load: Load, seconds: float | None = None, *, target: Target | None = None
) -> tuple[Counted, Metrics, float]:
    """One load: what was counted, who was how busy, and the proxy's CPU seconds."""
    target, seconds = target or stage.target, seconds or stage.seconds
    proxy_port, target_port = _ports(server, target)
    with stage.generator.clients(load, proxy_port=proxy_port, target_port=target_port, seconds=seconds) as clients:
        clients.started()
        # The proxy first: what it does when the clients have gone is not counted. They stay readable until waited for.
        who = (server.pids, [target.pid], [clients.pid])
        before = [*(processes.cpu_seconds(pids) for pids in who), processes.machine_cpu_seconds()]
        counted = clients.ended(seconds)
        after = [*(processes.cpu_seconds(pids) for pids in who), processes.machine_cpu_seconds()]
    used = [late - early for early, late in zip(before, after, strict=True)]
    used[3] = max(0.0, used[3] - sum(used[:3]))
    names = ("proxy_busy", "target_busy", "clients_busy", "others_busy")
    shares = {name: cpu / counted.seconds for name, cpu in zip(names, used, strict=True)}
    if not server.pids:
        del shares["proxy_busy"]
    return counted, shares, used[0]


def _ports(server: Running, target: Target) -> tuple[int, int]:
    """The generator's proxy and target port. To a proxy that is no SOCKS server one connects as to the target."""
    return (server.port, target.port) if server.socks else (0, server.port)


def _bulk_metrics(counted: Counted, cpu_seconds: float, server: Running) -> Metrics:
    if not counted.bytes:
        raise BenchError("not a byte came through")
    metrics = {"megabytes_per_second": counted.bytes / counted.seconds / 1e6}
    if server.pids:
        metrics["cpu_seconds_per_gb"] = cpu_seconds / (counted.bytes / 1e9)
    return metrics


def _latencies(counted: Counted, prefix: str = "") -> Metrics:
    return {
        f"{prefix}p50_microseconds": counted.p50_seconds * 1e6,
        f"{prefix}p99_microseconds": counted.p99_seconds * 1e6,
        f"{prefix}longest_microseconds": counted.longest_seconds * 1e6,
    }
