"""The connections of a policy that uses one at a time: what each is for, and what it has shown of itself. Sans-IO.

What re-implemented policies have in common: they race candidates, go by the winner, and may probe beside it. When they
do so is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from client.policies import Answered, DialFailed, Ended, Established, Heard, Ponged, Sent, StageReached
from client.policies.evidence import Evidence
from client.policies.orders import Orders
from client.policies.rtt import RttEstimate

Purpose = Literal["candidate", "carrier", "probe"]
OfConnection = Established | DialFailed | Ended | StageReached | Sent | Answered | Ponged | Heard


@dataclass(slots=True)
class Link:
    """One connection. `stages`: when its dial entered each (seconds); `evidence` is None until it is established."""

    number: int
    route: str
    purpose: Purpose
    dialed_at: float
    stages: dict[str, float] = field(default_factory=dict)
    established_at: float = 0.0
    evidence: Evidence | None = None

    @property
    def shown(self) -> Evidence:
        """What the connection has shown of itself; it has to be established."""
        assert self.evidence is not None, f"connection {self.number} is not established"
        return self.evidence


class Connections:
    """`path`: the preferred route, which counts as the one in use until one is; `orders`: what is commanded."""

    def __init__(self, path: str) -> None:
        self.orders = Orders(path)
        self.links: dict[int, Link] = {}
        self._rtt: dict[str, RttEstimate] = {}

    @property
    def path(self) -> str:
        """The route in use, or the last that was; before any, the preferred one."""
        return self.orders.path

    @property
    def carrier(self) -> Link | None:
        """The connection in use."""
        return next(iter(self.of("carrier")), None)

    def of(self, purpose: Purpose) -> list[Link]:
        """The connections that are for this, the oldest first."""
        return [link for link in self.links.values() if link.purpose == purpose]

    def note(self, observation: OfConnection, now: float) -> Link:
        """Write down what was observed; one that has ended is not held any more. Returns the connection.

        Pings are no evidence by themselves: these policies judge by messages, and their pings by a clock of their own.
        """
        link = self.links[observation.connection]
        match observation:
            case Established():
                link.established_at = now
                link.evidence = Evidence(self._rtt.setdefault(link.route, RttEstimate()), heard_at=now)
            case DialFailed() | Ended():
                del self.links[link.number]
            case StageReached(stage=stage):
                link.stages[stage] = now
            case Sent(id=id_):
                link.shown.sent(id_, now)
            case Answered(id=id_):
                link.shown.answered(id_, now)
            case _:
                link.shown.heard(now)
        return link

    def dial(self, route: str, now: float) -> Link:
        """Start to dial `route`, to carry messages."""
        return self._hold(self.orders.dial(route), route, "candidate", now)

    def probe(self, route: str, now: float) -> Link:
        """Start to dial `route`, to see whether it works."""
        return self._hold(self.orders.probe(route), route, "probe", now)

    def use(self, link: Link) -> None:
        """Go by this candidate, which stands, and give the others up."""
        losers = [other for other in self.of("candidate") if other is not link]
        if self.path not in {other.route for other in losers}:
            self.orders.path = link.route  # It is left without having been tried: nothing is known against it.
        link.purpose = "carrier"
        self.orders.use(link.number, link.route)
        self.abort(losers)

    def abort(self, links: Iterable[Link]) -> None:
        """Give these up at once."""
        for link in links:
            del self.links[link.number]
            self.orders.abort(link.number)

    def close(self, link: Link) -> None:
        """End this established one in order."""
        del self.links[link.number]
        self.orders.close(link.number)

    def _hold(self, number: int, route: str, purpose: Purpose, now: float) -> Link:
        link = self.links[number] = Link(number, route, purpose, now)
        return link
