"""Which servers looked like proxies, how often, and what a client said to them. Sans-IO.

Bounded: the server that was least recently suspected makes room. Times are seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from censor.prober.delays import Server
from censor.prober.results import ProbeResult
from censor.prober.settings import ProbeName


@dataclass(frozen=True, slots=True, eq=False)
class ProbeOrder:
    """A probe that is to be sent. `triggered_t`: when the connection came that made the server be probed.

    payload: what a replay sends; random_bytes: how much "random" sends; seed: of what is random in it.
    """

    server: Server
    probe: ProbeName
    triggered_t: float
    payload: bytes
    random_bytes: int
    seed: int


@dataclass(slots=True)
class Suspect:
    """One server. `order`: the probe that waits or is under way; `settled_until`: no probes before that time.

    rounds: how often it was probed; results, remaining: of this round.
    """

    server: Server
    reason: str
    seen_t: float
    payload: bytes = b""
    connections: int = 0
    rounds: int = 0
    triggered_t: float = 0.0
    settled_until: float = 0.0
    order: ProbeOrder | None = None
    results: dict[ProbeName, ProbeResult] = field(default_factory=dict)
    remaining: list[ProbeName] = field(default_factory=list)


class Suspicions:
    """The suspects, at most `limit`."""

    def __init__(self, limit: int, payload_limit_bytes: int, forget_seconds: float) -> None:
        self._limit = limit
        self._payload_limit_bytes = payload_limit_bytes
        self._forget_seconds = forget_seconds
        self._suspects: OrderedDict[Server, Suspect] = OrderedDict()

    def __len__(self) -> int:
        return len(self._suspects)

    def get(self, server: Server) -> Suspect | None:
        return self._suspects.get(server)

    def see(self, server: Server, payload: bytes, t: float, reason: str) -> Suspect:
        """Count one suspicious connection. While no probe waits, reason and payload are those of the latest one."""
        suspect = self._suspects.get(server)
        if suspect is None or self._is_forgotten(suspect, t):
            suspect = self._suspects[server] = Suspect(server, reason, t)
        self._suspects.move_to_end(server)
        suspect.seen_t = t
        suspect.connections += 1
        if suspect.order is None:
            suspect.reason = reason
            suspect.payload = payload[: self._payload_limit_bytes]
        if len(self._suspects) > self._limit:
            self._suspects.popitem(last=False)
        return suspect

    def _is_forgotten(self, suspect: Suspect, t: float) -> bool:
        quiet = t - suspect.seen_t > self._forget_seconds
        return quiet and suspect.order is None and t >= suspect.settled_until
