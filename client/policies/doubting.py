"""Doubts about the connection in use of the policy `sidedoor`: copies by the spare, and when the time is over. Sans-IO.

What a doubt is, and how hedges fare: `client.policies.hedging`.
"""

from __future__ import annotations

from client.policies import Copy
from client.policies.board import Board
from client.policies.hedging import SLOWER_SECONDS, Doubt
from client.policies.links import Link
from client.policies.sidedoor_settings import SidedoorSettings


class Doubting:
    """Begins and ends the carrier's doubts, orders the copies. `spare`: one that stands and is not behind, if any."""

    def __init__(self, settings: SidedoorSettings, board: Board) -> None:
        self._settings = settings
        self._board = board

    def deadline(self, carrier: Link, spare: Link | None, since: float, now: float) -> float:
        """When to look at the carrier, which awaits an answer since `since`; every look then changes something."""
        board, doubt, delay = self._board, carrier.doubt, self._board.hedge_delay(carrier, now)
        if doubt is None:
            return since + delay
        if spare is None:
            return since + board.lonely_delay(carrier)
        times = [since + self._patience(carrier, doubt)]
        if (behind_at := board.behind_at(spare, now)) is not None:
            times.append(behind_at)
        uncopied = carrier.established.first_untaken
        if uncopied is not None:
            times.append(uncopied + delay)
        return min(times)

    def due(self, carrier: Link, spare: Link | None, now: float) -> str | None:
        """The carrier is behind: copies by the spare, and why the path is to be left when the time has come."""
        evidence = carrier.established
        since = evidence.waiting_since
        if since is None:
            self._board.ping(carrier, now)
            return None
        if carrier.doubt is None:
            carrier.doubt = Doubt(now)
            evidence.ambiguous = True
            if evidence.unanswered == 1:
                self._board.ping(carrier, now)  # a second witness, as TCP's tail loss probe
        if spare is None:
            return _reason(carrier) if since + self._board.lonely_delay(carrier) <= now else None
        self._hedge(carrier, spare, carrier.doubt, now)
        return _reason(carrier) if since + self._patience(carrier, carrier.doubt) <= now else None

    def sent(self, carrier: Link, spare: Link | None, id_: int) -> None:
        """A message went out by the carrier: hedges that win want it at once."""
        doubt = carrier.doubt
        if doubt is not None and doubt.wins and spare is not None:
            doubt.copies += 1
            carrier.established.take(id_)
            self._board.commands.append(Copy(spare.number, (id_,)))

    def answered(self, spare: Link, id_: int, now: float) -> None:
        """The spare has answered message `id_`: a win if the carrier, which had it first, has not."""
        carrier = self._board.carrier
        if carrier is None or carrier.doubt is None or not carrier.established.waits_for(id_):
            return
        carrier.doubt.wins += 1
        if carrier.doubt.wins == 1:
            self._hedge(carrier, spare, carrier.doubt, now)

    def caught_up(self, carrier: Link, now: float) -> None:
        """Nothing on the carrier is overdue any more."""
        if carrier.doubt is not None:
            self._board.hedges(carrier.route).ended(carrier.doubt, now)
            self.end(carrier)

    def still_behind(self, carrier: Link, now: float) -> None:
        """The carrier has answered, and is behind for all that."""
        if carrier.doubt is not None and now - carrier.doubt.began_at >= SLOWER_SECONDS:
            carrier.established.ambiguous = False

    def end(self, carrier: Link) -> None:
        """No doubt is left, whatever came of it."""
        carrier.doubt = None
        carrier.established.ambiguous = False

    def _patience(self, carrier: Link, doubt: Doubt) -> float:
        """How far behind the path may be while it can be hedged, in seconds."""
        return self._board.verdict_delay(carrier) * (1 if doubt.wins else self._settings.hopeless_verdicts)

    def _hedge(self, carrier: Link, spare: Link, doubt: Doubt, now: float) -> None:
        delay = 0.0 if doubt.wins else self._board.hedge_delay(carrier, now)
        ids = carrier.established.take_overdue(delay, now)
        if ids:
            doubt.copies += len(ids)
            self._board.commands.append(Copy(spare.number, ids))


def _reason(carrier: Link) -> str:
    """Why the carrier is left: it trickles, or is silent."""
    answered_at, doubt = carrier.established.answered_at, carrier.doubt
    trickles = doubt is not None and answered_at is not None and answered_at > doubt.began_at
    return "slow" if trickles else "ack_overdue"
