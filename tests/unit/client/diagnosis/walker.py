"""A plain policy that does what a diagnosis lives on: it leaves a bad path, and probes it with copies of messages."""

from __future__ import annotations

from client.policies import (
    Abort,
    Answered,
    Close,
    Command,
    Copy,
    Dial,
    DialFailed,
    Ended,
    Established,
    Observation,
    PathBad,
    Ping,
    Ponged,
    Sent,
    Use,
)

VERDICT_SECONDS = 1.0
STAGGER_SECONDS = 3.0
PROBE_SECONDS = 2.0
FIRST_PROBE_SECONDS = 0.2
PROBE_TIMEOUT_SECONDS = 3.0
TRIAL_BYTES = 32_000


class Walker:
    """`routes` in the order of preference, in a ring. The route that carried last, or failed first, is probed."""

    def __init__(self, routes: list[str], *, probes: bool = True, verdict_seconds: float = VERDICT_SECONDS) -> None:
        self._verdict_seconds = verdict_seconds
        self._routes = routes
        self._probes = probes
        self._numbers = 0
        self._route_of: dict[int, str] = {}
        self._carrier: int | None = None
        self._candidate: int | None = None
        self._position = 0
        self._next_at: float | None = None
        self._waiting: dict[int, float] = {}
        self._answered_at = 0.0
        self._probe: int | None = None
        self._probe_ready = False
        self._probe_at: float | None = None
        self._probe_bytes = 0
        self._probe_progress = 0.0
        self._failed: str | None = None
        self._out: list[Command] = []

    def start(self, now: float) -> list[Command]:
        self._try(now)
        return self._commands()

    def deadline(self) -> float | None:
        times = [self._next_at, self._probe_at]
        if self._carrier is not None and self._waiting:
            times.append(max(min(self._waiting.values()), self._answered_at) + self._verdict_seconds)
        if self._probe is not None:
            times.append(self._probe_progress + PROBE_TIMEOUT_SECONDS)
        return min((time for time in times if time is not None), default=None)

    def observe(self, observation: Observation, now: float) -> list[Command]:
        match observation:
            case Established(connection=number) if number == self._probe:
                self._out.append(Ping(number, 1))
                self._probe_progress = now
            case Established(connection=number):
                self._carrier, self._candidate, self._next_at = number, None, None
                self._out.append(Use(number, self._route_of[number]))
                self._waiting.clear()
            case Ended(connection=number) | DialFailed(connection=number):
                self._gone(number, now)
            case Sent(connection=number, id=id_) if number == self._carrier:
                self._waiting[id_] = now
                if self._probe is not None and self._probe_ready:
                    self._out.append(Copy(self._probe, (id_,)))
            case Answered(connection=number, id=id_) if number == self._carrier:
                self._waiting.pop(id_, None)
                self._answered_at = now
            case Answered(connection=number) if number == self._probe:
                self._probe_bytes += 1000
                self._probe_progress = now
                if self._probe_bytes >= TRIAL_BYTES:
                    self._end_probe(Close(number), now)
            case Ponged():
                self._probe_ready, self._probe_progress = True, now
            case _:
                pass
        return self._commands()

    def tick(self, now: float) -> list[Command]:
        due = self.deadline()
        while due is not None and due <= now:
            self._due(now)
            due = self.deadline()
        return self._commands()

    def _due(self, now: float) -> None:
        if self._next_at is not None and self._next_at <= now:
            self._overtake(now)
        elif self._probe_at is not None and self._probe_at <= now:
            self._probe_at = None
            self._start_probe(now)
        elif self._probe is not None and self._probe_progress + PROBE_TIMEOUT_SECONDS <= now:
            self._end_probe(Abort(self._probe), now)
        else:
            self._leave("ack_overdue", now)

    def _try(self, now: float) -> None:
        route = self._routes[self._position % len(self._routes)]
        self._candidate = self._dial(route)
        self._next_at = now + STAGGER_SECONDS

    def _overtake(self, now: float) -> None:
        assert self._candidate is not None
        self._out.append(Abort(self._candidate))
        self._next(self._route_of[self._candidate], "dial_failed", now)

    def _gone(self, number: int, now: float) -> None:
        if number == self._probe:
            self._probe, self._probe_ready = None, False
            self._probe_at = now + PROBE_SECONDS
        elif number == self._carrier:
            self._carrier, self._failed = None, self._route_of[number]
            self._next(self._route_of[number], "reset", now)
        else:
            self._next(self._route_of[number], "dial_failed", now)

    def _leave(self, reason: str, now: float) -> None:
        assert self._carrier is not None
        number, self._carrier = self._carrier, None
        self._failed = self._route_of[number]
        self._next(self._route_of[number], reason, now)
        self._out.append(Abort(number))

    def _next(self, route: str, reason: str, now: float) -> None:
        self._out.append(PathBad(route, reason))
        self._waiting.clear()
        self._position += 1
        self._try(now)
        self._failed = self._failed or route
        if self._probes and self._probe is None:
            self._probe_at = now + FIRST_PROBE_SECONDS

    def _start_probe(self, now: float) -> None:
        assert self._failed is not None
        self._probe, self._probe_ready = self._dial(self._failed), False
        self._probe_bytes, self._probe_progress = 0, now

    def _end_probe(self, command: Command, now: float) -> None:
        self._probe, self._probe_ready = None, False
        self._probe_at = now + PROBE_SECONDS
        self._out.append(command)

    def _dial(self, route: str) -> int:
        self._numbers += 1
        self._route_of[self._numbers] = route
        self._out.append(Dial(self._numbers, route))
        return self._numbers

    def _commands(self) -> list[Command]:
        commands, self._out = self._out, []
        return commands
