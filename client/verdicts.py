"""What probing every route has shown, for people and for programs, and which route it means. Sans-IO.

A verdict is OONI's failure string in words; what is wrong with a route is `client.diagnosis`'s opinion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from client.diagnosis import KINDS, NONE, PROXY_DEAD
from client.policies import Diagnosed, Recollection, RouteFacts
from client.policies.exposure import Exposure
from client.routes.failures import in_words

PING = "ping"
"""The stage behind the dial's: the origin answers a record."""
_WRONG_CALLS = {
    "ssl_unknown_authority": "The CA file (--ca-file) may be the wrong one: no certificate comes from its authority.",
    "ssl_invalid_hostname": "The origin's name (--origin) may be the wrong one: no certificate that came is for it.",
    "ssl_failed_handshake": "The origin's port (--origin) may be the wrong one: what answers there does not speak TLS.",
    "eof_error": "The origin's port (--origin) may be the wrong one: what answers there closes the connection.",
}
"""What all of them say together that came as far as the origin's TLS."""
_SILENT = {
    "socks_greeting": " Something takes the connection there: is it the proxy's port?",
    "tls": " A bridge is silent to a wrong key, too, and to a clock that differs by more than 5 minutes.",
}
"""The stage in which a route fell silent -> what else that may mean where no proxy answered."""
_HEADINGS = ("route", "reached", "ms", "verdict", "stages (ms)")


@dataclass(frozen=True, slots=True)
class RouteVerdict:
    """One route's. `stages`: {stage: seconds} of those that were entered, in order, `ping` the last; `failure`: OONI's
    string of the last one, None: the route works; `detail`: the failure in the system's own words, or empty."""

    route: str
    stages: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    detail: str = ""
    diagnosis: Diagnosed | None = None

    @property
    def works(self) -> bool:
        """Whether the origin answered by it."""
        return self.failure is None

    @property
    def reached(self) -> str:
        """The last stage that was entered."""
        return next(reversed(self.stages), "")

    @property
    def seconds(self) -> float:
        """All stages together."""
        return sum(self.stages.values())


def chosen(verdicts: Sequence[RouteVerdict], facts: Sequence[RouteFacts], recollection: Recollection) -> str | None:
    """The route that the policy `sidedoor` would go by, of those that work: without a proxy first, then the proxies as
    `client.policies.exposure` has them. None: no route works."""
    exposure = Exposure(tuple(route.name for route in facts if route.proxied))
    exposure.recall(recollection, 0.0)
    order = [route.name for route in facts if not route.proxied] + exposure.order(0.0)
    working = {verdict.route for verdict in verdicts if verdict.works}
    return next((route for route in order if route in working), None)


def table(verdicts: Sequence[RouteVerdict]) -> list[str]:
    """A line for each route, in columns, below their headings."""
    rows = [_HEADINGS, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(verdict: RouteVerdict) -> tuple[str, ...]:
    words = "works" if verdict.failure is None else in_words(verdict.failure)
    stages = ", ".join(f"{stage} {_milliseconds(seconds)}" for stage, seconds in verdict.stages.items())
    return verdict.route, verdict.reached, _milliseconds(verdict.seconds), words, stages


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def in_sentences(verdicts: Sequence[RouteVerdict], route: str | None) -> list[str]:
    """What is wrong with each route that does not work, and what would be used; before it what may be wrong with the
    call, and not with any route."""
    said = [_sentence(verdict) for verdict in verdicts if not verdict.works]
    end = f"Messages would go by {route}." if route is not None else "No route leads to the origin."
    return [*_wrong_call(verdicts), *said, end]


def _wrong_call(verdicts: Sequence[RouteVerdict]) -> list[str]:
    """What speaks against the call: all that came as far as the origin's TLS failed there, in the same way."""
    found = {verdict.failure if verdict.reached == "tls" else None for verdict in verdicts if "tls" in verdict.stages}
    return [_WRONG_CALLS[failure] for failure in found if failure in _WRONG_CALLS and len(found) == 1]


def _sentence(verdict: RouteVerdict) -> str:
    diagnosis = verdict.diagnosis
    if diagnosis is None or diagnosis.kind == NONE:
        return f"{verdict.route}: what is wrong cannot be told from one attempt."
    hint = _SILENT.get(verdict.reached, "") if diagnosis.kind == PROXY_DEAD else ""
    return f"{verdict.route}: {KINDS[diagnosis.kind]} ({diagnosis.kind}, {diagnosis.confidence:.0%} sure).{hint}"


def as_data(origin: str, verdicts: Sequence[RouteVerdict], route: str | None) -> dict[str, Any]:
    """The same for JSON: {"origin", "routes": [...], "chosen"}; times in seconds."""
    return {"origin": origin, "routes": [_data(verdict) for verdict in verdicts], "chosen": route}


def _data(verdict: RouteVerdict) -> dict[str, Any]:
    diagnosis = verdict.diagnosis
    told = None if diagnosis is None else {"kind": diagnosis.kind, "confidence": diagnosis.confidence}
    return {
        "route": verdict.route,
        "works": verdict.works,
        "reached": verdict.reached,
        "failure": verdict.failure,
        "detail": verdict.detail,
        "stages": verdict.stages,
        "seconds": verdict.seconds,
        "diagnosis": told,
    }
