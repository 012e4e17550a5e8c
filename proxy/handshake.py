"""The server's side of the SOCKS5 handshake. Sans-IO: bytes in, events and bytes to send out.

The driver's loop: `receive(data)`; take events with `next_event()` until it returns None; send `data_to_send()`;
read more. It answers `CredentialsPresented` with `verdict()` and `ConnectRequested` with `succeed()` or `fail()`.
After `Refused` it sends what there is and closes. What the client pipelined behind its request is `early_data()`,
to be forwarded first, and once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.wire import (
    Address,
    AddressType,
    AuthResult,
    AuthStatus,
    Command,
    Credentials,
    Greeting,
    Method,
    MethodChoice,
    ProtocolError,
    Reply,
    ReplyCode,
    Request,
    read_credentials,
    read_greeting,
    read_request,
    write_auth_result,
    write_method_choice,
    write_reply,
)


@dataclass(frozen=True, slots=True)
class CredentialsPresented:
    """The client says who it is; the handshake waits for `verdict()`."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The client wants a connection to `target`; the handshake waits for `succeed()` or `fail()`.

    An IP literal that came as a domain, in brackets or not, is an IP address here.
    """

    target: Address


@dataclass(frozen=True, slots=True)
class Refused:
    """The handshake is over, the answer is in `data_to_send()`. `reply` is None where it ended before a request."""

    reason: str
    reply: ReplyCode | None = None
    target: Address | None = None


Event = CredentialsPresented | ConnectRequested | Refused


class State(StrEnum):
    """What the handshake waits for; named after the message or the driver's call."""

    GREETING = "greeting"
    CREDENTIALS = "credentials"
    VERDICT = "verdict"
    REQUEST = "request"
    OUTCOME = "outcome"
    DONE = "done"


class Step(StrEnum):
    """What moves the handshake on."""

    NO_AUTH_CHOSEN = "no-auth chosen"
    USER_PASSWORD_CHOSEN = "user/password chosen"
    CREDENTIALS_READ = "credentials read"
    CREDENTIALS_RIGHT = "credentials right"
    CONNECT_READ = "connect read"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"


# All that may happen. A step that is not here is a mistake of the driver, and raises KeyError.
RULES: dict[tuple[State, Step], State] = {
    (State.GREETING, Step.NO_AUTH_CHOSEN): State.REQUEST,
    (State.GREETING, Step.USER_PASSWORD_CHOSEN): State.CREDENTIALS,
    (State.GREETING, Step.REFUSED): State.DONE,
    (State.CREDENTIALS, Step.CREDENTIALS_READ): State.VERDICT,
    (State.CREDENTIALS, Step.REFUSED): State.DONE,
    (State.VERDICT, Step.CREDENTIALS_RIGHT): State.REQUEST,
    (State.VERDICT, Step.REFUSED): State.DONE,
    (State.REQUEST, Step.CONNECT_READ): State.OUTCOME,
    (State.REQUEST, Step.REFUSED): State.DONE,
    (State.OUTCOME, Step.SUCCEEDED): State.DONE,
    (State.OUTCOME, Step.REFUSED): State.DONE,
}

READERS: dict[State, Callable[[bytearray], Greeting | Credentials | Request | None]] = {
    State.GREETING: read_greeting,
    State.CREDENTIALS: read_credentials,
    State.REQUEST: read_request,
}


class Handshake:
    """One client's handshake. With `authenticate` only user/password will do, without it only no-auth."""

    __slots__ = ("_authenticate", "_input", "_output", "state")

    def __init__(self, *, authenticate: bool) -> None:
        self.state = State.GREETING
        self._authenticate = authenticate
        self._input = bytearray()
        self._output = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes that came from the client."""
        self._input += data

    def data_to_send(self) -> bytes:
        """The bytes to send to the client now; each is returned once."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event that the bytes received so far amount to; None: send, then receive more."""
        while (reader := READERS.get(self.state)) is not None:
            try:
                message = reader(self._input)
            except ProtocolError as error:
                self._step(Step.REFUSED, error.reply)
                # REP is the second byte of the full reply that errors in a request carry.
                code = ReplyCode(error.reply[1]) if reader is read_request else None
                return Refused(str(error), code)
            if message is None:
                return None
            if isinstance(message, Credentials):
                self._step(Step.CREDENTIALS_READ)
                return CredentialsPresented(message.user, message.password)
            if isinstance(message, Request):
                return self._judge(message.command, message.target)
            if not self._choose(message.methods):
                return Refused("no acceptable authentication method")
        return None

    def verdict(self, right: bool) -> Refused | None:
        """Answer CredentialsPresented. A wrong one is answered with a failure and ends the handshake."""
        if right:
            self._step(Step.CREDENTIALS_RIGHT, write_auth_result(AuthResult(AuthStatus.SUCCEEDED)))
            return None
        self._step(Step.REFUSED, write_auth_result(AuthResult(AuthStatus.FAILED)))
        return Refused("wrong user or password")

    def succeed(self, bound: Address) -> None:
        """Answer ConnectRequested: the connection stands, `bound` is its local address."""
        self._step(Step.SUCCEEDED, write_reply(Reply(ReplyCode.SUCCEEDED, bound)))

    def fail(self, code: ReplyCode) -> None:
        """Answer ConnectRequested: there is no connection."""
        self._step(Step.REFUSED, write_reply(Reply(code)))

    def early_data(self) -> bytes:
        """What the client sent behind its request, once."""
        data = bytes(self._input)
        self._input.clear()
        return data

    def _step(self, step: Step, output: bytes = b"") -> None:
        self.state = RULES[self.state, step]
        self._output += output

    def _choose(self, methods: tuple[int, ...]) -> bool:
        wanted = Method.USER_PASSWORD if self._authenticate else Method.NO_AUTH
        if wanted not in methods:
            self._step(Step.REFUSED, write_method_choice(MethodChoice(Method.NONE_ACCEPTABLE)))
            return False
        step = Step.USER_PASSWORD_CHOSEN if self._authenticate else Step.NO_AUTH_CHOSEN
        self._step(step, write_method_choice(MethodChoice(wanted)))
        return True

    def _judge(self, command: Command, target: Address) -> Event:
        if target.type is AddressType.DOMAIN:
            target = Address.of(target.host, target.port)
        if command is Command.CONNECT:
            self._step(Step.CONNECT_READ)
            return ConnectRequested(target)
        self._step(Step.REFUSED, write_reply(Reply(ReplyCode.COMMAND_NOT_SUPPORTED)))
        return Refused(f"{command.name} is not supported", ReplyCode.COMMAND_NOT_SUPPORTED, target)
