"""The proxy as a whole: listens, gives each client a session, runs until it is cancelled or has drained."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import msgspec

from proxy import log
from proxy.access import AccessLog, AccessRecord
from proxy.accounts import Account
from proxy.admission import OpenHandshakes
from proxy.associate import Associate
from proxy.auth import Users
from proxy.bind import Bind
from proxy.connect import Connect
from proxy.control import Message, select_flows
from proxy.entrance import Entrance
from proxy.flows import COMMANDS, Flow
from proxy.listeners import Acceptor, Bound, bind
from proxy.metrics import Failure, Shared
from proxy.policy import Policy
from proxy.relay import Limits, Reason, Relay, open_relay
from proxy.relay.deadlines import Deadlines
from proxy.relay.poller import Poller
from proxy.resolver import Resolver, open_resolver
from proxy.session import LINGER_SECONDS, Errands, Session
from proxy.settings import ProxySettings, User
from proxy.tls import TlsFront
from proxy.wire import Address, Command, ReplyCode
from sidedoor.events import Emit, discard
from sidedoor.settings import SettingsError

SILENCE_SECONDS = 1.0
"""How long clients that have just connected may say nothing, once nobody else is accepted: it may be on its way."""
NOBODY = User(password="")
"""The limits of clients without a name: none."""
WARN_SECONDS = 1.0
"""Between two lines about dropped handshakes; each says how many there were since the last one."""


async def serve(
    settings: ProxySettings,
    emit: Emit = discard,
    *,
    ready: Callable[[list[str]], object] | None = None,
    started: Callable[[Server], object] | None = None,
) -> None:
    """Serve until cancelled; then every connection is closed, flows by a reset.

    `emit` gets the events of docs/events.md. `ready` is called once, with the addresses that are listened on (real
    ports where 0 was asked for). `started` gets the server, to reload or drain it. Raises UsageError, with nothing
    bound, for settings that make no sense and addresses that cannot be bound.
    """
    check(settings)
    shared = Shared(1, settings.state)
    try:
        bound = bind(one.address for one in settings.listeners)
        addresses = [one.name for one in bound]

        def listening(server: Server) -> None:
            emit("proxy_listening", addresses=addresses)
            if started is not None:
                started(server)
            if ready is not None:
                ready(addresses)

        await serve_on(bound, settings, emit, shared, started=listening)
    finally:
        shared.close()


def check(settings: ProxySettings) -> None:
    """Try everything that can be tried without binding: rules, hashes, certificates, the resolver's files. Raises
    SettingsError."""
    settings.check()
    Policy(settings)
    Users(settings.accounts).close()
    for listener in settings.listeners:
        Entrance.check(listener)
    open_resolver(settings.resolver).close()
    for key, path in (("access_log", settings.access_log), ("state", settings.state)):
        _check_file(key, path)


def _check_file(key: str, path: str) -> None:
    """Whether `path` is a file that can be written, or made; it is not made here. Empty, "-" and devices will do."""
    place = Path(path)
    if path in ("", "-"):
        return
    if place.is_dir():
        raise SettingsError(f"{key}: {path}: is a folder; expected a file")
    if not place.parent.is_dir():
        raise SettingsError(f"{key}: {path}: cannot be written: there is no folder {place.parent}; make it first")
    if not os.access(path if place.exists() else place.parent, os.W_OK):
        raise SettingsError(f"{key}: {path}: cannot be written by this user; change its owner, or name another file")


async def serve_on(
    bound: Sequence[Bound],
    settings: ProxySettings,
    emit: Emit,
    shared: Shared,
    place: int = 0,
    *,
    started: Callable[[Server], object] | None = None,
    first_flow: int = 1,
) -> None:
    """The same on sockets that listen already, and which are closed at the end; as the worker at `place` of those that
    have `shared`. Flows are numbered from `first_flow` on."""
    server: Server | None = None
    try:
        # The group is the inner one: no name may be left that could hand a flow to a relay that is closed.
        async with open_relay(_limits(settings)) as relay, asyncio.TaskGroup() as tasks:
            server = Server(settings, emit, relay, tasks, shared, place, first_flow)
            server.listen(bound)
            try:
                if started is not None:
                    started(server)
                await server.drained
            finally:
                server.close()
    finally:
        for one in bound:
            one.sock.close()
        if server is not None and server.access is not None:
            server.access.close()  # the last flows have ended with the relay


class Server:
    """What the sessions share, and which of them are there. (`Services`, for the sessions.)"""

    def __init__(
        self,
        settings: ProxySettings,
        emit: Emit,
        relay: Relay,
        tasks: asyncio.TaskGroup,
        shared: Shared,
        place: int,
        first_flow: int,
    ) -> None:
        self.settings = settings
        self.emit = None if emit is discard else emit
        self.access: AccessLog | None = AccessLog(settings.access_log) if settings.access_log else None
        self.relay = relay
        self.tasks = tasks
        self.shared = shared
        self.row = shared.row(place)
        self.place = place
        self.resolver: Resolver = open_resolver(settings.resolver)
        self.users = Users(settings.accounts)
        self.policy = Policy(settings)
        self.errands: Errands = {
            Command.CONNECT: Connect,
            Command.BIND: Bind,
            Command.UDP_ASSOCIATE: Associate,
        }
        self.flow_numbers = count(first_flow)
        self.flows: dict[int, Flow] = {}
        shortest = min(settings.handshake_seconds, settings.connect_seconds, LINGER_SECONDS)
        self.deadlines: Deadlines[Session] = Deadlines(shortest / 8, Session.expired)
        self.drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has drained."""
        self._accounts: dict[str, Account] = {}
        self._entrances: list[Entrance] = []
        self._acceptors: list[Acceptor] = []
        self._sessions: set[Session] = set()
        self._handshakes: OpenHandshakes[Session] = OpenHandshakes()
        self._dropped = 0
        self._told_of_dropped = -WARN_SECONDS
        self._fronts: set[TlsFront] = set()
        self._draining: asyncio.TimerHandle | None = None
        self._hanging_up: asyncio.TimerHandle | None = None

    @property
    def poller(self) -> Poller:
        """What waits for sockets."""
        return self.relay.poller

    # What whoever runs it can ask for.

    def listen(self, bound: Sequence[Bound]) -> None:
        """Accept on these sockets."""
        by_address = {one.address: one for one in self.settings.listeners}
        for one in bound:
            entrance = Entrance(self, by_address[one.address])
            self._entrances.append(entrance)
            self._acceptors.append(Acceptor(one.sock, self.relay.poller, entrance.accepted, self.exhausted))

    def apply(self, settings: ProxySettings) -> None:
        """Go on with other settings; flows that stand stay as they are. Raises SettingsError, and nothing is changed.

        Not changed are those that were used up at the start: see `reloadable`.
        """
        settings = reloadable(self.settings, settings)
        users, policy = Users(settings.accounts, backoff=self.users.backoff), Policy(settings)
        try:
            resolver = self.resolver
            if settings.resolver != self.settings.resolver:
                resolver = open_resolver(settings.resolver)
            by_address = {one.address: one for one in settings.listeners}
            prepared = [entrance.prepared(by_address[entrance.listener.address]) for entrance in self._entrances]
            access = self.access
            if settings.access_log != self.settings.access_log:
                access = AccessLog(settings.access_log) if settings.access_log else None
            elif access is not None:
                access.reopen()
        except BaseException:
            users.close()
            raise
        for entrance, (listener, context) in zip(self._entrances, prepared, strict=True):
            entrance.use(listener, context)
        old_users, old_resolver = self.users, self.resolver
        self.users, self.policy, self.resolver, self.settings = users, policy, resolver, settings
        self._accounts.clear()
        old_users.close()  # who waits for its answer asks the new ones
        if old_resolver is not resolver:
            old_resolver.close()
        self.relay.limits = _limits(settings)
        if access is not self.access and self.access is not None:
            self.access.close()
        self.access = access
        log.info("reloaded", flows=len(self.flows))

    def drain(self) -> None:
        """Accept nobody any more; end when the last flow has ended, or after `drain_seconds`.

        Clients that have said something are served; those that have not done so SILENCE_SECONDS later are told by a
        FIN.
        """
        if self._draining is not None:
            return
        loop, seconds = asyncio.get_running_loop(), self.settings.drain_seconds
        self._draining = loop.call_later(seconds, self._give_up)
        self._hanging_up = loop.call_later(min(SILENCE_SECONDS, seconds), self._hang_up)
        for acceptor in self._acceptors:
            acceptor.finish()
        self._acceptors.clear()
        log.info("draining", flows=len(self.flows), seconds=seconds)
        self._look_whether_drained()

    def handle(self, request: Message) -> Message:
        """Answer what the admin process asks; see `proxy.admin`."""
        match request.get("do"):
            case "flows":
                return {"flows": select_flows((flow.describe() for flow in self.flows.values()), request)}
            case "close":
                number = request.get("flow")
                flow = self.flows.get(number) if isinstance(number, int) else None
                if flow is not None:
                    flow.stop(Reason.CLOSED)
                return {"closed": flow is not None}
            case "settle":
                self.settle()
                return {}
            case other:
                return {"error": f"{other!r} is not known here"}

    def settle(self) -> None:
        """Bring the counters up to date with the flows that are open."""
        for flow in self.flows.values():
            flow.settle()
        self.row.gauges(flows=len(self.flows), handshakes=len(self._handshakes))
        if self.access is not None:
            self.row.access_lost(self.access.take_lost())

    def close(self) -> None:
        """End all sessions."""
        for timer in (self._draining, self._hanging_up):
            if timer is not None:
                timer.cancel()
        for acceptor in self._acceptors:
            acceptor.close()
        for session in list(self._sessions):
            session.close()
        for flow in list(self.flows.values()):
            flow.stop(Reason.STOPPED)
        for front in list(self._fronts):
            front.abort()
        self.deadlines.close()
        self.users.close()
        self.resolver.close()

    def _hang_up(self) -> None:
        for session in [one for one in self._handshakes if one.silent]:
            session.close()  # nothing was begun that could be cut off

    def _give_up(self) -> None:
        log.warning("drain_given_up", flows=len(self.flows), seconds=self.settings.drain_seconds)
        if not self.drained.done():
            self.drained.set_result(None)

    def _look_whether_drained(self) -> None:
        if self._sessions or self.flows or self._fronts or self.drained.done():
            return
        self.drained.set_result(None)

    # What the entrances and sessions call.

    def admit(self, session: Session) -> None:
        """Start the session of a new client. At the cap the oldest open handshake of the source that has the most makes
        room: a client that means it is through in a round trip or two, those that hold places are not."""
        if len(self._handshakes) >= self.settings.max_handshakes:
            self._drop(self._handshakes.first_to_go())
        self._sessions.add(session)
        self._handshakes.add(session, session.source)
        session.start()

    def _drop(self, session: Session) -> None:
        self.row.failed(Failure.DROPPED)
        self._dropped += 1
        now = time.monotonic()
        if now - self._told_of_dropped >= WARN_SECONDS:  # a flood must not fill the log, too
            log.warning(
                "handshake_dropped", client=session.name, open=self.settings.max_handshakes, number=self._dropped
            )
            self._told_of_dropped, self._dropped = now, 0
        session.close()

    def fronted(self, front: TlsFront) -> None:
        """A client that speaks TLS is there."""
        self._fronts.add(front)

    def front_gone(self, front: TlsFront) -> None:
        """Its connection is closed."""
        self._fronts.discard(front)
        if self._draining is not None:
            self._look_whether_drained()

    def exhausted(self, error: OSError) -> None:
        """Out of descriptors or memory: a client was refused."""
        self.row.accept_refused()
        log.warning("accept_backs_off", error=error.strerror, flows=len(self.relay))

    def account(self, name: str) -> Account:
        """See `Services`."""
        account = self._accounts.get(name)
        if account is None:
            limits = self.settings.accounts.get(name, NOBODY) if name else NOBODY
            slot = self.shared.ledger.slot_of(name)
            account = self._accounts[name] = Account(name, limits, self.shared.ledger, slot, self.place)
        return account

    def negotiated(self, session: Session) -> None:
        """See `Services`."""
        self._handshakes.discard(session)

    def refused(
        self,
        session: Session,
        target: Address | None,
        code: ReplyCode,
        reason: str,
        rule: str = "",
        flow: Flow | None = None,
    ) -> None:
        """See `Services`."""
        self.row.refused(code)
        shown = None if target is None else str(target)
        log.debug("request_refused", client=session.name, target=shown, reply=code.name, reason=reason, rule=rule)
        if self.emit is not None:
            self.emit("flow_refused", client=session.name, target=shown, reply=code.name)
        if self.access is not None:
            request = session.request
            self.access.write(
                AccessRecord(
                    worker=self.place,
                    listener=session.listener,
                    client=session.name,
                    user=session.user,
                    protocol="" if request is None else request.protocol,
                    command="" if request is None else COMMANDS[request.command],
                    target=shown or "",
                    rule=rule or ("" if flow is None else flow.rule),
                    via="" if flow is None else flow.via,
                    reply=code.name,
                    reason=reason,
                    seconds=0.0 if request is None else round(time.monotonic() - session.asked, 6),
                    dns_seconds=None if flow is None else round(flow.dns_seconds, 6) or None,
                )
            )

    def over(self, session: Session) -> None:
        """See `Services`."""
        if session.request is None:
            self._handshakes.discard(session)
        self._sessions.discard(session)
        if self._draining is not None:
            # Not now: what it has handed on is not counted yet.
            asyncio.get_running_loop().call_soon(self._look_whether_drained)

    def flow_over(self, flow: Flow) -> None:
        """See `Services`."""
        del self.flows[flow.number]
        if self._draining is not None:
            self._look_whether_drained()


def _limits(settings: ProxySettings) -> Limits:
    return Limits(settings.idle_seconds, settings.half_close_seconds, settings.rate_bytes_per_second)


FIXED = ("workers", "admin", "state", "open")
"""Settings that a reload does not change; nor does it change the addresses of `listen`, only their options."""


def reloadable(running: ProxySettings, wanted: ProxySettings) -> ProxySettings:
    """`wanted`, as far as a proxy that runs with `running` can have it; what needs a restart stays, and is logged.

    Raises SettingsError for what makes no sense together: no users any more, say, on an address that is still open to
    all.
    """
    kept: dict[str, object] = {name: getattr(running, name) for name in FIXED}
    keys = [name for name, value in kept.items() if getattr(wanted, name) != value]
    options = {one.address: one for one in wanted.listeners}
    if options.keys() != {one.address for one in running.listeners}:
        keys.append("listen")
    kept["listen"] = tuple(options.get(one.address, one) for one in running.listeners)
    settings = msgspec.structs.replace(wanted, **kept)
    check(settings)
    if keys:
        log.warning("reload_needs_restart", keys=keys)
    return settings
