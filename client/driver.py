"""The driver of a policy: it tells the policy what happens on the connections, and does what the policy orders.

Only the line in use takes messages from the outbox, so that a full transport holds back the sender and nothing else.
With `Inboxes` it is the receiving end, too: what the origin has for it comes by the line that said hello last.
All calls into the policy are synchronous; what they order is done before anything else happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from client.diagnosis.wrapper import Diagnosing
from client.encryption import Undecryptable
from client.greetings import Greetings
from client.inboxes import Inboxes
from client.lanes import Due, Lanes
from client.line import Line
from client.messages import Accepted, Ack, Hello, Message, Ping, Pong, ProxyList, Record, Replaced
from client.policies import (
    DIRECT,
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
    Heard,
    NetworkChanged,
    Observation,
    PathBad,
    Policy,
    Ponged,
    ProbeEnded,
    ProbeStarted,
    Remember,
    RoutesChanged,
    Sent,
    StageReached,
    Use,
)
from client.policies import Ping as PingCommand
from client.route_table import RouteTable
from client.routes import DialError
from client.routes.connection import Connection
from client.routes.quiet import QuietPorts
from client.status import Status
from client.surroundings import Surroundings
from sidedoor.events import Emit


class Driver:
    """`name`: this end's, to which the origin delivers. `progress` is called when messages were acknowledged.

    `inboxes`: as in `client.sender`. `run` ends by cancellation only; a line's task ends with UsageError when another
    receiver has taken the name. Implements `client.line.Owner`.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        routes: RouteTable,
        surroundings: Surroundings,
        lanes: Lanes,
        emit: Emit,
        *,
        inboxes: Inboxes | None,
        progress: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._surroundings = surroundings
        self._lanes = lanes
        self._emit = emit
        self._inboxes = inboxes
        self._progress = progress
        self._policy = Diagnosing(policy, routes.facts, quiet_seconds=self._quiet_seconds)
        self._quiet = QuietPorts()
        self._greetings = Greetings(Hello(name) if inboxes is None else inboxes.hello)
        self._route: str | None = None  # the one in use, or the last that was
        self._lines: dict[int, Line] = {}
        self._in_use: Line | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False

    # -- what the sender calls

    @property
    def status(self) -> Status:
        """How things are, for people."""
        return Status(
            route=None if self._in_use is None else self._in_use.route,
            health=self._policy.health,
            troubles=self._policy.troubles(facts.name for facts in self._routes.facts),
            messages=self._lanes.messages,
            attachments=len(self._lanes.attachments),
        )

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Keep a path up and messages moving; connections are tasks of `group`."""
        self._group = group
        self._obey(self._policy.start(time.monotonic()))
        try:
            await self._surroundings.watch(self._network_changed)
        finally:
            self._stopping = True
            if self._timer is not None:
                self._timer.cancel()
            self._quiet.close()

    def wake(self) -> None:
        """There is something to send."""
        if self._in_use is not None:
            self._in_use.wake.set()

    def want_list(self) -> None:
        """Ask the origin for the list of proxies, if the settings name one."""
        question = self._routes.question
        if question is not None and self._in_use is not None:
            self._in_use.say(question)

    # -- the policy

    def _observe(self, observation: Observation, now: float | None = None) -> None:
        self._obey(self._policy.observe(observation, time.monotonic() if now is None else now))

    def _tick(self) -> None:
        self._obey(self._policy.tick(time.monotonic()))

    def _obey(self, commands: list[Command]) -> None:
        if self._stopping:
            return  # What is open is being closed; nothing new begins.
        for command in commands:
            self._execute(command)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._policy.deadline()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._tick)

    def _execute(self, command: Command) -> None:
        match command:
            case Dial(connection=number, route=route):
                self._dial(Line(number, route, self))
            case PingCommand(connection=number, number=ping):
                self._lines[number].say(Ping(ping))
            case Use(connection=number):
                self._use(self._lines[number])
            case Copy(connection=number, ids=ids):
                self._copy(self._lines[number], ids)
            case Abort(connection=number):
                self._abort(self._lines[number])
            case Close(connection=number):
                line = self._lines[number]
                line.close()
                self._forget(line)
            case PathBad(route=route, reason=reason):
                self._emit("path_bad", route=route, reason=reason)
            case ProbeStarted(route=route):
                self._emit("probe_started", route=route, ok=None, failure=None, local=None)
            case ProbeEnded(connection=number, route=route, failure=failure):
                sockets = self._lines[number].attempt.locals
                local = sockets[-1] if sockets else None
                self._emit(
                    "probe_ended", route=route, ok=failure is None, failure=failure, local=local, sockets=list(sockets)
                )
            case Remember(route=route, rtt_seconds=rtt_seconds):
                self._surroundings.remember(route, rtt_seconds)
            case Diagnosed(route=route, kind=kind, confidence=confidence):
                self._surroundings.diagnosed(route, kind, confidence)
                self._emit("diagnosed", route=route, kind=kind, confidence=confidence)

    def _dial(self, line: Line) -> None:
        assert self._group is not None
        self._lines[line.number] = line
        line.start(self._routes[line.route], self._group)

    def _use(self, line: Line) -> None:
        self._in_use = line
        old, self._route = self._route, line.route
        if old != line.route and (old is not None or line.route != DIRECT):
            self._emit("failed_back" if line.route == DIRECT else "route_switched", old=old, new=line.route)
        self._greetings.greet(line)
        self.want_list()

    def _copy(self, line: Line, ids: tuple[int, ...]) -> None:
        self._greetings.copied(line, time.monotonic())
        line.copies.extend(ids)
        line.wake.set()

    def _abort(self, line: Line) -> None:
        self._keep_quiet(line)
        line.abort()
        self._forget(line)

    def _keep_quiet(self, line: Line) -> None:
        """Nothing that still arrives for the line's sockets is to be answered."""
        if not self._stopping:
            for local in line.attempt.locals:
                self._quiet.hold(local)

    def _forget(self, line: Line) -> None:
        """The line is of no more use: its messages without an ack go out again by the line in use."""
        del self._lines[line.number]
        if self._in_use is line:
            self._in_use = None
        self._lanes.lost(line.number)
        self._greetings.gone(line, self._in_use)
        self.wake()

    def _quiet_seconds(self, number: int) -> float | None:
        connection = self._lines[number].connection
        return None if connection is None else connection.quiet_seconds

    # -- what the lines tell, and ask

    def entered(self, line: Line, stage: str) -> None:
        if self._lines.get(line.number) is line:
            addresses = line.attempt.addresses if stage == "tcp" else ()
            self._observe(StageReached(line.number, stage, addresses))

    def not_dialed(self, line: Line, error: DialError) -> None:
        self._keep_quiet(line)
        self._emit("route_failed", route=line.route, stage=error.stage, failure=error.failure)
        self._end(line, DialFailed(line.number, error.stage, error.failure))

    def dialed(self, line: Line, connection: Connection, seconds: float, now: float) -> None:
        stages = dict(line.attempt.stages)
        self._emit(
            "route_dialed", t=now, route=line.route, connection=line.number, stages=stages, local=connection.local
        )
        self._observe(Established(line.number, seconds), now)

    def ended(self, line: Line, failure: str) -> None:
        self._end(line, Ended(line.number, failure))

    def _end(self, line: Line, observation: DialFailed | Ended) -> None:
        """The line has ended by itself; no observation if it was given up before."""
        if self._lines.get(line.number) is not line:
            return
        self._lanes.lost(line.number)
        if self._in_use is line:
            self._in_use = None
        self._observe(observation)
        del self._lines[line.number]
        self._greetings.gone(line, self._in_use)
        self.wake()

    def next(self, line: Line, now: float) -> tuple[Due | None, bool]:
        """Copies that the policy wants here, then the lanes if it is the line in use."""
        while line.copies:
            if (due := self._lanes.copy(line.copies.popleft(), line.number)) is not None:
                return due, True
        return self._lanes.next(line.number, now) if self._in_use is line else None, False

    def sent(self, line: Line, due: Due, *, copy: bool, now: float) -> None:
        if due.number > 0:
            self._emit(
                "message_sent",
                t=now,
                id=due.number,
                route=line.route,
                attempt=due.attempt,
                connection=line.number,
                copy=copy,
            )
        if line.number in self._lines:
            self._observe(Sent(line.number, due.number, len(due.message.body)), now)

    def received(self, line: Line, record: Record) -> None:
        now = time.monotonic()
        if isinstance(record, Ack):
            self._acked(line, record, now)
        elif isinstance(record, ProxyList):
            if self._routes.offered(record.document):
                self._observe(RoutesChanged(self._routes.facts))
        elif isinstance(record, Message | Replaced) and self._inboxes is not None:
            for ack in self._inboxes.receive(record):
                line.say(ack)
        if line.number not in self._lines:
            return  # Closing: what still comes counts for the messages, not for the policy.
        match record:
            case Accepted():
                self._observe(Answered(line.number, self._lanes.number(record)), now)
                if line is self._in_use:
                    self._greetings.answered(line, now)
            case Pong(number=number):
                self._observe(Ponged(line.number, number), now)
            case _:
                self._observe(Heard(line.number), now)

    def _acked(self, line: Line, ack: Ack, now: float) -> None:
        try:
            acked = self._lanes.acked(ack, now)
        except Undecryptable as error:
            self._emit("ack_refused", id=ack.id, route=line.route, reason=str(error))
            return
        for id_, latency in acked:
            self._emit("message_acked", t=now, id=id_, route=line.route, latency_seconds=latency)
        self._progress()
        self.wake()

    # -- another network

    def _network_changed(self) -> None:
        self._observe(NetworkChanged(self._surroundings.recollection(self._routes.names)))
