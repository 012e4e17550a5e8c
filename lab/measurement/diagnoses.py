"""Sans-IO: what the client made of a block, beside what the censor says that it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Event = Mapping[str, Any]

EARLY_SECONDS = 0.05
"""The censor tells of a packet after it has acted on it: the client may have learned of it before."""


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

    `route`: the one in use at t0; an opinion on another counts if there is none on it (the client was on a proxy, and
    its probes were hit). That nothing is wrong any more (`none`) is no opinion on a block.
    """
    told = [
        event
        for event in events
        if event["event"] == "diagnosed" and event["kind"] != "none" and t0 - EARLY_SECONDS <= event["t"] <= until
    ]
    found: Diagnosis | None = None
    for event in [event for event in told if event["route"] == route] or told[-1:]:
        kept = found is not None and found.kind == event["kind"]
        found = Diagnosis(
            route=event["route"],
            kind=event["kind"],
            confidence=event["confidence"],
            seconds=found.seconds if found is not None and kept else max(0.0, float(event["t"]) - t0),
        )
    return found


def censor_actions(hits: Iterable[Event]) -> list[str]:
    """The truth: "RULE: ACTION" of each, in order of appearance. A hit that was read from captures has neither."""
    return list(dict.fromkeys(f"{hit['rule']}: {hit['action']}" for hit in hits if "rule" in hit and "action" in hit))
