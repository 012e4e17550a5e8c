"""The warm spare of the policy `sidedoor`: when one is wanted, through which proxy, and when it has failed. Sans-IO.

One idle connection through a proxy that the path in use does not take. A proxy is shown for it only when nothing is
sought any more and the direct path is not merely late (`Link.lost_until`, `Probing.undecided`): if it is, the proxy in
use becomes its spare.
"""

from __future__ import annotations

from client.policies.board import Board
from client.policies.exposure import Exposure
from client.policies.links import Link
from client.policies.probing import Probing
from client.policies.sidedoor_settings import SidedoorSettings


class Sparing:
    """`next_at`: not before this is the next spare dialed, if one is wanted. `least_backoff`: the first pause after one
    that failed, in seconds; it doubles each time."""

    def __init__(
        self, settings: SidedoorSettings, board: Board, exposure: Exposure, probing: Probing, least_backoff: float
    ) -> None:
        self.next_at = 0.0
        self._settings = settings
        self._board = board
        self._exposure = exposure
        self._probing = probing
        self._least_backoff = self._backoff = least_backoff

    @property
    def possible(self) -> bool:
        """Whether the settings want one, and there is a proxy for it."""
        others = any(proxy != self._board.path for proxy in self._exposure.proxies)
        return self._settings.standby == "warm" and others

    @property
    def wanted(self) -> bool:
        """Whether one is to be dialed, as long as nothing is sought."""
        settled = self._board.carrier is not None and not self._probing.undecided
        return settled and self.possible and not self._board.with_role("spare")

    def usable(self, now: float) -> Link | None:
        """One that stands and is not behind."""
        return self._board.usable(self._board.with_role("spare"), now)

    def dial(self, now: float) -> None:
        """A new one."""
        route = self._exposure.order(now, without=[self._board.path])[0]
        self._exposure.dialed(route)
        self._board.dial(route, "spare", now)

    def wait_for(self, link: Link) -> None:
        """This dial of the direct path was overtaken; it may be late, since a segment was lost."""
        self.next_at = max(self.next_at, link.lost_until)

    def answered(self) -> None:
        """It works."""
        self._backoff = self._least_backoff

    def failed(self, now: float) -> None:
        """Its dial has failed, or it has ended or answers no more: the next one after a pause."""
        self.gone()
        self.next_at = now + self._backoff
        self._backoff = min(2 * self._backoff, self._settings.most_backoff_seconds)

    def gone(self) -> None:
        """What it carried for the connection in use, the next one shall."""
        carrier = self._board.carrier
        if carrier is not None:
            carrier.established.return_taken()

    def ended_idle(self, link: Link, reason: str, now: float) -> bool:
        """A spare that a proxy ends because it was idle for a while is no reason to show another proxy."""
        lasted = now - link.dialed_at >= self._settings.keepalive_seconds
        idle = reason in ("eof", "reset") and not link.established.unanswered
        return link.role == "spare" and lasted and idle

    def reset(self, now: float) -> None:
        """Another network: what failed there may work here."""
        self.next_at, self._backoff = now, self._least_backoff
