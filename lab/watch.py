"""What the run waits for: conditions over the events as they arrive. It decides when to go on, never what is reported.

(The figures of a run are computed afterwards, from all events, by `lab.measurement`.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

HOLD_SECONDS = 2.0
"""How long acks must go on for a path to count as recovered (docs/lab.md, `ttr_seconds`)."""
GAP_SECONDS = 1.0
"""Acks that are further apart than this have not gone on."""
_POLL_SECONDS = 0.05


class Watch:
    """The state of the conversation, as far as the conditions need it. `t` of the events: seconds since run start."""

    def __init__(self, client_addresses: frozenset[str]) -> None:
        self._addresses = client_addresses
        self._queued: dict[int, float] = {}
        self._acks: list[tuple[float, int, str]] = []
        self._route = "direct"  # the one in use; acks may come by others, too (hedges, trials)
        self._route_since = 0.0
        self._hits: list[float] = []
        self._arrived = asyncio.Event()

    def take(self, event: dict[str, Any]) -> None:
        """Note one event (t = seconds since run start)."""
        match event["event"]:
            case "message_queued":
                self._queued[event["id"]] = event["t"]
            case "message_acked":
                self._acks.append((event["t"], event["id"], event["route"]))
            case "route_switched" | "failed_back":
                self._route, self._route_since = event["new"], event["t"]
            case "role_started" if event["role"] == "client":  # it begins on the direct path, and does not say so
                self._route, self._route_since = "direct", event["t"]
            case "censor_hit":
                if {event.get("source_address"), event.get("destination_address")} & self._addresses:
                    self._hits.append(event["t"])
        self._arrived.set()

    def recovered(self, since: float, now: float) -> bool:
        """Whether a message born after the first hit since `since` was acked, and acks went on for the hold time."""
        t0 = next((t for t in self._hits if t >= since), None)
        if t0 is None:
            return False
        return self._sustained([t for t, id_, _ in self._acks if t >= t0 and self._queued.get(id_, -1.0) >= t0], now)

    def elsewhere(self, since: float, now: float) -> bool:
        """The same where nobody tells of hits: whether messages born after `since` are acked off the direct path."""
        return self._sustained(
            [t for t, id_, route in self._acks if route != "direct" and self._queued.get(id_, -1.0) >= since], now
        )

    def direct(self, since: float, now: float) -> bool:
        """Whether messages born after `since` are acked on the direct path, and have been for the hold time."""
        return self._route == "direct" and self._sustained(
            [
                t
                for t, id_, route in self._acks
                if t >= max(since, self._route_since) and route == "direct" and self._queued.get(id_, -1.0) >= since
            ],
            now,
        )

    def healthy(self) -> bool:
        """Whether anything has been acked yet."""
        return bool(self._acks)

    @staticmethod
    def _sustained(acks: list[float], now: float) -> bool:
        """Whether some ack was followed, for HOLD_SECONDS up to now, by others no further than GAP_SECONDS apart."""
        start: float | None = None
        previous = 0.0
        for t in acks:
            if start is None or t - previous > GAP_SECONDS:
                start = t
            previous = t
        return start is not None and now - previous <= GAP_SECONDS and previous - start >= HOLD_SECONDS

    async def until(self, condition: Callable[[], bool], within_seconds: float) -> bool:
        """Wait for `condition`, looked at as events arrive; False when it did not hold within the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while not condition():
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            self._arrived.clear()
            try:
                async with asyncio.timeout(min(remaining, _POLL_SECONDS)):
                    await self._arrived.wait()
            except TimeoutError:
                pass
        return True
