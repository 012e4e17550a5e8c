"""What the policy `sidedoor` has on the table: its connections, and the commands that wait to be given out. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterable

from client.policies import Abort, Close, Command, Dial, Health, Ping, ProbeEnded, Recollection
from client.policies.evidence import Evidence
from client.policies.hedging import HedgeRecord
from client.policies.links import Link, Role
from client.policies.rtt import RttEstimate
from client.policies.sidedoor_settings import SidedoorSettings


class Board:
    """Connections by number, with what each route has shown of itself.

    `path`: the route in use, or the last that was; `path_bad`: it is known to be bad, and another is sought.
    `grace_until`: nobody is judged before, since this process stood still.
    """

    def __init__(self, settings: SidedoorSettings, path: str) -> None:
        self.path = path
        self.path_bad = False
        self.grace_until = 0.0
        self.links: dict[int, Link] = {}
        self.commands: list[Command] = []
        self._settings = settings
        self._rtt: dict[str, RttEstimate] = {}
        self._hedges: dict[str, HedgeRecord] = {}
        self._numbers = 0
        self._pings = 0

    def recall(self, recollection: Recollection) -> None:
        """Begin anew, with the round trips that are remembered of this network."""
        self._rtt, self._hedges = {}, {}
        for route, seconds in recollection.rtt_seconds.items():
            self.rtt(route).remember(seconds)

    def rtt(self, route: str) -> RttEstimate:
        """The estimate of this route's round trip."""
        return self._rtt.setdefault(route, RttEstimate())

    def hedges(self, route: str) -> HedgeRecord:
        """How hedges of this route fared."""
        return self._hedges.setdefault(route, HedgeRecord())

    # -- connections

    def with_role(self, *roles: Role) -> list[Link]:
        """The connections that are for this."""
        return [link for link in self.links.values() if link.role in roles]

    @property
    def carrier(self) -> Link | None:
        """The connection in use."""
        return next(iter(self.with_role("carrier")), None)

    @property
    def health(self) -> Health:
        """How the connection in use is, and what stands beside it."""
        standby = next((link.route for link in self.with_role("spare") if link.evidence is not None), None)
        carrier = self.carrier
        if carrier is None:
            return Health(standby=standby)
        doubt = carrier.doubt
        return Health(
            rtt_seconds=self.rtt(carrier.route).smoothed,
            in_doubt=doubt is not None,
            hedging=doubt is not None and doubt.copies > 0,
            standby=standby,
        )

    def pending(self) -> list[Link]:
        """Dials under way whose connection could carry."""
        return [link for link in self.with_role("candidate", "spare") if link.evidence is None]

    def dial(self, route: str, role: Role, now: float) -> Link:
        """A new connection, from now on."""
        self._numbers += 1
        link = self.links[self._numbers] = Link(self._numbers, route, role, now)
        self.commands.append(Dial(link.number, route))
        return link

    def established(self, link: Link, now: float) -> None:
        """The dial is done."""
        rtt = self.rtt(link.route)
        if link.slowest_stage_seconds is not None:
            rtt.remember(link.slowest_stage_seconds)  # as TCP takes its first sample from the SYN (RFC 6298)
        link.evidence = Evidence(rtt, heard_at=now)
        self.report_end(link, None)

    def ping(self, link: Link, now: float) -> None:
        """Ask for a sign of life."""
        self._pings += 1
        link.established.pinged(self._pings, now)
        self.commands.append(Ping(link.number, self._pings))

    def drop(self, link: Link, command: type[Abort] | type[Close] | None = None) -> None:
        """Give the connection up: in order if it stands and nothing else is said."""
        self.report_end(link, "interrupted")
        del self.links[link.number]
        self.commands.append((command or (Close if link.evidence else Abort))(link.number))

    def report_end(self, link: Link, failure: str | None) -> None:
        """The end of an announced attempt, once: it stands (None), has failed, or is given up."""
        if link.announced:
            link.announced = False
            self.commands.append(ProbeEnded(link.number, link.route, failure))

    def take(self) -> list[Command]:
        """The commands, which wait no more."""
        commands, self.commands = self.commands, []
        return commands

    # -- how long is too long

    def hedge_delay(self, link: Link, now: float) -> float:
        """Seconds after which an answer on `link` is overdue enough for a copy by another connection."""
        settings = self._settings
        rtt = self.rtt(link.route)
        usual = rtt.timeout(
            initial=settings.initial_timeout_seconds,
            least=settings.least_hedge_seconds,
            most=settings.most_hedge_seconds,
        )
        patience = rtt.patience(floors=settings.hedge_floors, margin=settings.hedge_margin_seconds, initial=usual)
        delay = max(min(usual, patience), settings.least_hedge_seconds)
        # However many hedges have lost, they go out before a path without a spare would be left.
        return max(delay, min(delay * self.hedges(link.route).factor(now), self.lonely_delay(link)))

    def verdict_delay(self, link: Link) -> float:
        """Seconds after which a path that is behind is left, if a hedge has won."""
        least = self.rtt(link.route).least
        return self._settings.verdict_seconds + self._settings.verdict_floors * least

    def lonely_delay(self, link: Link) -> float:
        """Seconds after which a proxy is dialed for a path that is behind and cannot be hedged."""
        least = self.rtt(link.route).least
        return self._settings.lonely_seconds + self._settings.lonely_floors * least

    def stuck_at(self, link: Link) -> float:
        """When this dial is to be called stuck."""
        return max(link.stuck_at, self.grace_until)

    def behind_at(self, link: Link, now: float) -> float | None:
        """When the oldest unanswered message or ping is overdue (or was); None: nothing is awaited."""
        since = link.established.waiting_since
        return None if since is None else since + self.hedge_delay(link, now)

    def behind(self, link: Link, now: float) -> bool:
        """Whether an answer on this connection is overdue."""
        at = self.behind_at(link, now)
        return at is not None and at <= now

    def usable(self, links: Iterable[Link], now: float) -> Link | None:
        """The first that stands and is not behind."""
        return next((link for link in links if link.evidence is not None and not self.behind(link, now)), None)
