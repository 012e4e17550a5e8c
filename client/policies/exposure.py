"""Which proxy next: those that the censor has seen before those that it has not. Sans-IO.

A censor that reads SOCKS learns each proxy that a client dials, whether it carries anything or not. So a proxy that was
shown and worked is used again before another is shown, and one that failed lately comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from client.policies import Recollection

FAILED_SECONDS = 30.0
"""For so long a proxy that failed comes after those that did not."""


@dataclass(slots=True)
class Exposure:
    """The proxies, in order of preference. What an earlier life has shown on this network counts as shown."""

    proxies: tuple[str, ...]
    _shown: list[str] = field(default_factory=list)  # in order of their last success, the latest first
    _failed_at: dict[str, float] = field(default_factory=dict)

    def recall(self, recollection: Recollection, now: float) -> None:
        """Take over what is remembered of this network."""
        self._shown = [route for route in recollection.rtt_seconds if route in self.proxies]
        self._failed_at = {route: now for route in recollection.failed if route in self.proxies}

    def dialed(self, route: str) -> None:
        """The censor sees `route` now."""
        if route in self.proxies and route not in self._shown:
            self._shown.append(route)

    def worked(self, route: str) -> None:
        """`route` stands."""
        self._failed_at.pop(route, None)
        if route in self._shown:
            self._shown.remove(route)
            self._shown.insert(0, route)

    def failed(self, route: str, now: float) -> None:
        """`route` could not be dialed, or went bad."""
        if route in self.proxies:
            self._failed_at[route] = now

    def order(self, now: float, *, without: Iterable[str] = ()) -> list[str]:
        """The proxies, the one to take next first."""
        left = [proxy for proxy in self.proxies if proxy not in set(without)]
        return sorted(left, key=lambda proxy: (self._failed_lately(proxy, now), self._rank(proxy)))

    def _failed_lately(self, proxy: str, now: float) -> float:
        """0.0: no; else the later it failed the greater, so that they are tried in turn."""
        at = self._failed_at.get(proxy)
        return 0.0 if at is None or now - at >= FAILED_SECONDS else 1.0 + at

    def _rank(self, proxy: str) -> int:
        shown: Sequence[str] = self._shown
        return shown.index(proxy) if proxy in shown else len(shown) + self.proxies.index(proxy)
