"""SOCKS4 and SOCKS4a: one request, one reply, two for BIND. Sans-IO."""

from __future__ import annotations

from proxy.handshake.events import Event, Refused, Requested
from proxy.handshake.machine import Machine, Rules, State, Step
from proxy.wire import (
    UNSPECIFIED,
    Address,
    Command,
    ProtocolError,
    ReplyCode,
    Socks4Code,
    Socks4Reply,
    read_socks4_request,
    write_socks4_reply,
)

# All that may happen.
RULES: Rules = {
    (State.REQUEST, Step.REQUEST_READ): State.OUTCOME,
    (State.REQUEST, Step.BIND_READ): State.LISTENING,
    (State.REQUEST, Step.REFUSED): State.DONE,
    (State.LISTENING, Step.LISTENS): State.OUTCOME,
    (State.LISTENING, Step.FAILED): State.DONE,
    (State.OUTCOME, Step.SUCCEEDED): State.DONE,
    (State.OUTCOME, Step.FAILED): State.DONE,
}


class Socks4(Machine):
    """With `authenticate` nobody will do: SOCKS4 has a user, but no password."""

    __slots__ = ()
    protocol = "socks4"
    first = State.REQUEST
    rules = RULES

    def next_event(self) -> Event | None:
        if self.state is not State.REQUEST:
            return None
        try:
            request = read_socks4_request(self._input)
        except ProtocolError as error:
            self._step(Step.REFUSED, error.reply)
            return Refused(str(error), ReplyCode.GENERAL_FAILURE)
        if request is None:
            return None
        if self._authenticate:
            self._answer(Step.REFUSED, Socks4Code.IDENT_MISMATCH)
            reason = "SOCKS4 has no password, and this proxy asks for one"
            return Refused(reason, target=request.target, anonymous=True)
        command = Command(request.command)  # the numbers are the same
        self._step(Step.BIND_READ if command is Command.BIND else Step.REQUEST_READ)
        return Requested(command, request.target, "socks4")

    def listening(self, bound: Address) -> None:
        self._answer(Step.LISTENS, Socks4Code.GRANTED, bound)

    def succeed(self, bound: Address) -> None:
        self._answer(Step.SUCCEEDED, Socks4Code.GRANTED, bound)

    def fail(self, code: ReplyCode) -> None:
        """Whatever the code, SOCKS4 has one answer: 92 and 93 are about identd."""
        self._answer(Step.FAILED, Socks4Code.REJECTED)

    def _answer(self, step: Step, code: Socks4Code, bound: Address = UNSPECIFIED) -> None:
        self._step(step, write_socks4_reply(Socks4Reply(code, bound)))
