"""The sending end: the driver between policy, routes, connections and the user's messages.

Each connection that the policy dials is a `_Line` with one task, which dials, then reads, and has a writer beside it.
Only the line in use takes messages from the outbox, so that a full transport holds back the sender and nothing else.
With `Inboxes` it is the receiving end, too: what the origin has for it comes by the line that said hello last.
All calls into the policy are synchronous; what they order is done before anything else happens.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

import msgspec

from client.attachments.source import SourceChanged, open_source, reopen_source
from client.diagnosis.wrapper import Diagnosing
from client.encryption import Undecryptable
from client.inboxes import Inboxes
from client.keys import make_encryption
from client.lanes import Due, Lanes
from client.messages import Accepted, Ack, Hello, Message, Ping, Pong, ProxyList, Record
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
from client.policies.catalogue import dial_settings, make_policy
from client.route_table import RouteTable
from client.routes import Attempt, DialError, Route
from client.routes.connection import Connection
from client.routes.quiet import QuietPorts
from client.settings import SenderSettings
from client.state.sending import SendingState, boot_id
from client.status import Status
from client.surroundings import Surroundings
from sidedoor.events import Emit

HOME_SECONDS = 1.0
"""So long after the last copy the origin is told again to send by the line in use, and no more by a standby as well."""


@dataclass(slots=True)
class _Line:
    """One connection, from its dial to its end. `control`: records that go out before any message; `copies`: ids of
    messages that the policy wants by this connection, too; `greeted`: it has said hello."""

    number: int
    route: str
    attempt: Attempt = field(default_factory=Attempt)
    copies: deque[int] = field(default_factory=deque)
    greeted: bool = False
    control: deque[Record] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None
    task: asyncio.Task[None] | None = None
    closing: bool = False


class Sender:
    """Sends messages to `settings.peer`, by whatever route carries them. Raises SettingsError for a bad CA file or key,
    or a memory file in a folder that is not there, UsageError for a state file that cannot be used.

    `submit` and `attach` may be called before and while `run` runs; `run` ends by cancellation only, and lets go of the
    state file.
    """

    def __init__(self, settings: SenderSettings, emit: Emit, inboxes: Inboxes | None = None) -> None:
        """`inboxes`: take what is sent to `settings.name`; None: there is another end of that name, or none."""
        self._settings = settings
        self._inboxes = inboxes
        self._emit = emit
        dial = dial_settings(settings.policy, settings.dial)
        self._routes = RouteTable(msgspec.structs.replace(settings, dial=dial), emit)
        self._quiet = QuietPorts()
        self._surroundings = Surroundings(settings.memory_file, settings.network_poll_seconds, emit)
        policy = make_policy(
            settings.policy,
            self._routes.facts,
            random=random.Random(secrets.randbits(64)),
            recollection=self._surroundings.recollection(self._routes.names),
        )
        self._policy = Diagnosing(policy, self._routes.facts, quiet_seconds=self._quiet_seconds)
        encryption = make_encryption(settings)
        state = SendingState(
            settings.state_file,
            name=settings.name,
            peer=settings.peer,
            draw=lambda: secrets.randbits(63),
            boot=boot_id(),
        )
        self._lanes = Lanes(settings, state, encryption, emit, time.monotonic())
        self._route: str | None = None  # the one in use, or the last that was
        self._lines: dict[int, _Line] = {}
        self._in_use: _Line | None = None
        self._greeted: _Line | None = None  # said hello last: the origin sends by it what it has for this end
        self._copied_at = -math.inf  # when the policy wanted a copy last
        self._timer: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self._progress = asyncio.Event()

    # -- what the user calls

    def submit(self, body: bytes) -> int:
        """Queue a message; returns its id, and what has one survives this process if there is a state file.

        Raises OverflowError when `limit_messages` wait already (see `room`), UsageError when the state file cannot be
        written: then the message is not queued.
        """
        now = time.monotonic()
        peak = self._lanes.peak
        id_ = self._lanes.submit(body, now)
        self._emit("message_queued", t=now, session=self._lanes.session, id=id_, bytes=len(body))
        if self._lanes.peak > peak:
            self._emit("queue_length", t=now, length=self._lanes.peak)
        self._wake_in_use()
        return id_

    async def attach(self, path: str) -> int:
        """Queue a file; returns its number in the events `attachment_...`. It has to stay as it is until it is sent.

        Raises UsageError: no file, longer than 64 MB, unreadable, or the state file cannot be written.
        """
        number = self._lanes.attach(await asyncio.to_thread(open_source, path))
        self._wake_in_use()
        return number

    async def room(self) -> None:
        """Wait until `submit` has room: back-pressure."""
        while self._lanes.full:
            self._progress.clear()
            await self._progress.wait()

    async def drain(self, timeout: float) -> bool:
        """Wait until all is acknowledged, attachments too, at most `timeout` seconds; whether that was reached."""
        try:
            async with asyncio.timeout(timeout):
                while not self._lanes.empty:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    @property
    def unacknowledged(self) -> int:
        """Messages without an end-to-end ack, sent or not."""
        return self._lanes.messages

    @property
    def unsent_attachments(self) -> int:
        """Attachments that are on their way; those that have failed are not."""
        return len(self._lanes.attachments)

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

    @property
    def routes(self) -> tuple[str, ...]:
        """Their names, in order of preference."""
        return tuple(facts.name for facts in self._routes.facts)

    async def run(self) -> None:
        """Keep a path up and messages moving until cancelled; then close what is open."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._keep_going(group)
        finally:
            self._lanes.close()  # After the lines: they may still have an ack to note.

    async def _keep_going(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        if self._lanes.attachments.unread:
            group.create_task(self._read_again(), name="attachments of an earlier life")
        self._obey(self._policy.start(time.monotonic()))
        group.create_task(self._surroundings.watch(self._network_changed), name="surroundings")
        if self._settings.proxy_list is not None:
            refresh_seconds = self._settings.proxy_list.refresh_seconds
            group.create_task(self._refresh_list(refresh_seconds), name="proxy list")
        try:
            await asyncio.Event().wait()
        finally:
            self._stopping = True
            if self._timer is not None:
                self._timer.cancel()
            self._quiet.close()

    async def _read_again(self) -> None:
        """The files of attachments that an earlier life had queued: whether they are what they were."""
        for queued in self._lanes.attachments.unread:
            try:
                source = await asyncio.to_thread(reopen_source, queued.path, queued.size, queued.sha256)
            except SourceChanged as error:
                self._lanes.attachments.read(queued.number, error)
            else:
                self._lanes.attachments.read(queued.number, source)
            self._progress.set()
            self._wake_in_use()

    # -- between policy and lines

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
                self._dial(_Line(number, route))
            case PingCommand(connection=number, number=ping):
                self._control(self._lines[number], Ping(ping))
            case Use(connection=number):
                self._use(self._lines[number])
            case Copy(connection=number, ids=ids):
                self._copy(self._lines[number], ids)
            case Abort(connection=number):
                self._abort(self._lines[number])
            case Close(connection=number):
                line = self._lines[number]
                line.closing = True
                line.wake.set()
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

    def _dial(self, line: _Line) -> None:
        assert self._group is not None
        self._lines[line.number] = line
        work = self._run_line(line, self._routes[line.route])
        line.task = self._group.create_task(work, name=f"{line.route} #{line.number}")

    def _use(self, line: _Line) -> None:
        self._in_use = line
        old, self._route = self._route, line.route
        if old != line.route and (old is not None or line.route != DIRECT):
            self._emit("failed_back" if line.route == DIRECT else "route_switched", old=old, new=line.route)
        self._greet(line)
        self._want_list()

    def _copy(self, line: _Line, ids: tuple[int, ...]) -> None:
        if not line.greeted:
            self._greet(line)
        line.copies.extend(ids)
        line.wake.set()
        self._copied_at = time.monotonic()

    def _greet(self, line: _Line) -> None:
        line.greeted = True
        self._greeted = line
        self._control(line, Hello(self._settings.name))

    def _abort(self, line: _Line) -> None:
        self._keep_quiet(line)
        if line.connection is not None:
            line.connection.abort()
        assert line.task is not None
        line.task.cancel()
        self._forget(line)

    def _keep_quiet(self, line: _Line) -> None:
        """Nothing that still arrives for the line's sockets is to be answered."""
        if not self._stopping:
            for local in line.attempt.locals:
                self._quiet.hold(local)

    def _forget(self, line: _Line) -> None:
        """The line is of no more use: its messages without an ack go out again by the line in use."""
        del self._lines[line.number]
        if self._in_use is line:
            self._in_use = None
        self._lanes.lost(line.number)
        self._greet_again(line)
        self._wake_in_use()

    def _greet_again(self, gone: _Line) -> None:
        """What the origin sent by a line that is gone may be lost: it sends it again to who says hello."""
        if self._greeted is gone:
            self._greeted = None
            if self._in_use is not None:
                self._greet(self._in_use)

    def _come_home(self, line: _Line, now: float) -> None:
        """`line` has answered: if copies went by another for a while, what comes in may take the line in use again."""
        other = self._greeted
        if line is self._in_use and line is not other and now - self._copied_at >= HOME_SECONDS:
            if other is not None:
                other.greeted = False
            self._greet(line)

    def _control(self, line: _Line, record: Record) -> None:
        line.control.append(record)
        line.wake.set()

    def _wake_in_use(self) -> None:
        if self._in_use is not None:
            self._in_use.wake.set()

    # -- what is learnt on the way: more routes, another network

    def _want_list(self) -> None:
        question = self._routes.question
        if question is not None and self._in_use is not None:
            self._control(self._in_use, question)

    async def _refresh_list(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._want_list()

    def _list_came(self, document: bytes) -> None:
        if self._routes.offered(document):
            self._observe(RoutesChanged(self._routes.facts))

    def _network_changed(self) -> None:
        self._observe(NetworkChanged(self._surroundings.recollection(self._routes.names)))

    # -- one line

    async def _run_line(self, line: _Line, route: Route) -> None:
        began = time.monotonic()
        line.attempt.entered = lambda stage: self._entered(line, stage)
        try:
            connection = await route.dial(line.attempt)
        except DialError as error:
            self._keep_quiet(line)
            self._emit("route_failed", route=line.route, stage=error.stage, failure=error.failure)
            self._end(line, DialFailed(line.number, error.stage, error.failure))
            return
        line.connection = connection
        now = time.monotonic()
        stages = dict(line.attempt.stages)
        self._emit(
            "route_dialed", t=now, route=line.route, connection=line.number, stages=stages, local=connection.local
        )
        self._observe(Established(line.number, now - began), now)
        try:
            await self._converse(line, connection)
        finally:
            await connection.close()

    def _entered(self, line: _Line, stage: str) -> None:
        if self._lines.get(line.number) is line:
            addresses = line.attempt.addresses if stage == "tcp" else ()
            self._observe(StageReached(line.number, stage, addresses))

    def _quiet_seconds(self, number: int) -> float | None:
        connection = self._lines[number].connection
        return None if connection is None else connection.quiet_seconds

    async def _converse(self, line: _Line, connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(line, connection), name=f"{line.route} #{line.number} writer")
            while (record := await connection.receive()) is not None:
                self._received(line, record)
            self._end(line, Ended(line.number, connection.failure))
            if not line.closing:
                writer.cancel()

    def _end(self, line: _Line, observation: DialFailed | Ended) -> None:
        """The line has ended by itself; no observation if it was given up before."""
        if self._lines.get(line.number) is not line:
            return
        self._lanes.lost(line.number)
        if self._in_use is line:
            self._in_use = None
        self._observe(observation)
        del self._lines[line.number]
        self._greet_again(line)
        self._wake_in_use()

    async def _write(self, line: _Line, connection: Connection) -> None:
        try:
            while not line.closing or line.control:
                await line.wake.wait()
                line.wake.clear()
                await self._write_ready(line, connection)
            await connection.close()
        except ConnectionError:
            pass  # The reader learns how it ended.

    async def _write_ready(self, line: _Line, connection: Connection) -> None:
        while True:
            if line.control:
                await connection.send(line.control.popleft())
                continue
            now = time.monotonic()
            due, copy = self._next(line, now)
            if due is None:
                return
            await connection.send(due.message)
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

    def _next(self, line: _Line, now: float) -> tuple[Due | None, bool]:
        """What goes out by this line now (copies that the policy wants here, then the lanes if it is the one in use),
        and whether it is such a copy."""
        while line.copies:
            if (due := self._lanes.copy(line.copies.popleft(), line.number)) is not None:
                return due, True
        return self._lanes.next(line.number, now) if self._in_use is line else None, False

    def _received(self, line: _Line, record: Record) -> None:
        now = time.monotonic()
        if isinstance(record, Ack):
            self._acked(line, record, now)
        elif isinstance(record, ProxyList):
            self._list_came(record.document)
        elif isinstance(record, Message) and self._inboxes is not None:
            for ack in self._inboxes.receive(record):
                self._control(line, ack)
        if line.number not in self._lines:
            return  # Closing: what still comes counts for the messages, not for the policy.
        match record:
            case Accepted():
                self._observe(Answered(line.number, self._lanes.number(record)), now)
                self._come_home(line, now)
            case Pong(number=number):
                self._observe(Ponged(line.number, number), now)
            case _:
                self._observe(Heard(line.number), now)

    def _acked(self, line: _Line, ack: Ack, now: float) -> None:
        try:
            acked = self._lanes.acked(ack, now)
        except Undecryptable as error:
            self._emit("ack_refused", id=ack.id, route=line.route, reason=str(error))
            return
        for id_, latency in acked:
            self._emit("message_acked", t=now, id=id_, route=line.route, latency_seconds=latency)
        self._progress.set()
        self._wake_in_use()
