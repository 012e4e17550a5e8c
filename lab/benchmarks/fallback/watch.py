"""What a round waits for: how one client is doing, told from its events as they come. Sans-IO.

It decides when the bench goes on and when a client may be stopped; figures are computed afterwards, from all events
(`lab.benchmarks.fallback.account`). `t` of the events: CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.measurement.episodes import HOLD_GAP_SECONDS, HOLD_SECONDS

SURE = 0.8
CLOCKS_SECONDS = 0.005
"""So far may the times of a client and of the kernel's packets be apart."""
DIAGNOSED_WITHIN_SECONDS = 8.0
"""At an RTT of 200 ms the verdict takes 2 s, a probe's dial 1 s, its bytes up to a freeze 2 s, the silence then 1 s."""


class ArmWatch:
    """One client, from its start to its end. hit_rules: whose hits make t0; None: any rule's.

    began: when it queued its first message, which it does before its first packet; None: not yet, as far as is known.
    """

    def __init__(self, addresses: frozenset[str], hit_rules: frozenset[str] | None) -> None:
        self._addresses = addresses
        self._hit_rules = hit_rules
        self._queued_at: dict[int, float] = {}
        self._well_since: float | None = None
        self._back_since: float | None = None
        self._last_ack: float | None = None
        self._confidence = 0.0
        self._route_hit: str | None = None
        self.t0: float | None = None
        self.began: float | None = None
        self.route = "direct"

    def is_own(self, event: Mapping[str, Any]) -> bool:
        """Whether a hit is of this client, and not of one that had its address before: an origin sends again for
        seconds what a frozen connection lacks."""
        return self.began is not None and event["t"] >= self.began - CLOCKS_SECONDS

    def hit(self, t: float) -> None:
        """A packet of this client was hit; the first is t0."""
        if self.t0 is None:
            self.t0, self._route_hit = t, self.route

    def is_hit(self, event: Mapping[str, Any]) -> bool:
        """Whether this `censor_hit` is one that makes t0."""
        ours = {event.get("source_address"), event.get("destination_address")} & self._addresses
        return bool(ours) and (self._hit_rules is None or event["rule"] in self._hit_rules)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event of this client."""
        match event["event"]:
            case "message_queued":
                self.began = event["t"] if self.began is None else self.began
                self._queued_at[event["id"]] = event["t"]
            case "message_acked":
                self._acked(event["t"], event["id"])
            case "diagnosed" if event["route"] == self._route_hit:
                self._confidence = event["confidence"]
            case "route_switched" | "failed_back":
                self.route = event["new"]
                self._well_since = None  # a path that has just been taken has shown nothing yet

    def _acked(self, t: float, id_: int) -> None:
        paused = self._last_ack is None or t - self._last_ack > HOLD_GAP_SECONDS
        self._last_ack = t
        if paused or self._well_since is None:
            self._well_since = t
        if paused:
            self._back_since = None
        born = self._queued_at.pop(id_, None)
        if self._back_since is None and self.t0 is not None and born is not None and born >= self.t0:
            self._back_since = t

    def well(self, now: float, seconds: float, *, proxied: bool) -> bool:
        """Whether acks have gone on for so long up to now on one route; `proxied`: through a proxy."""
        if self._well_since is None or self._last_ack is None or (proxied and self.route == "direct"):
            return False
        return now - self._last_ack <= HOLD_GAP_SECONDS and self._last_ack - self._well_since >= seconds

    def diagnosed(self, now: float) -> bool:
        """Whether the client is sure what was wrong with the route that was hit, or has had the time to be."""
        return self.t0 is not None and (self._confidence >= SURE or now - self.t0 >= DIAGNOSED_WITHIN_SECONDS)

    def recovered(self, now: float) -> bool:
        """Whether a message born after t0 was acked, and acks went on for the hold time."""
        if self._back_since is None or self._last_ack is None:
            return False
        return now - self._last_ack <= HOLD_GAP_SECONDS and self._last_ack - self._back_since >= HOLD_SECONDS
