"""Sans-IO: what the client made of a block, beside what the censor says that it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Event = Mapping[str, Any]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The client's last opinion on a route while it was blocked; `seconds` from t0 until it was of that opinion.

    `kind` and `confidence` as in the event `diagnosed` (docs/diagnosis.md).
    """

    route: str
    kind: str
    confidence: float
    seconds: float


def diagnosis_of(events: Iterable[Event], route: str, t0: float, until: float) -> Diagnosis | None:
    """From a client's events in order; None: it had no opinion. All times on the events' clock.

    That nothing is wrong any more (`none`) is no opinion on a block.
    """
    found: Diagnosis | None = None
    for event in events:
        if event["event"] != "diagnosed" or event["route"] != route or not t0 <= event["t"] <= until:
            continue
        if event["kind"] == "none":
            continue
        kept = found is not None and found.kind == event["kind"]
        found = Diagnosis(
            route=route,
            kind=event["kind"],
            confidence=event["confidence"],
            seconds=found.seconds if found is not None and kept else float(event["t"]) - t0,
        )
    return found


def censor_actions(hits: Iterable[Event]) -> list[str]:
    """The truth: "RULE: ACTION" of each, in order of appearance."""
    return list(dict.fromkeys(f"{hit['rule']}: {hit['action']}" for hit in hits))
