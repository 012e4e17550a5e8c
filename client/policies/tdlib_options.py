"""What TDLib knows of its paths, and how often it opens connections. Sans-IO.

The first is `DcOptionsSet` (td/telegram/net/DcOptionsSet.cpp), with a route where that has an address. The second is
`FloodControlStrict` and the `Backoff` of ConnectionCreator.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from client.policies.tdlib_settings import Limits


class State(IntEnum):
    """Of a route; better ones come first."""

    OK = 0
    ERROR = 1
    CHECKING = 2


@dataclass(slots=True)
class Option:
    """One route and when it last did what. One that has never been used counts as good."""

    route: str
    ok_at: float = -1000.0
    error_at: float = -1001.0
    check_at: float = -1002.0

    @property
    def state(self) -> State:
        """What happened last: it worked, a check began, or it failed."""
        if self.ok_at > max(self.error_at, self.check_at):
            return State.OK
        return State.CHECKING if self.check_at > max(self.ok_at, self.error_at) else State.ERROR


@dataclass(slots=True)
class Options:
    """All routes in scope, in order of preference."""

    recent_error_seconds: float
    _options: dict[str, Option] = field(default_factory=dict)

    def set_routes(self, routes: Sequence[str]) -> None:
        """Know exactly these from now on; what is known of them stays."""
        self._options = {route: self._options.get(route) or Option(route) for route in routes}

    def best(self, now: float) -> tuple[str, bool]:
        """The route for the next connection, and whether that must be checked before it counts."""
        recent = max(option.error_at for option in self._options.values()) > now - self.recent_error_seconds
        # Among failed ones the one whose failure is longest ago; `min` keeps the order of preference else.
        best = min(
            self._options.values(),
            key=lambda option: (option.state, option.error_at if option.state is State.ERROR else 0.0),
        )
        return best.route, recent or best.state is not State.OK

    def worked(self, route: str, now: float) -> None:
        """A pong came by it."""
        if route in self._options:
            self._options[route].ok_at = now

    def failed(self, route: str, now: float) -> None:
        """A connection by it failed or ended."""
        if route in self._options:
            self._options[route].error_at = now

    def checked(self, route: str, now: float) -> None:
        """A check of it begins."""
        self._options[route].check_at = now


@dataclass(slots=True)
class FloodControl:
    """When the next connection may be opened."""

    limits: Limits
    _opened: list[float] = field(default_factory=list)

    def wake_at(self) -> float:
        """The time from which on one more is within all limits."""
        times = [self._opened[-count] + seconds for seconds, count in self.limits if len(self._opened) >= count]
        return max(times, default=0.0)

    def opened(self, now: float) -> None:
        """One was opened."""
        most = max(count for _, count in self.limits)
        self._opened = [*self._opened, now][-most:]

    def clear(self) -> None:
        """Forget all."""
        self._opened.clear()


@dataclass(slots=True)
class Backoff:
    """A pause that doubles with each connection until one succeeds."""

    least_seconds: float
    most_seconds: float
    wake_at: float = 0.0
    _next_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_seconds = self.least_seconds

    def opened(self, now: float) -> None:
        """A connection was opened."""
        self.wake_at = now + self._next_seconds
        self._next_seconds = min(self.most_seconds, 2 * self._next_seconds)

    def clear(self) -> None:
        """One succeeded, or the network is another."""
        self.wake_at = 0.0
        self._next_seconds = self.least_seconds
