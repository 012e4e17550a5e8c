"""SOCKS5 (RFC 1928), with user and password (RFC 1929) or without. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable

from proxy.handshake.events import CredentialsPresented, Event, Refused, Requested
from proxy.handshake.machine import Machine, Rules, State, Step
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
    write_success,
)

# All that may happen.
RULES: Rules = {
    (State.GREETING, Step.NO_AUTH_CHOSEN): State.REQUEST,
    (State.GREETING, Step.USER_PASSWORD_CHOSEN): State.CREDENTIALS,
    (State.GREETING, Step.REFUSED): State.DONE,
    (State.CREDENTIALS, Step.CREDENTIALS_READ): State.VERDICT,
    (State.CREDENTIALS, Step.REFUSED): State.DONE,
    (State.VERDICT, Step.CREDENTIALS_RIGHT): State.REQUEST,
    (State.VERDICT, Step.CREDENTIALS_WRONG): State.DONE,
    (State.REQUEST, Step.REQUEST_READ): State.OUTCOME,
    (State.REQUEST, Step.BIND_READ): State.LISTENING,
    (State.REQUEST, Step.REFUSED): State.DONE,
    (State.LISTENING, Step.LISTENS): State.OUTCOME,
    (State.LISTENING, Step.FAILED): State.DONE,
    (State.OUTCOME, Step.SUCCEEDED): State.DONE,
    (State.OUTCOME, Step.FAILED): State.DONE,
}

READERS: dict[State, Callable[[bytearray], Greeting | Credentials | Request | None]] = {
    State.GREETING: read_greeting,
    State.CREDENTIALS: read_credentials,
    State.REQUEST: read_request,
}

_USE_NO_AUTH = write_method_choice(MethodChoice(Method.NO_AUTH))
_USE_USER_PASSWORD = write_method_choice(MethodChoice(Method.USER_PASSWORD))
_NONE_ACCEPTABLE = write_method_choice(MethodChoice(Method.NONE_ACCEPTABLE))
_AUTH_SUCCEEDED = write_auth_result(AuthResult(AuthStatus.SUCCEEDED))
_AUTH_FAILED = write_auth_result(AuthResult(AuthStatus.FAILED))

# What every CONNECT without authentication comes past: to look a member up in its enum takes as long as a call.
_NO_AUTH, _BIND, _DOMAIN = Method.NO_AUTH, Command.BIND, AddressType.DOMAIN
_NO_AUTH_CHOSEN, _REQUEST_READ, _SUCCEEDED = Step.NO_AUTH_CHOSEN, Step.REQUEST_READ, Step.SUCCEEDED


class Socks5(Machine):
    """With `authenticate` only user/password will do. Without it no-auth; or any user and any password.

    That is for clients which have some and offer nothing else.
    """

    __slots__ = ()
    protocol = "socks5"
    rules = RULES

    def next_event(self) -> Event | None:
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
            if isinstance(message, Request):
                return self._judge(message.command, message.target)
            if isinstance(message, Greeting):
                if not self._choose(message.methods):
                    return Refused("no acceptable authentication method", anonymous=True)
            else:
                self._step(Step.CREDENTIALS_READ)
                if self._authenticate:
                    return CredentialsPresented(message.user, message.password)
                self.verdict(True)
        return None

    def verdict(self, right: bool) -> Refused | None:
        if right:
            self._step(Step.CREDENTIALS_RIGHT, _AUTH_SUCCEEDED)
            return None
        self._step(Step.CREDENTIALS_WRONG, _AUTH_FAILED)
        return Refused("wrong user or password")

    def listening(self, bound: Address) -> None:
        self._step(Step.LISTENS, write_success(bound))

    def succeed(self, bound: Address) -> None:
        self._step(_SUCCEEDED, write_success(bound))

    def fail(self, code: ReplyCode) -> None:
        self._step(Step.FAILED, write_reply(Reply(code)))

    def _choose(self, methods: tuple[int, ...]) -> bool:
        if _NO_AUTH in methods and not self._authenticate:
            self._step(_NO_AUTH_CHOSEN, _USE_NO_AUTH)
        elif Method.USER_PASSWORD in methods:
            self._step(Step.USER_PASSWORD_CHOSEN, _USE_USER_PASSWORD)
        else:
            self._step(Step.REFUSED, _NONE_ACCEPTABLE)
            return False
        return True

    def _judge(self, command: Command, target: Address) -> Requested:
        if target.type is _DOMAIN:
            target = Address.of(target.host, target.port)
        self._step(Step.BIND_READ if command is _BIND else _REQUEST_READ)
        return Requested(command, target, "socks5")
