"""One run of one client: what came out, as a line of JSON. Sans-IO but for `read`, `append`.

A condition's file has a line for each run; what was half written when a bench was killed is cut off when it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

LATENESS_SHARE = 0.05
RUNS = "runs.jsonl"
"""The file of a condition's folder."""


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages of the run, all of them. pending: still in the sender's queue when it was stopped, as
    a policy without failover may wait for TCP's next repetition for long; lost: neither shown nor there."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    pending: int = 0
    duplicated_application: int = 0
    duplicated_transport: int = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """wire_bytes: of the client's interface, both directions, all layers from IP on (Ethernet too); None: unknown.

    proxies_revealed_*: proxies that were dialed before the block (at most `t0`), and all in all.
    """

    wire_bytes: int | None = None
    connections_opened: int = 0
    proxies_revealed_before: int = 0
    proxies_revealed: int = 0
    false_switches: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The client's own diagnosis of the route that was hit: the last one, `seconds`: after t0 it said so first."""

    kind: str | None = None
    confidence: float | None = None
    seconds: float | None = None


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """The worst lateness of a 10 ms timer from shortly before t0 until the recovery: in the client, in the lab."""

    client: float = 0.0
    lab: float = 0.0

    @property
    def worst(self) -> float:
        return max(self.client, self.lab)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `condition`: the lab that it was in.

    Times in seconds; `t0` since the round's start, the others since t0 as docs/lab.md says. `ttr_seconds` None: not
    recovered in the `censored_at_seconds` that were watched (right-censored). `problem`: why this run does not count:
    the block did not hit the client, the client was not well before it.
    """

    condition: str = ""
    block: str
    policy: str
    rtt_ms: int
    loss: float
    warm: bool
    killed: bool = False
    seed: int
    round: int
    client: str
    t0: float | None = None
    ttd_seconds: float | None = None
    tts_seconds: float | None = None
    ttr_seconds: float | None = None
    censored_at_seconds: float | None = None
    outage_seconds: float | None = None
    route_before: str | None = None
    route_after: str | None = None
    latency_before_seconds: float | None = None
    latency_after_seconds: float | None = None
    messages: Messages = Messages()
    cost: Cost = Cost()
    diagnosis: Verdict = Verdict()
    truth: str | None = None
    lateness_ms: Lateness = Lateness()
    problem: str | None = None

    def counts(self, lateness_limit_ms: float) -> bool:
        """Whether its times count: it was hit, and the machine kept up.

        Timers may be so late, or by a twentieth of the time measured where that is more.
        """
        return self.problem is None and not self.is_late(lateness_limit_ms)

    def is_late(self, lateness_limit_ms: float) -> bool:
        """Whether the machine had too much to do for this run's times."""
        seconds = self.censored_at_seconds if self.ttr_seconds is None else self.ttr_seconds
        return self.lateness_ms.worst > max(lateness_limit_ms, LATENESS_SHARE * 1000 * (seconds or 0.0))


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run without a block, `seconds` long, from when the client was well on.

    standby_connections: the most that were established to proxies at once, of those that were looked at.
    """

    policy: str
    seed: int
    round: int
    client: str
    seconds: float = 0.0
    false_switches: int = 0
    path_bad: int = 0
    connections_opened: int = 0
    standby_connections: int = 0
    proxies_revealed: int = 0
    wire_bytes: int | None = None
    messages: Messages = Messages()
    lateness_ms: float = 0.0
    problem: str | None = None

    def counts(self, lateness_limit_ms: float) -> bool:
        """A machine that does not keep up is no excuse for a false switch: all that were under way do."""
        return self.problem is None


AnyRecord = TypeVar("AnyRecord", Record, ControlRecord)


def read(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """The file's runs; none where there is no file. Raises msgspec.ValidationError for lines of another kind."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole, _, _ = data.rpartition(b"\n")
    return [msgspec.json.decode(line, type=kind) for line in whole.splitlines() if line]


def append(path: Path, records: Sequence[Record | ControlRecord]) -> None:
    """Add the runs of a round, in one write; a line that was cut short before is removed."""
    with open(path, "a+b") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
        stream.flush()
        os.fsync(stream.fileno())
