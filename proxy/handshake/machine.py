"""What the handshakes of all protocols have in common: buffers, states, and the step between two states. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from proxy.handshake.events import Event, Refused
from proxy.wire import Address, ReplyCode


class State(StrEnum):
    """What a handshake waits for; named after the message or the driver's call."""

    GREETING = "greeting"
    CREDENTIALS = "credentials"
    VERDICT = "verdict"
    ADMITTED = "admitted"  # HTTP: right credentials came within the request, which is the next event
    REQUEST = "request"
    LISTENING = "listening"
    OUTCOME = "outcome"
    DONE = "done"


class Step(StrEnum):
    """What moves a handshake on."""

    NO_AUTH_CHOSEN = "no-auth chosen"
    USER_PASSWORD_CHOSEN = "user/password chosen"
    CREDENTIALS_READ = "credentials read"
    CREDENTIALS_RIGHT = "credentials right"
    CREDENTIALS_WRONG = "credentials wrong"
    REQUEST_READ = "request read"
    BIND_READ = "bind read"
    LISTENS = "listens"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"  # by the handshake itself; the two above are the driver's


Rules = Mapping[tuple[State, Step], State]


class Machine:
    """One client's handshake in one protocol.

    A step that is not among its `rules` is a mistake of the driver, and raises KeyError. This class itself is a
    handshake with nobody yet: it has no rules.
    """

    __slots__ = ("_authenticate", "_input", "_output", "state")
    protocol: ClassVar[str] = ""
    first: ClassVar[State] = State.GREETING
    rules: ClassVar[Rules] = {}

    def __init__(self, authenticate: bool) -> None:
        self.state = self.first
        self._authenticate = authenticate
        self._input = bytearray()
        self._output = b""

    def receive(self, data: bytes) -> None:
        """Take bytes that came from the client."""
        self._input += data

    def data_to_send(self) -> bytes:
        """The bytes to send to the client now; each is returned once."""
        data, self._output = self._output, b""
        return data

    @property
    def has_early_data(self) -> bool:
        return bool(self._input)

    def early_data(self) -> bytes:
        """What the client sent behind its request, once."""
        data = bytes(self._input)
        self._input.clear()
        return data

    # These are as in `Handshake`. What a protocol does not have is out of turn at any time.

    def next_event(self) -> Event | None:
        return None

    def verdict(self, right: bool) -> Refused | None:
        raise KeyError(self.state, "verdict")

    def listening(self, bound: Address) -> None:
        raise KeyError(self.state, "listening")

    def succeed(self, bound: Address) -> None:
        raise KeyError(self.state, "succeed")

    def fail(self, code: ReplyCode) -> None:
        raise KeyError(self.state, "fail")

    def _step(self, step: Step, output: bytes = b"") -> None:
        self.state = self.rules[self.state, step]
        self._output += output
