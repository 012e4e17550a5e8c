"""A network with a censor on a fake clock, and a driver without I/O: what a diagnosis has to make sense of.

Packets are not modelled, but what they do to a client is: answers come in order on each connection, a lost one is sent
again as TCP would, and what the censor swallows holds up everything behind it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from client.policies import (
    Abort,
    Answered,
    Close,
    Command,
    Copy,
    Diagnosed,
    Dial,
    DialFailed,
    Ended,
    Established,
    Observation,
    Ping,
    Policy,
    Ponged,
    Sent,
    StageReached,
    Use,
)

MESSAGE_BYTES = 1000
HANDSHAKE_BYTES = 4500
LIMITS = {"dns": 4.0, "tcp": 3.5, "upgrade": 5.0}
ORIGIN = ("203.0.113.10",)
FORGED = ("198.18.0.53",)
BURST_BYTES = RATE = 16_000


@dataclass
class Path:
    """`block`: what the censor does since `blocked_at`, by the names in `Line.fate` and `Line.stage_fate`."""

    rtt: float = 0.04
    proxied: bool = False
    block: str = ""
    blocked_at: float = 0.0

    @property
    def stages(self) -> tuple[str, ...]:
        first, last = ("dns", "tcp"), ("tls", "upgrade")
        return (*first, "socks_greeting", "socks_request", *last) if self.proxied else (*first, *last)


@dataclass
class Line:
    """One connection. `queue`: what waits to be answered, in order; `stuck`: nothing passes any more."""

    route: str
    path: Path
    born: float
    vanishes_at: str
    stage: int = 0
    established: bool = False
    stuck: bool = False
    carried: int = HANDSHAKE_BYTES
    counted_from: float = 0.0
    tokens: float = BURST_BYTES
    tokens_at: float = 0.0
    last_arrival: float = 0.0
    last_ack: float = 0.0
    queue: deque[tuple[int, Observation, float]] = field(default_factory=deque)
    busy: bool = False

    def swallows(self, size: int, now: float) -> bool:
        """Whether the censor lets this not through, for good."""
        block, existing = self.path.block, self.born < self.path.blocked_at
        if block in ("address_drop", "sni_drop", "upstream") or (block == "flow_drop" and existing):
            return True
        if block == "flow_drop":
            return self.vanishes_at == "after"
        if block == "freeze":
            if existing and self.counted_from < self.path.blocked_at:
                self.counted_from, self.carried = self.path.blocked_at, 0
            self.carried += size + 200
            return self.carried > 16_384
        return block == "data_drop" and size >= 900

    def fits(self, size: int, now: float) -> bool:
        """Whether the policer has tokens for it."""
        if self.path.block != "throttle":
            return True
        since = max(self.tokens_at, self.path.blocked_at)
        self.tokens, self.tokens_at = min(BURST_BYTES, self.tokens + (now - since) * RATE), now
        if self.tokens < size:
            return False
        self.tokens -= size
        return True


@dataclass
class Network:
    """Sends a message of 1000 bytes each `interval` seconds by the connection in use."""

    policy: Policy
    paths: dict[str, Path]
    interval: float = 0.02
    loss: float = 0.0
    jitter: float = 0.0
    seed: int = 1
    now: float = 0.0
    lines: dict[int, Line] = field(default_factory=dict)
    in_use: int | None = None
    told: list[tuple[float, Diagnosed]] = field(default_factory=list)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def start(self) -> None:
        self._obey(self.policy.start(self.now))
        self._at(self.now, self._message)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            deadline = self.policy.deadline()
            tick_at = end if deadline is None else max(deadline, self.now)
            agenda_at = self._agenda[0][0] if self._agenda else end
            if min(tick_at, agenda_at) >= end:
                break
            if agenda_at <= tick_at:
                self.now, _, action = heapq.heappop(self._agenda)
                action()
            else:
                self.now = tick_at
                self._obey(self.policy.tick(self.now))
        self.now = end

    def block(self, block: str, route: str = "direct") -> None:
        self.paths[route].block, self.paths[route].blocked_at = block, self.now

    def verdict(self, route: str = "direct") -> Diagnosed | None:
        """The last thing told of the route."""
        return next((found for _, found in reversed(self.told) if found.route == route), None)

    def kinds(self, route: str = "direct") -> list[str]:
        return [found.kind for _, found in self.told if found.route == route]

    def quiet_seconds(self, connection: int) -> float | None:
        """TCP acknowledges what the first hop gets: a proxy does even if what is behind it is dead."""
        line = self.lines[connection]
        return 0.0 if line.path.block == "upstream" else self.now - line.last_ack

    # -- the driver

    def _message(self) -> None:
        id_ = next(self._ids)
        if self.in_use is not None:
            self._send(self.in_use, id_)
        self._at(self.now + self.interval, self._message)

    def _send(self, number: int, id_: int) -> None:
        if number in self.lines:
            self._tell(Sent(number, id_, MESSAGE_BYTES))
            self._queue(number, MESSAGE_BYTES, Answered(number, id_))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Dial(connection=number, route=route):
                    vanishes_at = self._random.choice(("upgrade", "after"))
                    self.lines[number] = Line(route, self.paths[route], self.now, vanishes_at, last_ack=self.now)
                    self._at(self.now, lambda number=number: self._stage(number))  # type: ignore[misc]  # a default
                case Ping(connection=number, number=ping):
                    self._queue(number, 50, Ponged(number, ping))
                case Use(connection=number):
                    self.in_use = number
                case Copy(connection=number, ids=ids):
                    for id_ in ids:
                        self._at(self.now, lambda number=number, id_=id_: self._send(number, id_))  # type: ignore[misc]
                case Abort(connection=number) | Close(connection=number):
                    self._drop(number)
                case Diagnosed():
                    self.told.append((self.now, command))
                case _:
                    pass

    def _drop(self, number: int) -> None:
        del self.lines[number]
        if self.in_use == number:
            self.in_use = None

    def _tell(self, observation: Observation) -> None:
        self._obey(self.policy.observe(observation, self.now))

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), action))

    # -- a dial

    def _stage(self, number: int) -> None:
        line = self.lines.get(number)
        if line is None:
            return
        if line.stage == len(line.path.stages):
            line.established = True
            self._tell(Established(number, self.now - line.born))
            return
        name, stage = line.path.stages[line.stage], line.stage
        forged = line.path.block == "forged"
        found = () if line.path.proxied or name != "tcp" else FORGED if forged else ORIGIN
        self._tell(StageReached(number, name, found))
        if number not in self.lines:
            return
        failure, seconds = self._stage_fate(line, name)
        if failure == "":
            self._at(self.now + seconds, lambda: self._passed(number, stage))
        else:
            self._at(self.now + seconds, lambda: self._dial_failed(number, stage, name, failure))

    def _passed(self, number: int, stage: int) -> None:
        line = self.lines.get(number)
        if line is not None and line.stage == stage:
            line.stage += 1
            line.last_ack = self.now
            self._stage(number)

    def _dial_failed(self, number: int, stage: int, name: str, failure: str) -> None:
        line = self.lines.get(number)
        if line is not None and line.stage == stage and not line.established:
            self._tell(DialFailed(number, name, failure))
            self._drop(number)

    def _stage_fate(self, line: Line, name: str) -> tuple[str, float]:
        """(failure, "" for none; seconds until it comes)."""
        block, near = line.path.block, 0.001
        silent = ("generic_timeout_error", LIMITS.get(name, 5.0))
        if name == "dns":
            return ("dns_nxdomain_error", near) if block == "nxdomain" else ("", self._trip(0.005, 2.0))
        if (name, block) == ("tcp", "reset"):
            return "connection_refused", near
        if (name, block) == ("tcp", "forged"):
            return "connection_refused", line.path.rtt
        if (name, block) == ("tls", "sni_reset"):
            return "connection_reset", near
        swallowed = {"address_drop": "tcp", "sni_drop": "tls", "upstream": "socks_request"}
        if swallowed.get(block) == name or (block == "flow_drop" and line.vanishes_at == name):
            return silent
        near_rtt = line.path.rtt / 2 if line.path.proxied and name in ("tcp", "socks_greeting") else line.path.rtt
        return "", self._trip(near_rtt, 1.0 if name == "tcp" else 0.2 + near_rtt)

    def _trip(self, rtt: float, retry: float) -> float:
        """One round trip with losses and jitter; `retry`: after which a packet is sent again, then doubled."""
        seconds = rtt + self._random.random() * self.jitter
        while self._random.random() < 2 * self.loss:
            seconds += retry
            retry *= 2
        return seconds

    # -- a connection

    def _queue(self, number: int, size: int, answer: Observation) -> None:
        line = self.lines[number]
        if line.path.block in ("reset", "nxdomain", "forged", "sni_reset") and line.born < line.path.blocked_at:
            self._at(self.now + 0.001, lambda: self._cut(number))
            return
        line.queue.append((size, answer, 0.2 + line.path.rtt))
        if not line.busy:
            self._pump(number)

    def _cut(self, number: int) -> None:
        if number in self.lines:
            if self.in_use == number:
                self.in_use = None
            self._tell(Ended(number, "connection_reset"))
            del self.lines[number]

    def _pump(self, number: int) -> None:
        """Send what waits until the censor holds something up."""
        line = self.lines.get(number)
        if line is None or line.stuck:
            return
        line.busy = False
        while line.queue:
            size, answer, retry = line.queue[0]
            if line.swallows(size, self.now):
                line.stuck = True
                return
            if not line.fits(size, self.now):
                line.queue[0] = (size, answer, 2 * retry)
                line.busy = True
                self._at(self.now + retry, lambda: self._pump(number))
                return
            line.queue.popleft()
            arrival = self.now + self._trip(line.path.rtt, 0.2 + line.path.rtt)
            line.last_arrival = max(line.last_arrival, arrival)
            self._at(line.last_arrival, lambda answer=answer: self._arrive(number, answer))  # type: ignore[misc]

    def _arrive(self, number: int, answer: Observation) -> None:
        line = self.lines.get(number)
        existing = line is not None and line.born < line.path.blocked_at
        gone = line is not None and (
            line.path.block in ("address_drop", "sni_drop", "upstream") or (line.path.block == "flow_drop" and existing)
        )
        if line is not None and not gone:
            line.last_ack = self.now
            self._tell(answer)
