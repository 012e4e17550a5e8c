"""UDP ASSOCIATE: the session that an association belongs to, and which ends with the client's TCP connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy.association import Association
from proxy.dial import reply_of
from proxy.flows import Flow
from proxy.relay import Ended, Reason
from proxy.wire import Command, ReplyCode

if TYPE_CHECKING:
    from proxy.session import Session

READ_BYTES = 4096


class Associate:
    """An `Errand`, the `Owner` of an association, and what carries its `Flow`."""

    __slots__ = ("_association", "_flow", "_session", "reading", "source", "user")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._association: Association | None = None
        self._flow: Flow | None = None
        self.reading = False
        self.source = session.source
        self.user = session.user

    def begin(self) -> None:
        """See `Errand`. The address in the request is a hint, and not taken (RFC 1928 section 7 has it so)."""
        session = self._session
        services, account = session.services, session.account
        assert account is not None
        if services.settings.via:
            session.refuse(ReplyCode.COMMAND_NOT_SUPPORTED, "UDP does not go through an upstream")
            return
        judged = services.policy.judge_command(self.user, self.source, Command.UDP_ASSOCIATE)
        if not judged.allowed:
            session.refuse(ReplyCode.NOT_ALLOWED, rule=judged.rule)
            return
        try:
            self._association = Association(
                services,
                self,
                services.settings.udp,
                str(session.outer.getsockname()[0]),
                egress=services.settings.egress,
                meters=account.meters(),
            )
        except OSError as error:
            session.refuse(reply_of(error), error.strerror or "")
            return
        flow = Flow(session, rule=judged.rule)
        session.succeed(self._association.bound)
        flow.opened()
        flow.follows(self)
        self._flow = flow  # from here on there is something to report at the end
        self.reading = True
        session.wait(services.settings.udp.idle_seconds)
        session.watch()

    def ready(self, mask: int) -> None:
        """See `Errand`: nothing more is expected of the client, but its end."""
        while self.reading:
            try:
                data = self._session.sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.stop(Reason.CLIENT_RESET)
                return
            if not data:
                self.stop(Reason.EOF)

    def expired(self) -> None:
        """See `Errand`."""
        assert self._association is not None
        idle_seconds = self._session.services.settings.udp.idle_seconds
        left = self._association.last_active + idle_seconds - time.monotonic()
        if left > 0:
            self._session.wait(left)
        else:
            self.stop(Reason.IDLE)

    def close(self) -> None:
        """See `Errand`."""
        self._end(Reason.STOPPED)

    # What carries the flow.

    @property
    def moved(self) -> tuple[int, int]:
        """See `Carried`."""
        return (0, 0) if self._association is None else self._association.moved

    def stop(self, reason: Reason) -> None:
        """See `Carried`."""
        if self.reading:
            self._end(reason)
            self._session.close(reset=reason is not Reason.EOF)

    def _end(self, reason: Reason) -> None:
        self.reading = False
        association, self._association = self._association, None
        flow, self._flow = self._flow, None
        if association is not None:
            association.close()
            if flow is not None:
                session = self._session
                session.account = None  # the flow gives it back
                flow(Ended(*association.moved, reason))

    # The owner of the association.

    def association_over(self, *, quota: bool) -> None:
        """See `Owner`."""
        self.stop(Reason.QUOTA if quota else Reason.STOPPED)
