"""How the policy `sidedoor` seeks a route: which is dialed next, when, and when the spare is what is sought. Sans-IO.

The next route is dialed when every dial under way is stuck in its stage (`client.policies.links`), so that no proxy is
shown to the censor before it is needed. When all have failed, a pause, and the round begins again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from client.policies import DIRECT, ProbeStarted, Recollection
from client.policies.board import Board
from client.policies.exposure import Exposure
from client.policies.links import Link
from client.policies.probing import Probing
from client.policies.sidedoor_settings import SidedoorSettings


class Seeking:
    """The routes still to be dialed. `routes`: all, by preference; `least_backoff`: the first pause, in seconds."""

    def __init__(
        self,
        routes: Iterable[str],
        settings: SidedoorSettings,
        random: Random,
        board: Board,
        exposure: Exposure,
        probing: Probing,
    ) -> None:
        self.routes = tuple(routes)
        self.least_backoff = settings.backoff_seconds * (1 + random.random() / 4)  # not all clients at once
        self._settings = settings
        self._board = board
        self._exposure = exposure
        self._probing = probing
        self._candidates: deque[str] | None = None  # routes still to dial; None: nothing is sought
        self._dial_at = 0.0  # not before this, after a round in which all failed
        self._backoff = self.least_backoff

    @property
    def active(self) -> bool:
        """Whether a route is sought."""
        return self._candidates is not None

    def begin(self, now: float) -> None:
        """Seek a route; `on` has to follow."""
        self._candidates = deque(self._allowed(self._order(now)))
        self._dial_at = now

    def begin_elsewhere(self, now: float) -> None:
        """The path in use has failed: proxies first, the path itself last; `on` has to follow."""
        order = [route for route in self._order(now) if route != self._board.path]
        proxied = [route for route in order if route in self._exposure.proxies]
        others = [route for route in order if route not in proxied]
        self._candidates = deque(self._allowed([*proxied, *others, self._board.path]))
        self._dial_at = now

    def race(self, recollection: Recollection, now: float) -> None:
        """More proxies at once beside the spare, where nothing is known and the user wants that."""
        assert self._candidates is not None
        if recollection.rtt_seconds or recollection.failed:
            return
        for route in self._exposure.order(now, without=[self._board.path])[1 : self._settings.first_proxies]:
            self._candidates.remove(route)
            self._exposure.dialed(route)
            self._board.dial(route, "candidate", now)

    def end(self) -> None:
        """It is found."""
        self._candidates = None

    def forgive(self) -> None:
        """A path carries, or the network is another one: the next pause is the first again."""
        self._backoff = self.least_backoff

    def on(self, spare: Link | None, now: float) -> Link | None:
        """The spare if it is what is sought. Else dial the next if every dial under way is stuck, as many as these are:
        the more are stuck, the less one alone would do. When all have failed, begin again after a pause."""
        assert self._candidates is not None
        if spare is not None and self.is_sought(spare, now):
            return spare
        pending = self._board.pending()
        if any(self._board.stuck_at(link) > now for link in pending):
            return None
        if not self._candidates and not pending:
            self._candidates.extend(self._allowed(self._order(now)))
            self._dial_at = now + self._backoff
            self._backoff = min(2 * self._backoff, self._settings.most_backoff_seconds)
        busy = {link.route for link in self._board.with_role("candidate", "spare")}
        left = max(1, len(pending))
        while self._candidates and self._dial_at <= now and left:
            route = self._candidates.popleft()
            if route not in busy:
                self._exposure.dialed(route)
                self._announce(self._board.dial(route, "candidate", now))
                left -= 1
        return None

    def deadline(self, spare: Link | None) -> float | None:
        """When `on` may have something to do."""
        if self._candidates is None:
            return None
        better = self._better_candidates(spare.route) if spare is not None else []
        if better:
            return max(self._board.stuck_at(link) for link in better)
        pending = self._board.pending()
        if not self._candidates:
            return None if pending else self._dial_at
        return max([self._dial_at, *(self._board.stuck_at(link) for link in pending)])

    def is_sought(self, spare: Link, now: float) -> bool:
        """Whether this spare, which stands, is what is sought: no better path is about to be dialed through."""
        if spare.role != "spare" or self._candidates is None:
            return False
        return all(self._board.stuck_at(link) <= now for link in self._better_candidates(spare.route))

    def _order(self, now: float) -> list[str]:
        """Routes without a proxy as they are preferred, then the proxies as `client.policies.exposure` has them."""
        proxies = self._exposure.order(now)
        return [route for route in self.routes if route not in proxies] + proxies

    def _better_candidates(self, route: str) -> list[Link]:
        """Dials of paths that are better than `route` and not known to be bad."""
        candidates = self._board.with_role("candidate")
        return [link for link in candidates if not link.announced and self._probing.is_better(link.route, route)]

    def _announce(self, link: Link) -> None:
        """The direct path as the last resort, though it is known to be bad: a deliberate attempt, reported as such."""
        if link.route == DIRECT and self._exposure.proxies and (self._board.path != DIRECT or self._board.path_bad):
            link.announced = True
            self._board.commands.append(ProbeStarted(link.number, DIRECT))

    def _allowed(self, routes: Iterable[str]) -> list[str]:
        """Not what is known to be bad and must not be touched again, as long as there is anything else."""
        known = self._board.path != DIRECT or self._board.path_bad
        burnt = known and self._settings.probe_direct == "never" and bool(self._exposure.proxies)
        return [route for route in routes if route in self.routes and not (burnt and route == DIRECT)]
