"""Which probe goes to which suspect at which time, and the verdict on it. Sans-IO.

Times are seconds of any clock that only goes forward. What is random is drawn from the seed and the server's address,
so that a run does not depend on the order in which suspects turn up.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

from censor.prober.delays import Server, delay_seconds, draw, draw_bits
from censor.prober.results import ProbeResult, is_answered_replay, judge
from censor.prober.settings import Evidence, ProbeName, ProberSettings
from censor.prober.suspicion import ProbeOrder, Suspect, Suspicions

_Entry = tuple[float, int, ProbeOrder]
# Orders of forgotten suspects stay in the heap, until they are this much more than the suspects that there can be.
_DEAD_ORDERS = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the censor makes of a server. `seconds`: how long it holds: blocked, or not probed again.

    Cleared with evidence: it was spared by `convict_probability`.
    """

    server: Server
    convicted: bool
    seconds: float
    evidence: tuple[Evidence, ...]


class Schedule:
    """All suspects and the probes that are due. Memory is bounded by `limit_suspects`."""

    def __init__(self, settings: ProberSettings, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._suspects = Suspicions(settings.limit_suspects, settings.payload_limit_bytes, settings.forget_seconds)
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()

    def suspect(self, server: Server, first_payload: bytes, t: float, reason: str) -> Suspect | None:
        """A connection to `server` looked suspicious. Returns the suspect where this is the one that gets it probed."""
        suspect = self._suspects.see(server, first_payload, t, reason)
        if suspect.order or t < suspect.settled_until or suspect.connections < self._settings.connections_before:
            return None
        # Nothing to replay: the suspicion rests on something else than what the client said.
        probes = [probe for probe in self._settings.probes if probe != "replay" or suspect.payload]
        if not probes:
            return None
        suspect.rounds += 1
        suspect.triggered_t = t
        suspect.results = {}
        suspect.remaining = probes
        share = draw(self._seed, "delay", server, suspect.rounds)
        self._put(suspect, suspect.remaining.pop(0), t + delay_seconds(self._settings, share))
        return suspect

    def due(self, t: float, limit: int | None = None) -> list[ProbeOrder]:
        """The orders whose time has come, earliest first, at most `limit`; each of them wants a `result`."""
        orders: list[ProbeOrder] = []
        while (limit is None or len(orders) < limit) and (next_t := self.next_t()) is not None and next_t <= t:
            orders.append(heapq.heappop(self._heap)[2])
        return orders

    def next_t(self) -> float | None:
        """When the next order is due; None: there is none."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def result(self, order: ProbeOrder, result: ProbeResult, t: float) -> Verdict | None:
        """What a probe came to. Returns the verdict once there is one; None, too, where the suspect is forgotten."""
        suspect = self._suspects.get(order.server)
        if suspect is None or suspect.order is not order:
            return None
        suspect.order = None
        suspect.results[order.probe] = result
        evidence = judge(self._settings.verdict, suspect.results)
        following = None if evidence else self._following(suspect)
        if following is None:
            return self._settle(suspect, evidence, t)
        self._put(suspect, following, t + self._settings.between_seconds / self._settings.time_scale)
        return None

    def _following(self, suspect: Suspect) -> ProbeName | None:
        results = suspect.results
        if is_answered_replay(results) and "random" not in results and "replay" in self._settings.verdict:
            # The control without which the answer says nothing, whatever else is to be asked.
            return "random"
        if self._settings.later_probes_only_after_answer and not any(one.answered for one in results.values()):
            return None
        suspect.remaining = [probe for probe in suspect.remaining if probe not in results]
        return suspect.remaining.pop(0) if suspect.remaining else None

    def _settle(self, suspect: Suspect, evidence: tuple[Evidence, ...], t: float) -> Verdict:
        spared = draw(self._seed, "convict", suspect.server) >= self._settings.convict_probability
        convicted = bool(evidence) and not spared
        seconds = self._settings.block_seconds if convicted else self._settings.forget_seconds
        suspect.settled_until = t + seconds
        suspect.connections = 0
        return Verdict(suspect.server, convicted, seconds, evidence)

    def _put(self, suspect: Suspect, probe: ProbeName, t: float) -> None:
        order = ProbeOrder(
            suspect.server,
            probe,
            suspect.triggered_t,
            suspect.payload,
            # What is compared with a replay has its length.
            len(suspect.payload) if "replay" in suspect.results else self._settings.random_bytes,
            draw_bits(self._seed, probe, suspect.server, suspect.rounds),
        )
        suspect.order = order
        heapq.heappush(self._heap, (t, next(self._numbers), order))
        if len(self._heap) > 2 * self._settings.limit_suspects + _DEAD_ORDERS:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)

    def _is_live(self, entry: _Entry) -> bool:
        suspect = self._suspects.get(entry[2].server)
        return suspect is not None and suspect.order is entry[2]
