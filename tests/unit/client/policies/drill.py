"""A policy on a fake clock: paths that fail when told to, a driver without I/O, and a log of every command."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from client.policies import (
    DIRECT,
    Abort,
    Answered,
    Close,
    Command,
    Copy,
    Dial,
    DialFailed,
    Ended,
    Established,
    Heard,
    NetworkChanged,
    Observation,
    PathBad,
    Ping,
    Policy,
    Ponged,
    ProbeEnded,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
    Use,
)

CONNECT_SECONDS = 3.5
DIAL_ROUND_TRIPS = 4
MESSAGE_BYTES = 500
TICKS_AT_ONCE = 5
"""More ticks than this without any time passing are a busy loop."""


@dataclass
class Path:
    """`blocked`: "" carries; "drop" swallows everything; "refuse" refuses dials; "data" lets dials and pings pass but
    no messages; "stall" lets dials come as far as TLS. `extra`: seconds added to one round trip, by its number on
    this path. `bytes_per_second`: a throttle. `freeze_bytes`: each connection carries so many bytes and freezes."""

    rtt: float = 0.04
    blocked: str = ""
    extra: Callable[[int], float] = lambda number: 0.0
    bytes_per_second: float = math.inf
    freeze_bytes: float = math.inf
    trips: int = 0


@dataclass
class Line:
    route: str
    last_arrival: float = 0.0
    left_at: float = 0.0
    bytes: int = 0
    held: list[Observation] = field(default_factory=list)  # what TCP sends again when the path is free


@dataclass
class Drill:
    """Sends a message each `interval` seconds by the connection in use; `late`: lateness of the n-th tick;
    `connect_seconds`: after which a dial without an answer fails."""

    policy: Policy
    paths: dict[str, Path]
    interval: float = 0.02
    late: Callable[[int], float] = lambda number: 0.0
    connect_seconds: float = CONNECT_SECONDS
    now: float = 0.0
    log: list[tuple[float, Command]] = field(default_factory=list)
    lines: dict[int, Line] = field(default_factory=dict)
    in_use: int | None = None
    sent_at: dict[int, float] = field(default_factory=dict)
    answered_at: dict[int, float] = field(default_factory=dict)  # the first copy's answer
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _ticks: int = 0
    _tick_at: float | None = None
    _tick_for: float | None = None
    _ticked_at: tuple[float, int] = (-1.0, 0)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._obey(self.policy.start(0.0))
        if self.interval:
            self._at(0.0, self._message)

    # -- what tests call

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        while True:
            agenda_at = self._agenda[0][0] if self._agenda else end
            tick_at = end if self._tick_at is None else self._tick_at
            if min(agenda_at, tick_at) >= end:
                break
            if agenda_at <= tick_at:
                self.now, _, action = heapq.heappop(self._agenda)
                action()
            else:
                self.now = tick_at
                self._tick_for = None
                self._note_tick()
                self._obey(self.policy.tick(self.now))
            self._arm()
        self.now = end

    def reset(self, failure: str = "connection_reset") -> None:
        """The connection in use ends by itself."""
        assert self.in_use is not None
        self._end(self.in_use, failure)

    def end(self, route: str, failure: str = "connection_reset") -> None:
        """The newest connection by this route, which is established, ends by itself."""
        self._end(max(number for number, line in self.lines.items() if line.route == route), failure)

    def times(self, kind: type[Command], route: str | None = None) -> list[float]:
        return [time for time, found in self.log if isinstance(found, kind) and route in (None, _route(found))]

    def last(self, kind: type[Command]) -> Command:
        return next(found for _, found in reversed(self.log) if isinstance(found, kind))

    def last_dialed(self, route: str) -> int:
        """The number of the newest connection dialed by this route."""
        return max(found.connection for _, found in self.log if isinstance(found, Dial) and found.route == route)

    @property
    def route(self) -> str | None:
        return None if self.in_use is None else self.lines[self.in_use].route

    def send(self, count: int = 1) -> None:
        """Messages beside the steady ones."""
        for _ in range(count):
            self._send()
        self._arm()

    @property
    def shown(self) -> set[str]:
        """The proxies that a censor has seen."""
        return {found.route for _, found in self.log if isinstance(found, Dial)} - {DIRECT}

    def recovered_after(self, t0: float) -> float:
        """Seconds from `t0` to the first answer to a message that was sent after it."""
        return min(at for id_, at in self.answered_at.items() if self.sent_at[id_] >= t0) - t0

    def longest_silence(self, begin: float) -> float:
        """The longest time from `begin` on without a new answer, in seconds."""
        times = [begin, *sorted(at for at in self.answered_at.values() if at >= begin), self.now]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def change_network(self, recollection: Recollection) -> None:
        """The host is on another network."""
        self._tell(NetworkChanged(recollection))
        self._arm()

    def change_routes(self, *routes: RouteFacts) -> None:
        """The list of routes is another one."""
        self._tell(RoutesChanged(routes))
        self._arm()

    # -- the driver

    def _end(self, number: int, failure: str) -> None:
        if self.in_use == number:
            self.in_use = None
        self._tell(Ended(number, failure))
        del self.lines[number]
        self._arm()

    def _note_tick(self) -> None:
        at, count = self._ticked_at
        self._ticked_at = self.now, count + 1 if at == self.now else 1
        assert self._ticked_at[1] <= TICKS_AT_ONCE, f"busy loop at {self.now}"

    def _message(self) -> None:
        self._send()
        self._at(self.now + self.interval, self._message)

    def _send(self) -> None:
        id_ = next(self._ids)
        if self.in_use is not None:
            number = self.in_use
            self.sent_at[id_] = self.now
            self._tell(Sent(number, id_, MESSAGE_BYTES))
            self._carry(number, id_)

    def _copy(self, number: int, id_: int) -> None:
        """At once, but not inside the call that ordered it."""

        def send() -> None:
            if number in self.lines:
                self._tell(Sent(number, id_, MESSAGE_BYTES))
                self._carry(number, id_)

        self._at(self.now, send)

    def _carry(self, number: int, id_: int) -> None:
        if number in self.lines and self.paths[self.lines[number].route].blocked != "data":
            self._answer(number, Answered(number, id_), MESSAGE_BYTES)

    def _answer(self, number: int, answer: Observation, size: int = 0) -> None:
        """The answer arrives a round trip later, in order, unless the path swallows it at either end of the trip."""
        line = self.lines[number]
        path = self.paths[line.route]
        path.trips += 1
        line.bytes += size
        if path.blocked in ("drop", "stall") or line.bytes > path.freeze_bytes:
            line.held.append(answer)
            return
        line.left_at = max(line.left_at, self.now) + size / path.bytes_per_second
        line.last_arrival = max(line.last_arrival, line.left_at + path.rtt + path.extra(path.trips))
        for arriving in (*line.held, answer):
            self._at(line.last_arrival, partial(self._arrive, number, path, arriving))
        line.held.clear()

    def _arrive(self, number: int, path: Path, answer: Observation) -> None:
        if number not in self.lines:
            return
        if path.blocked in ("drop", "stall"):
            self.lines[number].held.append(answer)
        else:
            if isinstance(answer, Answered):
                self.answered_at.setdefault(answer.id, self.now)
            self._tell(answer)
            if number in self.lines and isinstance(answer, Answered):
                self._tell(Heard(number))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            self.log.append((self.now, command))
            match command:
                case Dial(connection=number, route=route):
                    self.lines[number] = Line(route)
                    self._dial(number, self.paths[route])
                case Ping(connection=number, number=ping):
                    self._answer(number, Ponged(number, ping))
                case Use(connection=number):
                    self.in_use = number
                case Copy(connection=number, ids=ids):
                    for id_ in ids:
                        self._copy(number, id_)
                case Abort(connection=number) | Close(connection=number):
                    del self.lines[number]
                    if self.in_use == number:
                        self.in_use = None
                case _:
                    pass

    def _dial(self, number: int, path: Path) -> None:
        def arrive() -> None:
            if number not in self.lines:
                return
            if path.blocked == "refuse":
                self._tell(DialFailed(number, "tcp", "connection_refused"))
                del self.lines[number]
            elif path.blocked in ("drop", "stall"):
                self._at(self.now + self.connect_seconds, give_up)
            else:
                self._tell(Established(number, DIAL_ROUND_TRIPS * path.rtt))

        def give_up() -> None:
            if number in self.lines:
                self._tell(DialFailed(number, "tcp", "generic_timeout_error"))
                del self.lines[number]

        def stage(name: str) -> None:
            if number in self.lines:
                self._tell(StageReached(number, name))

        self._at(self.now, lambda: stage("tcp"))
        if path.blocked in ("", "stall"):
            self._at(self.now + path.rtt, lambda: stage("tls"))
        self._at(self.now + path.rtt * (1 if path.blocked else DIAL_ROUND_TRIPS), arrive)

    def _tell(self, observation: Observation) -> None:
        self._obey(self.policy.observe(observation, self.now))

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), action))

    def _arm(self) -> None:
        deadline = self.policy.deadline()
        if deadline != self._tick_for or deadline is None:
            self._tick_for = deadline
            self._ticks += 1
            self._tick_at = None if deadline is None else max(deadline, self.now) + self.late(self._ticks)


def lossy(random: Random, rtt: float, loss: float, jitter: float) -> Callable[[int], float]:
    """Seconds that TCP needs more for one round trip: fast retransmission after three more segments (RFC 5681), then
    Linux's RTO of 0.2 s and a round trip, doubled each time (RFC 6298 section 5.5)."""

    def extra(_: int) -> float:
        seconds, wait = random.random() * jitter, rtt + 0.06
        while random.random() < loss:
            seconds += wait
            wait = 0.2 + rtt if wait == rtt + 0.06 else 2 * wait
        return seconds

    return extra


@dataclass
class StrictDrill(Drill):
    """Fails when the policy commands a connection that is not there, or waits for what cannot come."""

    _standing: set[int] = field(default_factory=set)
    _gone: set[int] = field(default_factory=set)

    def _tell(self, observation: Observation) -> None:
        match observation:
            case Established(connection=number):
                self._standing.add(number)
            case DialFailed(connection=number) | Ended(connection=number):
                self._gone.add(number)
            case _:
                pass
        super()._tell(observation)

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Dial(connection=number):
                    assert number not in self.lines, command
                case Use(connection=number) | Ping(connection=number) | Copy(connection=number):
                    assert number in self._standing & self.lines.keys() - self._gone, command
                case Abort(connection=number) | Close(connection=number):
                    assert number in self.lines.keys() - self._gone, command
                case _:
                    pass
            super()._obey([command])
        assert self.lines.keys() - self._gone or self.policy.deadline() is not None, "nothing will ever wake it"


def _route(command: Command) -> str | None:
    return command.route if isinstance(command, Dial | Use | PathBad | ProbeEnded) else None
