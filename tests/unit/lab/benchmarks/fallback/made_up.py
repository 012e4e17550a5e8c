"""Runs whose figures are known, for the tests of plan, results, goals and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.records import ControlRecord, Cost, Messages, Record, Verdict


def record(block: str = "syn-drop", policy: str = "sidedoor", **fields: Any) -> Record:
    """A run that recovered after 0.4 s, in a lab of many policies, with all messages delivered."""
    begun = Record(
        condition=f"{block}-warm-40ms-0pc-compared",
        block=block,
        policy=policy,
        rtt_ms=40,
        loss=0.0,
        warm=True,
        seed=1,
        round=1,
        client="client1",
        t0=3.0,
        ttd_seconds=0.3,
        tts_seconds=0.3,
        ttr_seconds=0.4,
        outage_seconds=0.35,
        route_before="direct",
        route_after="proxy1",
        messages=Messages(sent=100, delivered=100),
        cost=Cost(wire_bytes=1000, connections_opened=3, proxies_revealed_before=1, proxies_revealed=2),
        diagnosis=Verdict(kind=BLOCKS[block].kind, confidence=0.9, seconds=1.0),
        truth=BLOCKS[block].kind,
    )
    return msgspec.structs.replace(begun, **fields)


def recovered(times: Sequence[float], block: str = "syn-drop", policy: str = "sidedoor", **fields: Any) -> list[Record]:
    """A run for each of these times to recover."""
    return [record(block, policy, ttr_seconds=time, **fields) for time in times]


def censored(n: int, seconds: float, block: str = "syn-drop", policy: str = "sidedoor", **fields: Any) -> list[Record]:
    """Runs that had not recovered after so many seconds."""
    one = record(block, policy, ttr_seconds=None, censored_at_seconds=seconds, ttd_seconds=None, **fields)
    return [one] * n


def quiet(policy: str = "sidedoor", **fields: Any) -> ControlRecord:
    """Half an hour in which nothing happened."""
    begun = ControlRecord(
        policy=policy,
        seed=1,
        round=1,
        client="client1",
        seconds=1800.0,
        connections_opened=2,
        standby_connections=1,
        proxies_revealed=1,
        wire_bytes=1_800_000,
        messages=Messages(sent=1000, delivered=1000),
    )
    return msgspec.structs.replace(begun, **fields)
