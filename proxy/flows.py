"""Flows that stand: what is known about each, who is told when it begins and ends, and what the sessions share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from socket import SocketType
from typing import TYPE_CHECKING, Any, Protocol

from proxy.access import AccessLog, flow_line, quoted, way_of
from proxy.accounts import Account
from proxy.auth import Users
from proxy.listeners import name_of
from proxy.metrics import Row
from proxy.policy import Policy
from proxy.relay import Ended, Reason, Relay
from proxy.relay.deadlines import Deadlines
from proxy.relay.flow import Carried
from proxy.resolver import Resolver
from proxy.settings import ProxySettings
from proxy.wire import Address, AddressType, Command, ReplyCode
from sidedoor.events import Emit

if TYPE_CHECKING:
    from proxy.session import Errand, Session


COMMANDS = {command: command.name.lower() for command in Command}
"""What logs call them, as the settings do."""


class Services(Protocol):
    """What all sessions of a server share. A reload replaces settings, users, policy and resolver."""

    settings: ProxySettings
    users: Users
    policy: Policy
    resolver: Resolver
    emit: Emit | None
    access: AccessLog | None
    relay: Relay
    deadlines: Deadlines[Session]
    tasks: asyncio.TaskGroup
    flow_numbers: count[int]
    flows: dict[int, Flow]
    row: Row
    place: int
    """Which worker this is."""
    errands: dict[Command, Callable[[Session], Errand]]

    def account(self, name: str) -> Account:
        """The account of a user who has logged in; "" where there are no users."""

    def negotiated(self, session: Session) -> None:
        """`session` no longer waits for what its client wants, and counts as a handshake no more."""

    def refused(
        self,
        session: Session,
        target: Address | None,
        code: ReplyCode,
        reason: str,
        rule: str = "",
        flow: Flow | None = None,
    ) -> None:
        """The request of `session` is answered with `code`, for `reason` or because `rule` says so; `flow` is what
        it would have become."""

    def over(self, session: Session) -> None:
        """`session` has handed its sockets on or closed them."""

    def flow_over(self, flow: Flow) -> None:
        """`flow` has ended."""


class Flow:
    """One flow, from its request to its end, which it reports. (One object per flow: idle ones are many.)"""

    __slots__ = (
        "_ended",
        "_over",
        "_payer",
        "_peer",
        "_services",
        "_settled",
        "account",
        "address",
        "carried",
        "command",
        "dial_seconds",
        "dns_seconds",
        "front",
        "listener",
        "number",
        "protocol",
        "rule",
        "started",
        "target",
        "via",
    )

    # There from its end on, where somebody wants to know of it.
    _ended: Ended
    _over: float
    _payer: Account

    def __init__(self, session: Session, address: str = "", rule: str = "", via: str = "") -> None:
        """`address` is what was dialed for a name, or who came to a BIND; `rule` allowed it; `via` is the upstream."""
        request = session.request
        assert request is not None
        self._services = session.services
        self._peer = session.peer
        self._settled = (0, 0)
        self.account: Account | None = session.account
        self.address = address
        self.carried: Carried | None = None
        self.command = request.command
        self.dial_seconds = 0.0
        self.dns_seconds = 0.0
        self.front = session.front
        self.listener = session.listener
        self.number = 0
        self.protocol = request.protocol
        self.rule = rule
        self.started = 0.0
        self.target = request.target
        self.via = via

    @property
    def client(self) -> str:
        """The client's "HOST:PORT"."""
        return name_of(self._peer)

    @property
    def user(self) -> str:
        """The client's user; empty without authentication."""
        return self.account.name if self.account is not None else ""

    def carry(self, relay: Relay, client: SocketType, target: SocketType, early_data: bytes) -> None:
        """Let the relay have both sockets. It has been `opened`."""
        account = self.account
        assert account is not None
        carried = relay.add(client, target, early_data, self, account.meters())
        if self.account is not None:  # else it is over already
            self.carried = carried
            if self.front is not None:
                self.front.client_reset = self._client_reset

    def opened(self) -> None:
        """It stands: number it, and say so."""
        services = self._services
        self.number = number = next(services.flow_numbers)
        self.started = time.monotonic()
        services.flows[number] = self
        services.row.opened(self.protocol, self.command)
        if services.emit is not None:
            services.emit("flow_opened", flow=number, client=self.client, target=str(self.target))

    def follows(self, carried: Carried) -> None:
        """It is an association: `carried` is what moves its bytes."""
        self.carried = carried
        if self.front is not None:
            self.front.client_reset = self._client_reset

    def _client_reset(self) -> None:
        if self.carried is not None:
            self.carried.stop(Reason.CLIENT_RESET)

    def stop(self, reason: Reason) -> None:
        """End it."""
        if self.carried is not None:
            self.carried.stop(reason)

    def settle(self) -> None:
        """Count what it has moved since it was last settled."""
        if self.carried is None or self.account is None:
            return
        (before_up, before_down), (up, down) = self._settled, self.carried.moved
        self._settled = up, down
        self._services.row.moved(self.account.slot, up - before_up, down - before_down)

    def __call__(self, ended: Ended) -> None:
        """It is over."""
        services, account = self._services, self.account
        assert account is not None
        self.account = self.carried = None
        services.row.closed(ended.reason, spliced=ended.spliced)
        up, down = self._settled
        services.row.moved(account.slot, ended.bytes_up - up, ended.bytes_down - down)
        account.leave()
        if self.front is not None:
            self.front.over(reset=ended.reason is not Reason.EOF)
        services.flow_over(self)
        if services.emit is None and services.access is None:
            return
        self._ended, self._over = ended, time.monotonic()
        if services.emit is not None:
            services.emit(
                "flow_closed",
                flow=self.number,
                bytes_up=ended.bytes_up,
                bytes_down=ended.bytes_down,
                reason=ended.reason.value,
                seconds=round(self._over - self.started, 6),
            )
        if services.access is not None:
            self._payer = account
            services.access.write(self)

    def line(self, wall: float) -> bytes:
        """See `proxy.access.Entry`: of a flow that is over."""
        ended, target = self._ended, self.target
        command = COMMANDS[self.command]
        return flow_line(
            wall + self._over,
            self.number,
            self._services.place,
            name_of(self._peer),
            way_of(self.listener, self._payer.name, self.protocol, command, self.rule, self.via),
            quoted(str(target)) if target.type is AddressType.DOMAIN else f'"{target}"',
            self.address,
            ended.reason,
            ended.bytes_up,
            ended.bytes_down,
            self._over - self.started,
            self.dns_seconds,
            self.dial_seconds,
        )

    def describe(self) -> dict[str, Any]:
        """What the admin endpoint shows of it."""
        up, down = self.carried.moved if self.carried is not None else (0, 0)
        return {
            "flow": self.number,
            "client": self.client,
            "user": self.user,
            "target": str(self.target),
            "protocol": self.protocol,
            "command": COMMANDS[self.command],
            "address": self.address,
            "rule": self.rule,
            "via": self.via,
            "bytes_up": up,
            "bytes_down": down,
            "seconds": round(time.monotonic() - self.started, 3),
            "worker": self._services.place,
        }
