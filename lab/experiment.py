"""An experiment: a scenario repeated, measured and written into a run folder. What `sidedoor lab run` runs.

`run` is the supervisor's entry on every runtime (see `lab.runtimes`). The folder (docs/lab.md):
`summary.json`, `events.jsonl`, `ooni.jsonl`, `report.html`, `capture/`, `logs/`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from rich.console import Console

from lab import ooni, report
from lab.capture import dropped_packets
from lab.deployment import CLIENT, PROXIES, Deployment
from lab.display import Display
from lab.measurement import leaks, packets, plaintext
from lab.measurement.from_captures import hit_times
from lab.measurement.summary import Run as RunSummary
from lab.measurement.summary import Summary, encode, measure_run, summarize
from lab.measurement.tls_records import parse_key_log
from lab.plan import ExperimentPlan
from lab.run import Run, RunRecord
from lab.runtimes import Runtime
from lab.scenario import Scenario, read_scenario
from lab.supervisor import RoleFailed, Supervisor
from lab.topology import ORIGIN_NAME, Topology
from lab.verdict import failures

HELD, DID_NOT_HOLD, INTERRUPTED = 0, 1, 130


def run(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """Run the plan on `runtime`; returns the exit status. The end of the pipe `stop` interrupts it."""
    plan = msgspec.convert(arguments, ExperimentPlan)
    return asyncio.run(_Experiment(plan, runtime, state).run(stop))


class _Experiment:
    def __init__(self, plan: ExperimentPlan, runtime: Runtime, state: Path) -> None:
        self._plan = plan
        self._runtime = runtime
        self._out = Path(plan.out)
        self._state = state
        self._folder = Path(plan.scenario)
        self._scenario = _with_timeout(read_scenario(self._folder), plan.timeout_seconds)
        self._display = Display(Console(stderr=True), self._scenario, runtime.name, plan.repeat)
        self._current: Run | None = None
        self._records: list[RunRecord] = []

    async def run(self, stop: int) -> int:
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()
        assert running is not None

        def interrupt() -> None:
            loop.remove_reader(stop)
            self._display.note("interrupted: measuring what there is (once more ends it at once, without results)")
            running.cancel()

        loop.add_reader(stop, interrupt)
        deployment = Deployment(self._runtime, self._state, self._out)
        interrupted, problem = False, None
        try:
            await self._runtime.up()
            deployment.make_certificates()
            with open(self._out / "events.jsonl", "wb", buffering=0) as stream, self._display:
                await self._repeat(deployment, stream)
        except asyncio.CancelledError:
            interrupted = True
            running.uncancel()
        except RoleFailed as failure:
            problem = str(failure)
        finally:
            await self._runtime.down()
        loop.remove_reader(stop)
        return self._conclude(interrupted, problem)

    async def _repeat(self, deployment: Deployment, stream: BinaryIO) -> None:
        async with Supervisor(
            self._runtime, self._state, self._out / "logs", lambda e: self._take(e), lambda r, s: self._died(r, s)
        ) as supervisor:
            for number in range(1, self._plan.repeat + 1):
                seed = self._plan.seed + number - 1
                self._current = Run(
                    self._scenario,
                    self._folder,
                    deployment,
                    number=number,
                    seed=seed,
                    write=_event_line(stream, number),
                    progress=self._display.step,
                )
                self._display.start_run(number)
                try:
                    self._records.append(await self._current.run(supervisor))
                except asyncio.CancelledError:
                    self._records.append(self._current.interrupted())
                    raise
                self._display.end_run(self._records[-1])

    def _take(self, event: dict[str, Any]) -> None:
        assert self._current is not None
        self._current.take(event)

    def _died(self, role: str, status: int) -> None:
        assert self._current is not None
        self._current.died(role, status)

    def _conclude(self, interrupted: bool, problem: str | None) -> int:
        """Measure, write, print; the exit status."""
        if problem:
            print(f"sidedoor: {problem}", file=sys.stderr)
        if not self._records:
            if interrupted:
                print("sidedoor: interrupted before the first run began: no results", file=sys.stderr)
            return INTERRUPTED if interrupted else DID_NOT_HOLD
        self._display.note("measuring")
        if self._scenario.foreign_censor is not None:
            self._records = [_with_hits(record, self._out, self._runtime.topology) for record in self._records]
        runs = [measured(record, self._out, self._runtime.topology) for record in self._records]
        summary = summarize(runs, scenario=self._scenario.name, runtime=self._runtime.name, seed=self._plan.seed)
        (self._out / "summary.json").write_bytes(encode(summary))
        self._write_ooni()
        report.write(summary, [record.events for record in self._records], self._out / "report.html")
        broken = list(self._broken(runs))
        self._print(summary, broken)
        if interrupted:
            return INTERRUPTED
        return DID_NOT_HOLD if broken or problem else HELD

    def _broken(self, runs: list[RunSummary]) -> list[str]:
        lines = []
        for record, run_ in zip(self._records, runs, strict=True):
            switches = sum(e["event"] in ("route_switched", "failed_back") for e in record.events)
            what = "did not hold" if run_.outcome == "completed" else "cut short, what is expected was not judged"
            for line in failures(self._scenario.expect, run_, switches=switches):
                lines.append(f"{what}: run {record.number}: {line}")
        return lines

    def _write_ooni(self) -> None:
        with open(self._out / "ooni.jsonl", "wb") as stream:
            for record in self._records:
                for line in ooni.measurements(record.events, clock=record.clock, scenario=self._scenario.name):
                    stream.write(line)

    def _print(self, summary: Summary, broken: list[str]) -> None:
        if self._plan.json:
            sys.stdout.write(encode(summary).decode())
            sys.stdout.flush()
        else:
            console = Console()
            console.print(report.terminal_table(summary))
            console.print(f"report: {self._out / 'report.html'}", soft_wrap=True, highlight=False)
        for line in broken:
            print(line, file=sys.stderr)


def _with_timeout(scenario: Scenario, timeout_seconds: float | None) -> Scenario:
    if timeout_seconds is None:
        return scenario
    return msgspec.structs.replace(scenario, timeout_seconds=timeout_seconds)


def _event_line(stream: BinaryIO, number: int) -> Callable[[dict[str, Any]], None]:
    encoder = msgspec.json.Encoder()

    def write(event: dict[str, Any]) -> None:
        stream.write(encoder.encode(event | {"run": number}) + b"\n")

    return write


def _with_hits(record: RunRecord, out: Path, topology: Topology) -> RunRecord:
    """The record of a run whose censor told nothing, with the hits that the captures show."""
    client = topology.host(CLIENT).addresses()
    capture = out / "capture"
    home, uplink = (capture / f"run{record.number}-censor-{side}.pcap" for side in ("home", "uplink"))
    if not (home.exists() and uplink.exists()):
        return record
    times = hit_times(
        home=home,
        uplink=uplink,
        client_addresses=client,
        messenger_addresses=topology.names[ORIGIN_NAME],
        messenger_names=[ORIGIN_NAME],
        start=record.clock.realtime,
    )
    hits = [{"t": t, "source": "captures", "event": "censor_hit", "source_address": client[0]} for t in times]
    return msgspec.structs.replace(record, events=sorted(record.events + hits, key=lambda event: float(event["t"])))


def _with_plaintext(found: leaks.Leaks, record: RunRecord, out: Path, client_addresses: Sequence[str]) -> leaks.Leaks:
    """The leaks, and where the run's marker can be read: in captures, opened with the key log, and in logs."""
    if len(record.marker) < plaintext.LEAST_MARKER_BYTES:
        return found
    key_log_file = out / "capture" / f"run{record.number}-tls.keylog"
    key_log = parse_key_log(key_log_file.read_text(encoding="ascii") if key_log_file.exists() else "")
    places = plaintext.find_in_files(sorted((out / "logs").glob(f"run{record.number}-*.log")), record.marker)
    for file in sorted((out / "capture").glob(f"run{record.number}-*.pcap")):
        seen = list(packets.read(file, start=record.clock.realtime))
        where = plaintext.find_plaintext(seen, key_log, record.marker, client_addresses=client_addresses)
        places += [f"{file.name}: {place}" for place in where]
    examples = [*found.examples, *(f"plaintext: {place}" for place in places[: leaks.EXAMPLES])]
    return msgspec.structs.replace(found, plaintext=len(places), examples=examples)


def measured(record: RunRecord, out: Path, topology: Topology) -> RunSummary:
    """A run's result, from its events and its captures in `out`."""
    client_addresses = topology.host(CLIENT).addresses()
    home = out / "capture" / f"run{record.number}-censor-home.pcap"
    found = None
    if home.exists():
        found = leaks.find_leaks(
            packets.read(home, start=record.clock.realtime),
            record.events,
            client_addresses=client_addresses,
            messenger_addresses=topology.names[ORIGIN_NAME],
            messenger_names=[ORIGIN_NAME],
            proxy_addresses=[address for proxy in PROXIES for address in topology.host(proxy).addresses()],
            capture_dropped=dropped_packets(out / "capture", hosts=f"run{record.number}-*"),
        )
        found = _with_plaintext(found, record, out, client_addresses)
    result = measure_run(
        record.events, seed=record.seed, clock=record.clock, client_addresses=client_addresses, leaks=found
    )
    result = msgspec.structs.replace(result, outcome=record.outcome, ended_seconds=record.ended_seconds)
    if record.problem and record.outcome != "role_died":
        result = msgspec.structs.replace(result, problems=[*result.problems, record.problem])
    return result
