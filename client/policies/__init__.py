"""Policies: which path messages take. Observations and time in, commands out. Sans-IO.

A policy sees what its driver (`client.driver`) does and learns on the connections, and answers each observation with
commands. It numbers the connections itself, so that it can talk about one before it stands. It never sees a socket,
a clock or a message's body. `client.policies.catalogue` has them all by name.

    driver                      policy
      start(now)            ->  [Dial(1, "direct")]
      Established(1)        ->  [Use(1, "direct")]
      Sent(1, id)           ->  []              ... deadline() moves to when an answer is overdue
      tick(now)             ->  [PathBad("direct", "ack_overdue"), Dial(2, "proxy1")]
      Established(2)        ->  [Use(2, "proxy1"), Abort(1)]
      Sent(1, id)           ->  [Copy(2, (id,))]   ... a hedge: the same message by a spare, before any verdict

The driver promises: an observation about a connection comes only after its Dial and never after its Abort, Close, Ended
or DialFailed; `tick` is called at or after `deadline()`, with the time it really is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

# What a policy is told.


@dataclass(frozen=True, slots=True)
class Established:
    """A dialed connection stands, all stages up to the WebSocket upgrade. `seconds`: what the dial took."""

    connection: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial has ended without a connection; `stage` and `failure` as in `client.routes`."""

    connection: int
    stage: str
    failure: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An established connection has ended by itself; `failure` in OONI's words, as `connection_reset`, `eof_error`."""

    connection: int
    failure: str


@dataclass(frozen=True, slots=True)
class StageReached:
    """A dial has entered `stage` (`client.routes`): all before it were passed. `addresses`: what a nameserver gave, in
    the stage `tcp` of a route that looks the origin's name up; none where the name needed no query."""

    connection: int
    stage: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """This host is on another network now (an address or the default route is another), `recollection` is what is
    remembered of it. Connections are left as they are: what is dead shows itself."""

    recollection: Recollection


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """The list of routes is another one now; connections by a route that is not in it any more may go on."""

    routes: tuple[RouteFacts, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A copy of the message went out by the connection; `size`: its record's, in bytes.

    Ids below 0 are pieces of attachments, which no `Copy` sends again.
    """

    connection: int
    id: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The origin has accepted the copy of message `id` that went by this connection: the path carried both ways."""

    connection: int
    id: int


@dataclass(frozen=True, slots=True)
class Ponged:
    """The answer to this policy's ping `number`."""

    connection: int
    number: int


@dataclass(frozen=True, slots=True)
class Heard:
    """Anything else came by the connection (an end-to-end ack): it is alive in one direction at least."""

    connection: int


# What a policy orders.


@dataclass(frozen=True, slots=True)
class Dial:
    """Start to dial `route`; the connection has this number from now on."""

    connection: int
    route: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Send an application-level ping."""

    connection: int
    number: int


@dataclass(frozen=True, slots=True)
class Use:
    """Messages go out by this established connection from now on."""

    connection: int
    route: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Send these messages, which went out before and wait for their answer, by this established connection, too.

    What is acknowledged already or went by this connection before is skipped; each that goes out is a `Sent`.
    """

    connection: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Abort:
    """Give the connection or the dial up at once, with an RST, so that the kernel retransmits nothing more."""

    connection: int


@dataclass(frozen=True, slots=True)
class Close:
    """End an established connection in order."""

    connection: int


@dataclass(frozen=True, slots=True)
class PathBad:
    """To be reported: the path in use is bad; reason: ack_overdue, slow, reset, eof, dial_failed,
    dial_overdue (another stood first)."""

    route: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """To be reported: `connection` is a deliberate attempt on a path that is not in use."""

    connection: int
    route: str


@dataclass(frozen=True, slots=True)
class ProbeEnded:
    """To be reported: the attempt carried an answer (failure None), or how it failed."""

    connection: int
    route: str
    failure: str | None


@dataclass(frozen=True, slots=True)
class Remember:
    """To be kept for this network: `route` has worked (`rtt_seconds`: its smoothed RTT), or failed (None)."""

    route: str
    rtt_seconds: float | None


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """To be reported: what is wrong with `route`; `kind` is one of `client.diagnosis.KINDS`, `confidence` in 0 to 1."""

    route: str
    kind: str
    confidence: float


Command = Dial | Ping | Use | Copy | Abort | Close | PathBad | ProbeStarted | ProbeEnded | Remember | Diagnosed

Observation = (
    Established | DialFailed | Ended | StageReached | Sent | Answered | Ponged | Heard | NetworkChanged | RoutesChanged
)
# What a policy knows from the start.


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What a policy may know of a route. `proxied`: the censor sees a proxy's address and not the origin's.

    `evades`: the kinds of block that it gets around without a proxy: "dns" (DoH, fixed addresses), "address"
    (alternate addresses), "sni" (fragmented ClientHello).
    """

    name: str
    proxied: bool
    evades: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Recollection:
    """What is remembered of a network: `rtt_seconds` of the routes that worked there, the one that worked last first;
    `failed`: those that did not work when they were tried last."""

    rtt_seconds: Mapping[str, float] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()


class Policy(Protocol):
    """What every policy is. All times are in seconds on one monotonic clock."""

    def start(self, now: float) -> list[Command]: ...

    def observe(self, observation: Observation, now: float) -> list[Command]: ...

    def deadline(self) -> float | None:
        """When `tick` is to be called next; None: not before another observation. Ask after every call."""
        ...

    def tick(self, now: float) -> list[Command]: ...


@dataclass(frozen=True, slots=True)
class Health:
    """How the path in use is, for people. `rtt_seconds`: smoothed, None: not measured yet; `in_doubt`: an answer is
    overdue; `hedging`: messages go by the standby, too; `standby`: the route of a connection that stands ready, None:
    there is none."""

    rtt_seconds: float | None = None
    in_doubt: bool = False
    hedging: bool = False
    standby: str | None = None


@runtime_checkable
class HealthTeller(Protocol):
    """A policy that can say how the path in use is."""

    @property
    def health(self) -> Health: ...


DIRECT: Literal["direct"] = "direct"
"""The name of the route that uses no proxy."""
